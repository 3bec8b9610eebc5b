"""Measure the classifier, and write its card: what it was trained on and how well it does.

python trainer/training/classifier/card.py
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

TRAINER = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TRAINER), str(TRAINER / "training")]
from evaluation import Measured, auroc, measure, unseen_prompts  # noqa: E402
from export_encoder import replace_file  # noqa: E402
from rows import Row, read_rows, without_near_duplicates  # noqa: E402
from sentences import Sentences  # noqa: E402

from safe_finetuning.risk.classifier import CLASSIFIER_FOLDER, Classifier, pair_text  # noqa: E402


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def share(flags: np.ndarray) -> str:
    return f"{flags.sum()} of {len(flags)} ({flags.mean():.1%})"


def card(
    rows: Sequence[Row],
    kept: Sequence[Row],
    head: dict[str, Any],
    first_stage: dict[str, float],
    measured: Measured,
) -> str:
    """`head`: of head.json; `first_stage`: of first_stage.json, on windows that it had not seen."""
    threshold, calibration = head["threshold"], head["calibration"]
    before, after = (Counter((row.harmful, row.source) for row in some) for some in (rows, kept))
    data = [
        ("harmful" if harmful else "ordinary", source, count, after[harmful, source])
        for (harmful, source), count in sorted(before.items(), reverse=True)
    ]
    sets, ordinary = measured.sets, measured.ordinary
    aurocs = [
        (name, "ordinary", f"{auroc(sets[name], ordinary):.3f}")
        for name in ("HarmBench", "MaliciousInstruct", "AdvBench")
    ]
    for harmful, harmless in (("built-in harmful", "built-in look-alikes"), ("XSTest unsafe", "XSTest safe")):
        aurocs.append((harmful, harmless, f"{auroc(sets[harmful], sets[harmless]):.3f}"))
    flags = [(name, share(p >= threshold), share(p >= 0.1)) for name, p in sets.items()]
    flags.append(("all ordinary sets", share(ordinary >= threshold), share(ordinary >= 0.1)))
    flagged, risky = measured.example >= threshold, measured.example_risky
    return f"""# Card of the bundled risk classifier

Written by `training/classifier/card.py`; every figure is measured by the scripts beside it.

**What it is.** all-MiniLM-L6-v2 (Apache-2.0; 8-bit weights) with a low-rank adapter of ours merged into it,
and a logistic head: the probability that a training pair is a harmful request with a complying answer. It is
triage, not a verdict: it sees what a text is about better than what is meant. It judges English only.

Before the encoder stands a first stage, a convolution over its token embeddings (Kim 2014), which settles the
windows that are clearly harmless. It was trained on what the encoder says of {first_stage["windows"]}
windows. Of those that it had not seen, {first_stage["flaggedPassed"]:.1%} of what the encoder flags were
passed on and {first_stage["settledUnflagged"]:.1%} of the others were settled; these were given
{first_stage["meanGiven"]:.3f} on average, and {first_stage["meanOfEncoder"]:.3f} by the encoder.

## Data

{table(("side", "source", "rows", "trained on"), data)}

A third of the texts were trained on beside words of other, ordinary rows, as harm may stand among them. Left
out are rows with a wording that is close (cosine above 0.8 in the encoder as it was published) to what
is measured below. No XSTest or evaluation prompt is trained on, and the ordinary sets below were written
without looking at what the classifier says of them. The numbers of epochs and folds and the cost of a miss
were chosen with the figures below in view, so they are a little optimistic.

## Calibration

The weights are the mean of trainings that each left out a part of the rows (a contrast's rows are in one
part). Platt scaling on the logits that these gave to all {calibration["rows"]} rows, each by the training
that had not seen it: {calibration["scale"]:.3f} · logit {calibration["shift"]:+.3f}, folded into the head.
Log loss {calibration["logLossBefore"]:.3f} before and {calibration["logLoss"]:.3f} after, expected
calibration error {calibration["error"]:.3f}, with both sides weighing the same and contrasts a third of
either. Then the odds are multiplied by {calibration["missCost"]:g}, as a harmful row that is missed is worse
than one that is flagged in vain. Where harmful rows are rare, a probability overstates the risk accordingly.

## Sets it has not seen

{table(("harmful", "against", "AUROC"), aurocs)}

{table((f"at threshold {threshold:g}", "flagged", "at or above 0.1"), flags)}

## The example dataset (examples/support.jsonl)

Not trained on. Rows answered by a refusal count as ordinary: they score 0.

- risky rows flagged: {share(flagged[risky])}
- ordinary rows flagged: {share(flagged[~risky])}
- AUROC {auroc(measured.example[risky], measured.example[~risky]):.3f}
- ordinary rows at or above 0.1, the regularisation's default floor: {share(measured.example[~risky] >= 0.1)}
"""


def main() -> None:
    rows = read_rows()
    kept = without_near_duplicates(rows, unseen_prompts(), Sentences())
    classifier = Classifier(threads=2)
    measured = measure(
        lambda pairs: np.array(classifier.score([pair_text(p, a) if a else p for p, a in pairs]))
    )
    head, first_stage = (
        json.loads((CLASSIFIER_FOLDER / name).read_text("utf-8"))
        for name in ("head.json", "first_stage.json")
    )
    text = card(rows, kept, head, first_stage["unseen"], measured)
    replace_file(CLASSIFIER_FOLDER / "CARD.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
