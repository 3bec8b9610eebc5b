"""The bundled safety critic: how harmful a text is, as a calibrated probability.

A sentence encoder (all-MiniLM-L6-v2, 8-bit weights, ONNX) with a logistic head. The extension
scores with the same two files (src/risk/classifier.ts): the same text has the same score in both,
to 1e-4, alone or in any batch. It is triage, not a verdict; classifier/CARD.md has the figures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from ..errors import UserError

CLASSIFIER_FOLDER = Path(__file__).resolve().parents[1] / "classifier"

WINDOW_TOKENS = 64  # with the two special tokens; longer ones drown a single request
OVERLAP_TOKENS = 24  # so that a request on a window's edge is whole in one of them
CLS_ID, SEP_ID, PAD_ID = 101, 102, 0
BATCH_TOKENS = 1024  # padded tokens in one forward: bounds memory, and more at once are slower
CHUNK_TEXTS = 1024  # texts tokenised at a time

Window = tuple[int, ...]  # token ids, with the special ones at its ends


def pair_text(prompt: str, answer: str) -> str:
    """The text of a training pair that the classifier judges."""
    return f"{prompt}\n{answer}"


def replace_lone_surrogates(text: str) -> str:
    """Half a UTF-16 pair cannot be encoded; U+FFFD takes its place, as in JavaScript."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Encoder:
    """Embeddings of token windows: [n, 384], fp32, of length 1."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        for name in ("encoder.onnx", "tokenizer.json"):
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder / name} is missing: the classifier's encoder has not been built. Install the "
                    "trainer from the extension (Set Up Environment), or run `npm run build` in its source."
                )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            folder / "encoder.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def windows(self, text: str) -> list[Window]:
        """Token ids of the windows that cover `text`, in order; none if it has no token."""
        ids = self.tokenizer.encode(replace_lone_surrogates(text), add_special_tokens=False).ids
        size = WINDOW_TOKENS - 2
        starts = range(0, max(len(ids) - OVERLAP_TOKENS, 1), size - OVERLAP_TOKENS)
        # The last window ends with the text and is as long as the others.
        spans = [ids[min(s, max(len(ids) - size, 0)) :][:size] for s in starts]
        return [(CLS_ID, *span, SEP_ID) for span in spans if span]

    def embed(self, windows: Sequence[Window]) -> np.ndarray:
        """Embeddings [n, 384] of windows padded to the longest of them."""
        longest = max(map(len, windows))
        input_ids = np.full((len(windows), longest), PAD_ID, np.int64)
        attention_mask = np.zeros_like(input_ids)
        for row, window in enumerate(windows):
            input_ids[row, : len(window)] = window
            attention_mask[row, : len(window)] = 1
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        return self.session.run(["embeddings"], inputs)[0]


def batches_by_length(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """The windows, shortest first, in batches of at most BATCH_TOKENS when padded."""
    batch: list[Window] = []
    for window in sorted(windows, key=len):
        if batch and (len(batch) + 1) * len(window) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(window)
    if batch:
        yield batch


class Classifier:
    """Scores texts with the encoder and head in `folder` (default: the bundled ones)."""

    def __init__(self, folder: Path | None = None, threads: int = 0) -> None:
        """`threads`: processor threads of one forward pass, 0 for all.

        Raises UserError, naming the file, when a part of the classifier is missing.
        """
        folder = folder or CLASSIFIER_FOLDER
        self.encoder = Encoder(folder, threads)
        head_bytes = (folder / "head.json").read_bytes()
        head = json.loads(head_bytes)
        self.weights = np.array(head["weights"], np.float64)
        self.bias = float(head["bias"])
        self.threshold = float(head["threshold"])
        digest = hashlib.sha256((folder / "encoder.onnx").read_bytes() + head_bytes).hexdigest()
        self.judge_id: str = f"{head['name']}@{head['version']}-{digest[:12]}"

    def score(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[float]:
        """Probability in [0, 1] that each text is harmful: the maximum over its windows.

        A text without any token scores 0. `progress(done, total)` counts texts and is called
        after every forward pass; an exception raised in it ends the scoring.
        """
        scores = np.zeros(len(texts))
        done = 0
        for first in range(0, len(texts), CHUNK_TEXTS):
            # Boilerplate repeats, within a text and between texts: each window is judged once.
            owners: dict[tuple[int, ...], list[int]] = {}
            open_windows: dict[int, int] = {}
            for owner, text in enumerate(texts[first : first + CHUNK_TEXTS], first):
                windows = set(self.encoder.windows(text))
                for window in windows:
                    owners.setdefault(window, []).append(owner)
                open_windows[owner] = len(windows)
                done += not windows
            for batch in batches_by_length(owners):
                for window, probability in zip(batch, self._judge(batch), strict=True):
                    for owner in owners[window]:
                        scores[owner] = max(scores[owner], probability)
                        open_windows[owner] -= 1
                        done += open_windows[owner] == 0
                if progress:
                    progress(done, len(texts))
        return scores.tolist()

    def _judge(self, windows: Sequence[Window]) -> np.ndarray:
        """Probabilities [n] of one batch of windows."""
        logits = self.encoder.embed(windows).astype(np.float64) @ self.weights + self.bias
        return 1 / (1 + np.exp(-logits))
