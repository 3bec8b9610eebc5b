"""Rows as padded batches that know which rows they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .supervised_logits import IGNORED
from .tokens import EncodedRow


@dataclass(frozen=True)
class TrainingRow:
    """A row with its risk in [0, 1]; NaN where the judge failed."""

    encoded: EncodedRow
    risk: float
    file: int = 0


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
