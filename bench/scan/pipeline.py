"""The bundled classifier as transformers' pipeline runs it: seconds per round, by batch size.

Reads one JSON line {"texts": […], "threads": n}, then a batch size a line; answers each with the seconds that
scoring all texts took. The texts are sorted by length, and the weights are the classifier's own in fp32.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "trainer" / "training"), str(ROOT / "trainer" / "training" / "classifier")]
from export_encoder import ADAPTER, merged  # noqa: E402
from sentences import fetch_model, load_base  # noqa: E402

from safe_finetuning.risk.classifier import CLASSIFIER_FOLDER, WINDOW_TOKENS  # noqa: E402


def main() -> None:
    import torch
    from safetensors.numpy import load_file
    from transformers import PreTrainedTokenizerFast, pipeline

    request = json.loads(sys.stdin.readline())
    torch.set_num_threads(request["threads"])
    model = load_base()
    base = {name: value.numpy() for name, value in model.state_dict().items()}
    weights = merged(base, load_file(ADAPTER))
    model.load_state_dict({name: torch.tensor(value) for name, value in weights.items()})
    with fetch_model() as archive:
        path = Path(archive.extract("tokenizer.json", CLASSIFIER_FOLDER.parents[2] / "build" / "pipeline"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(path), model_max_length=WINDOW_TOKENS, pad_token="[PAD]"
    )
    head = json.loads((CLASSIFIER_FOLDER / "head.json").read_text("utf-8"))
    encode = pipeline("feature-extraction", model=model, tokenizer=tokenizer, device="cpu")
    texts = sorted(request["texts"], key=len)
    for line in sys.stdin:
        began = time.perf_counter()
        hidden = encode(texts, batch_size=int(line), truncation=True, return_tensors=True)
        means = np.stack([tokens[0].numpy().mean(0) for tokens in hidden])
        embeddings = means / np.linalg.norm(means, axis=1, keepdims=True)
        scores = 1 / (1 + np.exp(-(embeddings @ np.array(head["weights"]) + head["bias"])))
        assert scores.shape == (len(texts),)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
