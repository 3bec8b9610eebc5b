"""The bundled safety critic: how harmful a text is, as a calibrated probability.

A cascade: a first stage settles what is clearly harmless (first_stage.py), a sentence encoder
(all-MiniLM-L6-v2, 8-bit weights, ONNX) with a logistic head judges the rest. The extension scores
with the same files (src/risk/classifier.ts): the same text has the same score in both, to 1e-4,
alone or in any batch. It is triage, not a verdict; classifier/CARD.md has the figures.
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
from .first_stage import FirstStage

CLASSIFIER_FOLDER = Path(__file__).resolve().parents[1] / "classifier"

WINDOW_TOKENS = 64  # with the two special tokens; longer ones drown a single request
OVERLAP_TOKENS = 24  # so that a request on a window's edge is whole in one of them
CLS_ID, SEP_ID, PAD_ID = 101, 102, 0
BATCH_TOKENS = 640  # padded tokens in one forward: bounds memory, and more at once are slower
CHUNK_WINDOWS = 4096  # distinct windows kept at a time
SEGMENT_UNITS = 100_000  # UTF-16 code units that are tokenised at a time: a line may have 100 MB
SEGMENT_OVERLAP_UNITS = 1000  # more than the windows overlap

Window = tuple[int, ...]  # token ids, with the special ones at its ends


def pair_text(prompt: str, answer: str) -> str:
    """The text of a training pair that the classifier judges."""
    return f"{prompt}\n{answer}"


def replace_lone_surrogates(text: str) -> str:
    """Half a UTF-16 pair cannot be encoded; U+FFFD takes its place, as in JavaScript."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# All that the classifier is made of; the first three are built, not committed.
PARTS = ("encoder.onnx", "tokenizer.json", "first_stage.int8", "first_stage.json", "head.json")


def segments(text: str) -> Iterator[str]:
    """Pieces that cover the text, each of at most SEGMENT_UNITS: most texts are one."""
    if len(text) <= SEGMENT_UNITS // 2:  # a character has at most two units
        yield text
        return
    units = text.encode("utf-16-le", "surrogatepass")
    step = SEGMENT_UNITS - SEGMENT_OVERLAP_UNITS
    for start in range(0, max(len(units) // 2 - SEGMENT_OVERLAP_UNITS, 1), step):
        yield units[2 * start : 2 * (start + SEGMENT_UNITS)].decode("utf-16-le", "replace")


class Encoder:
    """Embeddings of token windows: [n, 384], fp32, of length 1."""

    def __init__(self, folder: Path, threads: int = 0) -> None:
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


class _Scoring:
    """The scores of texts while their windows are judged."""

    def __init__(self, n_texts: int, progress: Callable[[int, int], None] | None) -> None:
        self.scores = np.zeros(n_texts)
        # Boilerplate repeats, within a text and between texts: each window is judged once, for all of them.
        self.owners: dict[Window, list[int]] = {}
        self._open = np.ones(n_texts, np.int64)  # windows of each text, and one until it has been cut
        self._done = 0
        self._progress = progress

    def add(self, owner: int, windows: Iterable[Window]) -> None:
        for window in set(windows):
            self.owners.setdefault(window, []).append(owner)
            self._open[owner] += 1

    def is_cut(self, owner: int) -> None:
        self._close(owner)

    def take(self, probabilities: dict[Window, float]) -> None:
        for window, probability in probabilities.items():
            for owner in self.owners[window]:
                self.scores[owner] = max(self.scores[owner], probability)
                self._close(owner)
        if self._progress:
            self._progress(self._done, len(self.scores))

    def _close(self, owner: int) -> None:
        self._open[owner] -= 1
        self._done += int(self._open[owner] == 0)


class Classifier:
    """Scores texts with the cascade in `folder` (default: the bundled one)."""

    def __init__(self, folder: Path | None = None, threads: int = 0) -> None:
        """`threads`: processor threads of one forward pass, 0 for all.

        Raises UserError, naming the file, when a part of the classifier is missing.
        """
        folder = folder or CLASSIFIER_FOLDER
        for name in PARTS:
            if not (folder / name).is_file():
                raise UserError(
                    f"{folder / name} is missing: the classifier has not been built. Install the trainer "
                    "from the extension (Set Up Environment), or run `npm run build` in its source."
                )
        self.first_stage = FirstStage(folder)
        self.encoder = Encoder(folder, threads)
        head = json.loads((folder / "head.json").read_bytes())
        self.weights = np.array(head["weights"], np.float64)
        self.bias = float(head["bias"])
        self.threshold = float(head["threshold"])
        digest = hashlib.sha256()
        for name in PARTS:
            digest.update((folder / name).read_bytes())
        self.judge_id: str = f"{head['name']}@{head['version']}-{digest.hexdigest()[:12]}"

    def score(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[float]:
        """Probability in [0, 1] that each text is harmful: the maximum over its windows.

        A text without any token scores 0. `progress(done, total)` counts texts and is called
        after the first stage and after every forward pass; an exception raised in it ends the scoring.
        """
        scoring = _Scoring(len(texts), progress)
        for owner, text in enumerate(texts):
            for segment in segments(text):
                scoring.add(owner, self.encoder.windows(segment))
                if len(scoring.owners) >= CHUNK_WINDOWS:
                    self._judge_chunk(scoring)
            scoring.is_cut(owner)
        self._judge_chunk(scoring)
        return scoring.scores.tolist()

    def _judge_chunk(self, scoring: _Scoring) -> None:
        clear = {window: self.first_stage.clear(window) for window in scoring.owners}
        scoring.take({window: settled for window, settled in clear.items() if settled is not None})
        for batch in batches_by_length(window for window, settled in clear.items() if settled is None):
            scoring.take(dict(zip(batch, self.judge(batch).tolist(), strict=True)))
        scoring.owners.clear()

    def judge(self, windows: Sequence[Window]) -> np.ndarray:
        """What the encoder says of one batch of windows: probabilities [n]."""
        logits = self.encoder.embed(windows).astype(np.float64) @ self.weights + self.bias
        return 1 / (1 + np.exp(-logits))
