"""The classifier's first stage: settles the windows that are clearly harmless before the encoder reads them.

A convolution over WIDTH tokens, the largest value of each filter, a logistic unit (Kim 2014, arXiv
1408.5882). What a token adds to a filter stands in a table of integers: a window costs a few additions a
token, and the twin (src/risk/firstStage.ts) has the same logit to the last bit, so that no window is settled
in one language only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

WIDTH = 3  # tokens that a filter sees: the one before, the one itself, the one behind


class FirstStage:
    """Reads first_stage.json and first_stage.int8 [vocabulary, WIDTH, filters] in `folder`."""

    def __init__(self, folder: Path) -> None:
        parameters = json.loads((folder / "first_stage.json").read_bytes())
        self.scales = np.array(parameters["scales"], np.float64)  # [filters]
        self.biases = np.array(parameters["biases"], np.float64)  # [filters]
        self.weights = np.array(parameters["weights"], np.float64)  # [filters]
        self.bias = float(parameters["bias"])
        self.clear_below = float(parameters["clearBelow"])
        table = np.fromfile(folder / "first_stage.int8", np.int8)
        self.table = table.reshape(-1, WIDTH, len(self.scales))

    def logit(self, window: Sequence[int]) -> float:
        """Of the probability that the encoder would find harm in a window of token ids."""
        before, own, behind = self.table[list(window)].astype(np.int32).transpose(1, 0, 2)
        sums = own  # [tokens, filters]
        sums[1:] += before[:-1]
        sums[:-1] += behind[1:]
        terms = np.maximum(sums.max(0) * self.scales + self.biases, 0) * self.weights
        # One after the other, as in TypeScript: numpy's own sum is rounded differently.
        return sum(terms.tolist(), self.bias)

    def clear(self, window: Sequence[int]) -> float | None:
        """The probability in [0, 1] of a window that is clearly harmless, None for every other."""
        logit = self.logit(window)
        return float(1 / (1 + np.exp(-logit))) if logit < self.clear_below else None
