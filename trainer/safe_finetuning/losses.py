"""Training losses as pure functions of per-token quantities.

Shapes: T supervised tokens of a micro-batch (all rows one after another), V vocabulary, R rows,
S safety tokens. Losses are in nats, and computed in fp32 or better.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

TOP_K = 512
CONSTRAINED_BETA = (0.5, 2.0, 2.0, 2.0, 2.0, 0.1)
"""β of the first, the second to fifth, and every later token of an answer (Qi et al. 2025, section 4.1)."""


class TopK(NamedTuple):
    """A distribution by its k likeliest tokens: ids (T, k) and log-probabilities (T, k)."""

    tokens: Tensor
    log_probs: Tensor


class TokenTerms(NamedTuple):
    """What losses are made of: nll (T,), kl (T,) (0 where not held), log-probabilities (W, S)."""

    nll: Tensor
    kl: Tensor
    watched: Tensor


def token_terms(
    logits: Tensor,
    targets: Tensor,
    *,
    held: Tensor | None = None,
    reference: Tensor | TopK | None = None,
    watched: Tensor | None = None,
    tokens: Tensor | None = None,
) -> TokenTerms:
    """Negative log-likelihood of the targets, KL(reference ‖ model) where a token is held, and the
    log-probabilities of `tokens` (S,) at the W watched positions.

    logits (T, V), targets (T,); held and watched bool (T,). `reference` is about the held positions alone:
    logits (T', V) for the divergence over the full vocabulary, or a TopK.
    """
    logits = _at_least_fp32(logits)
    positions, chosen = [torch.arange(len(targets), device=targets.device)], [targets]
    held_at = None if held is None else held.nonzero()[:, 0]
    wide = reference if isinstance(reference, Tensor) else None
    if isinstance(reference, TopK) and held_at is not None:
        positions.append(held_at.repeat_interleave(reference.tokens.shape[1]))
        chosen.append(reference.tokens.flatten())
    if watched is not None and tokens is not None and len(tokens):
        positions.append(watched.nonzero()[:, 0].repeat_interleave(len(tokens)))
        chosen.append(tokens.repeat(int(watched.sum())))
    log_probs, wide_kl = _LogProbs.apply(logits, torch.cat(positions), torch.cat(chosen), held_at, wide)
    parts = list(log_probs.split([len(part) for part in positions]))
    nll, kl = -parts.pop(0), torch.zeros_like(log_probs[: len(targets)])
    if isinstance(reference, TopK) and held is not None:
        kl = kl.masked_scatter(held, top_k_kl(reference, parts.pop(0).view(reference.tokens.shape)))
    elif wide is not None and held is not None:
        kl = kl.masked_scatter(held, wide_kl)
    return TokenTerms(nll, kl, parts[0].view(-1, len(tokens)) if parts and tokens is not None else nll[:0])


def token_nll(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood of each target. logits (T, V), targets (T,) → (T,)."""
    return token_terms(logits, targets).nll


def top_k(logits: Tensor, k: int = TOP_K) -> TopK:
    """The k likeliest tokens of each position. logits (T, V) → ids (T, k), log-probabilities (T, k)."""
    logits = _at_least_fp32(logits)
    values, tokens = logits.topk(min(k, logits.shape[-1]), dim=-1)
    return TopK(tokens, values - logits.logsumexp(-1, keepdim=True))


def top_k_kl(reference: TopK, log_probs: Tensor) -> Tensor:
    """KL(reference ‖ model) with everything outside the reference's top k as one outcome. → (T,)

    `log_probs` (T, k) are the model's of those tokens. A lower bound of the divergence over the full
    vocabulary, since merging outcomes can only lose divergence.
    """
    log_p = reference.log_probs.to(log_probs.dtype)
    rest_p, rest_q = _log_rest(log_p), _log_rest(log_probs)
    kl = (log_p.exp() * (log_p - log_probs)).sum(-1) + rest_p.exp() * (rest_p - rest_q)
    return kl.clamp(min=0)  # it never is below, but for rounding


def _log_rest(log_probs: Tensor) -> Tensor:
    """Log-probability of what the given ones leave over, not below the precision of their sum."""
    rest = 1 - log_probs.exp().sum(-1)
    return rest.clamp(min=torch.finfo(rest.dtype).eps).log()


class _LogProbs(torch.autograd.Function):
    """Log-probabilities at (position, token) pairs, and full divergences at the held positions.

    By itself autograd would make one gradient of the size of the logits, the largest tensor of a step, for
    every use of them. Here all uses add to one.
    """

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        positions: Tensor,
        tokens: Tensor,
        held: Tensor | None,
        reference: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        log_q = logits.log_softmax(-1)
        log_p, kl = None, log_q.new_zeros(0)
        if reference is not None:
            log_p = reference.to(log_q.dtype).log_softmax(-1)
            kl = (log_p.exp() * (log_p - log_q[held])).sum(-1)
        ctx.save_for_backward(log_q, positions, tokens, held, log_p)
        return log_q[positions, tokens], kl

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_kl: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        log_q, positions, tokens, held, log_p = ctx.saved_tensors
        of_position = log_q.new_zeros(len(log_q)).index_add_(0, positions, -grad)
        if log_p is not None:
            of_position.index_add_(0, held, grad_kl)
        found = log_q.exp().mul_(of_position[:, None])
        found.index_put_((positions, tokens), grad, accumulate=True)
        if log_p is not None:
            found.index_add_(0, held, log_p.exp().mul_(-grad_kl[:, None]))
        return found, None, None, None, None


def risk_to_beta(
    risk: Tensor,
    *,
    beta_min: float,
    beta_max: float,
    floor: float = 0.0,
    mapping: Literal["linear", "clamped"] = "linear",
) -> Tensor:
    """β of a risk s in [0, 1]; NaN (unscored) counts as 1: fail closed. risk (R,) → (R,)

    `linear`: β_min + (β_max − β_min)·s (Goel et al. 2026), with s = 0 below `floor` (ours).
    `clamped`: (r − 2)/3 between β_min and β_max for a risk r = 1 + 4s on the paper's scale of 1 to 5, as
    in its released code.
    """
    s = torch.nan_to_num(risk, nan=1.0)
    s = torch.where(s < floor, torch.zeros_like(s), s)
    if mapping == "clamped":
        return ((4 * s - 1) / 3).clamp(beta_min, beta_max)
    return beta_min + (beta_max - beta_min) * s


def constrained_token_loss(nll: Tensor, reference_nll: Tensor, place: Tensor) -> Tensor:
    """(2/β_t)·softplus(−β_t·Δ_t), Δ_t = log p_model − log p_reference of the target (Qi et al. 2025, eq. 3).

    nll and reference_nll (T,); place (T,) counts the tokens of an answer from 0. Its gradient is that of
    nll times 2·sigmoid(−β_t·Δ_t): 1 where model and reference agree, less the likelier the target becomes.
    """
    schedule = torch.tensor(CONSTRAINED_BETA, dtype=nll.dtype, device=nll.device)
    beta = schedule[place.clamp(max=len(schedule) - 1)]
    return 2 / beta * F.softplus(-beta * (reference_nll - nll))


def space_offset(logits: Tensor, space: str) -> Tensor | float:
    """What makes log-probabilities the values that safety token regularisation compares in `space`.

    `logprob`: nothing; `logit`: the softmax's normaliser; `centered`: that less the mean over the
    vocabulary. logits (T, V) → (T, 1)
    """
    if space == "logprob":
        return 0.0
    logits = _at_least_fp32(logits)
    mean = logits.mean(-1, keepdim=True) if space == "centered" else 0.0
    return logits.logsumexp(-1, keepdim=True) - mean


def safety_token_distance(values: Tensor, reference: Tensor) -> Tensor:
    """Mean of (z_model − z_reference)² over the tokens (after Bach and Tran 2026). Both (T, S) → (T,)"""
    return (values - reference).square().mean(-1)


def regularised_loss(nll: Tensor, kl: Tensor, alpha: Tensor, beta: Tensor, n_tokens: Tensor | int) -> Tensor:
    """(1/N) Σ_t α_t·nll_t + β_t·KL_t (Goel et al. 2026, with α = 1 − β), all (T,) → scalar.

    N is the number of supervised tokens of the whole optimiser step, for both terms. With α = 1 and β = 0
    everywhere this is the plain mean of nll.
    """
    return (alpha * nll + beta * kl).sum() / n_tokens


def _at_least_fp32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
