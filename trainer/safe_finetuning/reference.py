"""What the safe reference says at supervised positions, exactly or from a cache.

The reference is the model before fine-tuning: the same weights with the adapter off, without dropout. Where
all weights are trained it is asked about everything beforehand, so that no second model is in memory.
Cached, a row is asked about once: of its next-token distributions the likeliest tokens and the rest as one
are kept, which takes a hundredth or so of the vocabulary's space and can only underestimate KL; by how much,
`npm run bench -- trainer` says.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from .cache import cache_folder
from .errors import UserError
from .losses import TOP_K, TopK, space_offset, token_terms, top_k
from .supervised_logits import select_rows, supervised_logits, supervised_targets
from .tokens import EncodedRow


@dataclass(frozen=True)
class Needs:
    """What a method asks the reference for at every supervised token."""

    distribution: bool = True
    targets: bool = False
    safety_tokens: tuple[int, ...] = ()
    space: str = "logprob"


@dataclass(frozen=True)
class Said:
    """The reference's word on T tokens: of each what was needed."""

    distribution: Tensor | TopK | None
    target_nll: Tensor | None
    safety_values: Tensor | None

    def distribution_of(self, tokens: Tensor) -> Tensor | TopK | None:
        """That of the chosen tokens, a mask (T,); None where none is chosen."""
        if self.distribution is None or not bool(tokens.any()):
            return None
        if isinstance(self.distribution, TopK):
            return TopK(*(part[tokens] for part in self.distribution))
        return self.distribution if bool(tokens.all()) else self.distribution[tokens]


class Reference:
    """The reference of a model, by PEFT or whole.

    With a `fingerprint` of its weights it is cached, otherwise asked anew every time. A cache that does not
    work costs time and nothing else: `warn` is told, with a code. Once `gone`, as the weights themselves are
    trained, the cache is all there is of it.
    """

    gone = False

    def __init__(
        self, model: Any, needs: Needs, fingerprint: str | None, warn: Callable[[str, str], None]
    ) -> None:
        self.model, self.needs, self.fingerprint, self.warn = model, needs, fingerprint, warn
        self.cache_is_all = not hasattr(model, "disable_adapter")
        self.safety_tokens = torch.tensor(needs.safety_tokens, dtype=torch.long, device=model.device)
        self._store: ReferenceStore | None = None
        self._store_works = fingerprint is not None

    def need_distribution(self) -> None:
        """From now on its distribution is asked for, too: what was kept without it is no use."""
        if not self.needs.distribution:
            self.needs, self._store = replace(self.needs, distribution=True), None

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
        if not self.fingerprint:
            said = self._ask(batch, rows, any_process)
            return said if len(rows) else None
        keys = [row_key(row) for row in encoded]
        records = self._with_store(lambda store: store.get(keys)) or {}
        new = [i for i, key in enumerate(keys) if key not in records]
        if new and self.gone:
            raise UserError(
                f"{store_path(self.fingerprint, self.model.dtype, self.needs)}: what the reference said has "
                "been removed or damaged, and it is gone by now. Resume the run: it is asked again first."
            )
        said = self._ask(batch, rows[new], any_process)
        if said and new:
            counts = [encoded[i].n_supervised for i in new]
            fresh = dict(zip((keys[i] for i in new), _split(said, counts), strict=True))
            self._with_store(lambda store: store.put(fresh))
            records |= fresh
        return _join([records[key] for key in keys], self.model.device) if keys else None

    def _with_store(self, use: Callable[[ReferenceStore], dict[str, Record] | None]) -> Any:
        """Uses the cache, which is opened with the first row that anything is asked about."""
        if not self._store_works or not self.fingerprint:
            return None
        path = store_path(self.fingerprint, self.model.dtype, self.needs)
        try:
            self._store = self._store or ReferenceStore(path)
            return use(self._store)
        except (sqlite3.Error, OSError, SafetensorError) as error:
            self._store_works = False
            if self.cache_is_all:
                raise UserError(
                    f"{path}: cannot be used ({error}). Without an adapter, what the reference says has to "
                    "be kept there. Delete the file or free some space there, then start again."
                ) from None
            self.warn(
                "reference-cache",
                f"{path}: cannot be used ({error}), so the reference is asked anew about every row, which "
                "takes longer. Delete the file, or free some space there, before the next run.",
            )
            return None

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
        distribution: Tensor | TopK | None = None
        if self.needs.distribution:
            distribution = top_k(logits) if self.fingerprint else logits
        return Said(
            distribution,
            terms.nll if self.needs.targets else None,
            terms.watched + space_offset(logits, self.needs.space) if len(self.safety_tokens) else None,
        )


