"""Rows as padded batches that know which rows they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .supervised_logits import IGNORED
from .tokens import EncodedRow

PASS_TOKENS = 48
"""What a forward and backward pass costs on a CPU beside its tokens, in tokens: about 0.17 s where a token
takes 3.5 ms (a model of 135M parameters on two cores)."""


@dataclass(frozen=True)
class TrainingRow:
    """A row with its risk in [0, 1]; NaN where the judge failed."""

    encoded: EncodedRow
    risk: float


@dataclass(frozen=True)
class Collator:
    """Pads rows on the right to the longest of them; `index` says which rows they are."""

    pad_token_id: int

    def __call__(self, items: Sequence[tuple[int, TrainingRow]]) -> dict[str, Tensor]:
        encoded = [row.encoded for _, row in items]
        shape = (len(items), max(len(e.ids) for e in encoded))
        input_ids = torch.full(shape, self.pad_token_id)
        attention_mask = torch.zeros(shape, dtype=torch.long)
        labels = torch.full(shape, IGNORED)
        for i, e in enumerate(encoded):
            ids = torch.tensor(e.ids)
            input_ids[i, : len(ids)] = ids
            attention_mask[i, : len(ids)] = 1
            labels[i, : len(ids)] = torch.where(torch.tensor(e.supervised), ids, IGNORED)
        labels[:, 0] = IGNORED  # nothing comes before it, so nothing predicts it
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": labels,
            "index": torch.tensor([index for index, _ in items]),
        }


def parts_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Places 0 … R − 1 of rows in parts of like length, the least work to compute one after another.

    A part costs its rows times its longest, and PASS_TOKENS. Only neighbours in length share a part, so the
    best parts of the first n rows, from short to long, end with one that begins where others ended best.
    """
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    best: list[tuple[int, list[list[int]]]] = [(0, [])]
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        work, begin = min((best[i][0] + (end - i) * longest, i) for i in range(end))
        best.append((work + PASS_TOKENS, [*best[begin][1], sorted(order[begin:end])]))
    return best[-1][1]
