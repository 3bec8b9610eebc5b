"""What the safe reference says at supervised positions, exactly or from a cache.

The reference is the model before fine-tuning: the same weights with the adapter off, without dropout.
Cached, a row is asked about once: of its next-token distributions the likeliest tokens and the rest as one
are kept, which costs a hundredth of the vocabulary and underestimates KL by less than 1 %
(`npm run bench -- trainer`).
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from .cache import cache_folder
from .losses import TOP_K, TopK, space_offset, token_terms, top_k
from .supervised_logits import select_rows, supervised_logits, supervised_targets
from .tokens import EncodedRow

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Needs:
    """What a method asks the reference for beside its distribution, at every supervised token."""

    targets: bool = False
    safety_tokens: tuple[int, ...] = ()
    space: str = "logprob"


@dataclass(frozen=True)
class Said:
    """The reference's word on T tokens: of each what was needed."""

    distribution: Tensor | TopK
    target_nll: Tensor | None
    safety_values: Tensor | None

    def distribution_of(self, tokens: Tensor) -> Tensor | TopK:
        """That of the chosen tokens, a mask (T,)."""
        if isinstance(self.distribution, TopK):
            return TopK(*(part[tokens] for part in self.distribution))
        return self.distribution if bool(tokens.all()) else self.distribution[tokens]


class Reference:
    """The reference of a PEFT model; `store` keeps what it says, None asks it anew every time."""

    def __init__(self, model: Any, needs: Needs, store: ReferenceStore | None) -> None:
        self.model, self.needs, self.store = model, needs, store
        self.safety_tokens = torch.tensor(needs.safety_tokens, dtype=torch.long, device=model.device)

    def at(
        self,
        batch: dict[str, Tensor],
        rows: Tensor,
        encoded: Sequence[EncodedRow],
        any_process: Callable[[bool], bool] = bool,
    ) -> Said | None:
        """What it says about the given rows of `batch`, in the order of their tokens; None without rows.

        `encoded` are those rows. The forward pass happens on all processes as soon as `any_process` says
        that one of them needs it: sharded weights are gathered together, or not at all.
        """
        if not self.store:
            said = self._ask(batch, rows, any_process)
            return said if len(rows) else None
        keys = [self.store.key(row) for row in encoded]
        records = self.store.get(keys)
        new = [i for i, key in enumerate(keys) if key not in records]
        said = self._ask(batch, rows[new], any_process)
        if said and new:
            counts = [encoded[i].n_supervised for i in new]
            fresh = dict(zip((keys[i] for i in new), _split(said, counts), strict=True))
            self.store.put(fresh)
            records |= fresh
        return _join([records[key] for key in keys], self.model.device) if keys else None

    @torch.no_grad()
    def _ask(
        self, batch: dict[str, Tensor], rows: Tensor, any_process: Callable[[bool], bool]
    ) -> Said | None:
        if not any_process(len(rows) > 0):
            return None
        asked = select_rows(batch, rows if len(rows) else torch.zeros(1, dtype=torch.long))
        logits = reference_logits(self.model, asked)
        targets = supervised_targets(asked["labels"])
        watched = torch.ones_like(targets, dtype=torch.bool)
        terms = token_terms(logits, targets, watched=watched, tokens=self.safety_tokens)
        return Said(
            top_k(logits) if self.store else logits,
            terms.nll if self.needs.targets else None,
            terms.watched + space_offset(logits, self.needs.space) if len(self.safety_tokens) else None,
        )


@torch.no_grad()
def reference_logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Logits (T, V) of the safe reference: the same weights with the adapter off and without dropout."""
    was_training = model.training
    model.eval()
    try:
        with model.disable_adapter():
            return supervised_logits(model, model.get_output_embeddings(), batch)
    finally:
        model.train(was_training)


# --- the cache ----------------------------------------------------------------------------------------

Record = dict[str, Tensor]


class ReferenceStore:
    """What one reference said, by the tokens of the row, in an SQLite file of its own.

    A reference is its weights, their precision and what is asked of it; chat template and tokenizer show
    in a row's tokens.
    """

    def __init__(
        self, fingerprint: str, dtype: torch.dtype, needs: Needs, folder: Path | None = None
    ) -> None:
        identity = hashlib.sha256(repr((fingerprint, str(dtype), TOP_K, needs)).encode()).hexdigest()[:16]
        self.path = (folder or cache_folder() / "reference") / f"{identity}.sqlite"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(self.path, timeout=10)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS said (row TEXT PRIMARY KEY, record BLOB)")

    @staticmethod
    def key(row: EncodedRow) -> str:
        tokens = ",".join(f"{t}{'*' if s else ''}" for t, s in zip(row.ids, row.supervised, strict=True))
        return hashlib.sha256(tokens.encode()).hexdigest()[:32]

    def get(self, keys: Sequence[str]) -> dict[str, Record]:
        marks = ",".join("?" * len(keys))
        found = self._db.execute(f"SELECT row, record FROM said WHERE row IN ({marks})", tuple(keys))
        return {key: load(record) for key, record in found}

    def put(self, records: dict[str, Record]) -> None:
        try:
            with self._db:
                self._db.executemany(
                    "INSERT OR REPLACE INTO said VALUES (?, ?)",
                    [(key, save(record)) for key, record in records.items()],
                )
        except sqlite3.Error as error:  # a full disk: the row is asked about anew the next time
            _log.warning("%s cannot be written (%s): the reference is asked again.", self.path, error)

    def close(self) -> None:
        self._db.close()


def _split(said: Said, counts: list[int]) -> list[Record]:
    """One record for each row of `counts` tokens."""
    assert isinstance(said.distribution, TopK)
    parts = {
        "top_tokens": said.distribution.tokens.int(),
        "top_log_probs": said.distribution.log_probs,
    }
    if said.target_nll is not None:
        parts["target_nll"] = said.target_nll
    if said.safety_values is not None:
        parts["safety_values"] = said.safety_values
    columns = {name: tensor.cpu().split(counts) for name, tensor in parts.items()}
    return [{name: column[i].contiguous() for name, column in columns.items()} for i in range(len(counts))]


def _join(records: list[Record], device: torch.device) -> Said:
    columns = {name: torch.cat([r[name] for r in records]).to(device) for name in records[0]}
    top = TopK(columns["top_tokens"].long(), columns["top_log_probs"])
    return Said(top, columns.get("target_nll"), columns.get("safety_values"))
