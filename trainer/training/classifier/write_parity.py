"""Write the scores and the first stage's logits that Python and TypeScript must agree on, for both tests.

    python trainer/training/classifier/write_parity.py

Run it whenever a part of the classifier changes. The texts stay as they are in the fixture: only
the scores are computed anew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TRAINER = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TRAINER))
from safe_finetuning.risk.classifier import Classifier  # noqa: E402

FIXTURE = TRAINER / "tests" / "fixtures" / "classifier-parity.json"


def main() -> None:
    cases = json.loads(FIXTURE.read_text("utf-8"))["cases"]
    classifier = Classifier()
    texts = [case["text"] * case.get("times", 1) + case.get("end", "") for case in cases]
    for case, score in zip(cases, classifier.score(texts), strict=True):
        case["score"] = round(score, 6)
    # ASCII, because the fixture holds half a UTF-16 pair, which no file can.
    lines = ",\n".join(json.dumps(case) for case in cases)
    windows = [window for text in texts for window in classifier.encoder.windows(text)[:1]]
    first_stage = ",\n".join(
        json.dumps({"window": w, "logit": classifier.first_stage.logit(w)}) for w in windows
    )
    content = f'"judge": "{classifier.judge_id}", "cases": [\n{lines}\n],\n"firstStage": [\n{first_stage}\n]'
    FIXTURE.write_text(f"{{{content}}}\n", "utf-8")


if __name__ == "__main__":
    main()
