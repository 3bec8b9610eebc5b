"""Training losses as pure functions of per-token quantities.

Shapes: T supervised tokens of a micro-batch (all rows one after another), V vocabulary, R rows.
Losses are in nats. N is the number of supervised tokens of the whole optimiser step.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def token_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each target. logits (T, V), targets (T,) → (T,), in fp32 or better."""
    return F.cross_entropy(_at_least_fp32(logits), targets, reduction="none")


def token_kl(reference_logits: Tensor, logits: Tensor) -> Tensor:
    """KL(reference ‖ model) over the full vocabulary, per token. Both (T, V) → (T,)."""
    model = F.log_softmax(_at_least_fp32(logits), dim=-1)
    reference = F.log_softmax(_at_least_fp32(reference_logits), dim=-1)
    return F.kl_div(model, reference, reduction="none", log_target=True).sum(-1)


def risk_to_beta(risk: Tensor, *, beta_min: float, beta_max: float, floor: float) -> Tensor:
    """β = β_min + (β_max − β_min)·s (Goel et al. 2026), with s = 0 for a risk below `floor` (ours).

    risk (R,) in [0, 1]; NaN (unscored) counts as 1: fail closed.
    """
    s = torch.nan_to_num(risk, nan=1.0)
    s = torch.where(s < floor, torch.zeros_like(s), s)
    return beta_min + (beta_max - beta_min) * s


def adaptive_loss(nll: Tensor, kl: Tensor, beta: Tensor, n_tokens: Tensor | int) -> Tensor:
    """(1/N) Σ_t (1 − β_t)·nll_t + β_t·KL_t (Goel et al. 2026, per sample).

    nll, kl, beta (T,): β is its row's, repeated over the row's tokens. → scalar.
    With β = 0 everywhere, this is the plain mean of nll.
    """
    return ((1 - beta) * nll + beta * kl).sum() / n_tokens


def _at_least_fp32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