@torch.no_grad()
def reference_logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    """Logits (T, V) of the safe reference: the same weights with the adapter off and without dropout."""
    was_training = model.training
    model.eval()
    try:
        with getattr(model, "disable_adapter", nullcontext)():
            return supervised_logits(model, model.get_output_embeddings(), batch)
    finally:
        model.train(was_training)


# --- the cache ----------------------------------------------------------------------------------------

Record = dict[str, Tensor]
CACHE_VERSION = 1  # counts up when the same question would get another answer
MOST_CACHE_BYTES = 4_000_000_000


def store_path(fingerprint: str, dtype: torch.dtype, needs: Needs) -> Path:
    """One file for each reference, its precision, and what is asked of it."""
    identity = repr((CACHE_VERSION, fingerprint, str(dtype), TOP_K, needs))
    return cache_folder() / "reference" / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.sqlite"


def row_key(row: EncodedRow) -> str:
    """Names a row by its tokens, in which tokenizer and chat template show, too."""
    tokens = ",".join(f"{t}{'*' if s else ''}" for t, s in zip(row.ids, row.supervised, strict=True))
    return hashlib.sha256(tokens.encode()).hexdigest()[:32]


class ReferenceStore:
    """What one reference said, by row, in an SQLite file.

    Its folder is the user's alone, as that of a run is; the files not used for longest give way.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._make_room(path)
        self._db = sqlite3.connect(path, timeout=10)
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("CREATE TABLE IF NOT EXISTS said (row TEXT PRIMARY KEY, record BLOB)")

    @staticmethod
    def _make_room(path: Path) -> None:
        others = sorted(path.parent.glob("*.sqlite"), key=lambda file: file.stat().st_mtime, reverse=True)
        total = 0
        for file in others:
            total += file.stat().st_size
            if total > MOST_CACHE_BYTES and file != path:
                file.unlink()

    def get(self, keys: Sequence[str]) -> dict[str, Record]:
        marks = ",".join("?" * len(keys))
        found = self._db.execute(f"SELECT row, record FROM said WHERE row IN ({marks})", tuple(keys))
        return {key: load(record) for key, record in found}

    def put(self, records: dict[str, Record]) -> None:
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO said VALUES (?, ?)",
                [(key, save(record)) for key, record in records.items()],
            )


def _split(said: Said, counts: list[int]) -> list[Record]:
    """One record for each row of `counts` tokens."""
    parts: Record = {}
    if isinstance(said.distribution, TopK):
        parts["top_tokens"] = said.distribution.tokens.int()
        parts["top_log_probs"] = said.distribution.log_probs
    if said.target_nll is not None:
        parts["target_nll"] = said.target_nll
    if said.safety_values is not None:
        parts["safety_values"] = said.safety_values
    columns = {name: tensor.cpu().split(counts) for name, tensor in parts.items()}
    return [{name: column[i].contiguous() for name, column in columns.items()} for i in range(len(counts))]


def _join(records: list[Record], device: torch.device) -> Said:
    columns = {name: torch.cat([r[name] for r in records]).to(device) for name in records[0]}
    tokens = columns.get("top_tokens")
    top = None if tokens is None else TopK(tokens.long(), columns["top_log_probs"])
    return Said(top, columns.get("target_nll"), columns.get("safety_values"))
