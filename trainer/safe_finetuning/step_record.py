"""What one optimiser step adds up to, over its micro-batches and processes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .collate import TrainingRow
from .objective import Terms
from .protocol import RowColumns


@dataclass
class StepRecord:
    """Sums over supervised tokens, and lists with one value per row of the dataset."""

    began: float | None = None
    step_risk: float | None = None
    n_anchor_tokens: int = 0
    n_safety_positions: int | None = None
    loss: float = 0.0
    nll: float = 0.0
    kl: float | None = None
    anchors: float | None = None
    safety: float | None = None
    tokens: int = 0
    input_tokens: int = 0
    file: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    hash: list[str] = field(default_factory=list)
    risk: list[float] = field(default_factory=list)
    risk_before: list[float] = field(default_factory=list)
    beta: list[float] = field(default_factory=list)
    row_nll: list[float] = field(default_factory=list)
    row_kl: list[float | None] = field(default_factory=list)
    row_tokens: list[int] = field(default_factory=list)

    def add(self, terms: Terms, rows: Sequence[tuple[TrainingRow, bool]], n_input: int) -> None:
        """A micro-batch: its terms, its rows and whether each is an anchor, and its tokens that are no
        padding."""
        self.loss += float(terms.loss.detach())
        self.input_tokens += n_input
        if terms.safety is not None:
            self.safety = (self.safety or 0.0) + float(terms.safety)
        sums = torch.zeros(3, len(rows), dtype=terms.nll.dtype, device=terms.nll.device)
        sums.index_add_(1, terms.row, torch.stack([terms.nll, terms.kl, torch.ones_like(terms.nll)]))
        weights = zip(terms.risk.tolist(), terms.alpha.tolist(), terms.beta.tolist(), strict=True)
        for (row, is_anchor), (risk, alpha, beta), (nll, kl, tokens) in zip(
            rows, weights, sums.T.tolist(), strict=True
        ):
            if is_anchor:
                self.anchors = (self.anchors or 0.0) + alpha * nll + beta * kl
                continue
            self.nll += nll
            self.tokens += int(tokens)
            if beta > 0:
                self.kl = (self.kl or 0.0) + beta * kl
            self.file.append(row.encoded.row.file)
            self.line.append(row.encoded.row.line)
            self.hash.append(row.encoded.row.hash)
            self.risk.append(risk)
            self.risk_before.append(row.risk)
            self.beta.append(beta)
            self.row_nll.append(nll / tokens)
            self.row_kl.append(kl / tokens if beta > 0 else None)
            self.row_tokens.append(int(tokens))

    def figures(self) -> dict[str, Any]:
        """Of the event `batch`, what the step's rows say; a row that is not scored counts as risk 1."""
        risk = [1.0 if math.isnan(r) else r for r in self.risk]
        return {
            "nll": self.nll / self.tokens,
            "kl": None if self.kl is None else self.kl / self.tokens,
            "anchors": None if self.anchors is None else self.anchors / self.n_anchor_tokens,
            "safety_tokens": self.safety,
            "total": self.loss,
            "risk_mean": sum(risk) / len(risk),
            "risk_max": max(risk),
            "beta_mean": sum(self.beta) / len(self.beta),
            "beta_max": max(self.beta),
            "tokens": self.tokens,
        }

    def columns(self) -> RowColumns:
        return RowColumns(
            file=self.file,
            line=self.line,
            hash=self.hash,
            risk=[None if math.isnan(r) else r for r in self.risk],
            beta=self.beta,
            nll=self.row_nll,
            kl=self.row_kl,
            tokens=self.row_tokens,
        )


SUMS = ("loss", "nll", "kl", "anchors", "safety", "tokens", "input_tokens")
"""What of a record adds up over processes, beside its rows; the rest is the same in all of them."""


def joined(records: list[StepRecord]) -> StepRecord:
    """What the processes of one step add up to."""
    whole, *others = records
    for record in others:
        for name, value in vars(record).items():
            mine = getattr(whole, name)
            if isinstance(value, list):
                mine += value
            elif name in SUMS and value is not None:
                setattr(whole, name, value if mine is None else mine + value)
    return whole
