"""What is minimised: the methods by name.

Every method is a case of one formula (docs/methods.md). For a row of weights α and β,

    loss = (1/N) Σ_rows Σ_tokens (α·data + β·KL(reference ‖ model))  +  λ · mean (z_model − z_reference)²

where `data` is the negative log-likelihood, or in the method `constrained` its constrained form, and the
last term is safety token regularisation. N counts the supervised tokens of the dataset's rows in the whole
optimiser step; anchor rows add KL and nothing else (in the method `mix-safety`, nll and nothing else).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .collate import Collator, TrainingRow
from .config import AnswerTokens, RegularisationConfig, RunConfig
from .errors import UserError
from .losses import (
    constrained_token_loss,
    regularised_loss,
    risk_to_beta,
    safety_token_distance,
    space_offset,
    token_terms,
)
from .reference import Needs, Reference
from .risk.probe import Probe
from .risk.refusal import is_refusal
from .rows import ANSWERING, Row
from .supervised_logits import place_in_answer, row_of_token, supervised_forward, supervised_targets
from .tokens import EncodedRow


class RowWeights(NamedTuple):
    """α and β of each row, both (R,)."""

    alpha: Tensor
    beta: Tensor


def row_weights(config: RunConfig, risk: Tensor) -> RowWeights:
    """The weights of dataset rows with the given risk (R,); NaN is an unscored row."""
    ones = torch.ones_like(risk)
    settings = config.regularisation
    if config.method == "kl":
        return RowWeights(ones, settings.weight * ones)
    if config.method not in ("adaptive", "recommended"):
        return RowWeights(ones, 0 * ones)
    beta = risk_to_beta(
        risk,
        beta_min=settings.beta_min,
        beta_max=settings.beta_max,
        floor=config.risk.floor,
        mapping=settings.mapping,
    )
    if settings.form == "additive":
        return RowWeights(ones, settings.weight * beta)
    return RowWeights(1 - beta, beta)


def judged_answers(row: Row) -> list[bool]:
    """Which of the answers of `row` count in its risk: those of its training pairs that are no refusals."""
    judged = {len(pair.context) for pair in row.pairs() if not is_refusal(pair.answer)}
    return [turn in judged for turn, message in enumerate(row.messages) if message.role in ANSWERING]


def positions_of(settings: AnswerTokens, labels: Tensor) -> Tensor:
    """At which supervised tokens a term with these settings acts, bool (T,)."""
    place = place_in_answer(labels)
    return (place < settings.first_tokens) | (settings.positions == "all")


class Terms(NamedTuple):
    """A micro-batch's part of the step's loss, and what it is made of (without gradient).

    `row` (T,) is the place in the batch of each supervised token's row, nll and kl (T,) are in nats; risk,
    alpha and beta (B,) are those that the rows weighed by.
    """

    loss: Tensor
    row: Tensor
    nll: Tensor
    kl: Tensor
    safety: Tensor | None
    risk: Tensor
    alpha: Tensor
    beta: Tensor


class Objective:
    """The loss of the configured method on rows of known risk, with the anchor rows behind them.

    A row is named by its index into `rows`; those from `n_dataset` on are anchors.
    """

    def __init__(
        self,
        config: RunConfig,
        model: Any,
        rows: Sequence[TrainingRow],
        anchors: Sequence[EncodedRow] = (),
        safety_tokens: Sequence[int] = (),
        fingerprint: str | None = None,
        warn: Callable[[str, str], None] = lambda code, message: None,
        probe: Probe | None = None,
    ) -> None:
        """`fingerprint` names the reference's weights in the cache; without one nothing is cached. `probe`
        judges the rows while they are trained on (`risk.features: policy`).

        `warn` is told, with a code, of what does not stop the run.
        """
        self.config, self.n_dataset, self.probe = config, len(rows), probe
        self.rows = [*rows, *(TrainingRow(anchor, risk=1.0) for anchor in anchors)]
        self.risk = torch.tensor([row.risk for row in rows], dtype=torch.float64)
        self.weights = self._weights(self.risk)
        self.constrained = config.method == "constrained"
        self.safety = config.safety_tokens if safety_tokens else None
        needs = Needs(
            distribution=probe is not None or bool((self.weights.beta > 0).any()),
            targets=self.constrained,
            safety_tokens=tuple(safety_tokens),
            space=self.safety.space if self.safety else "logprob",
        )
        cached = config.regularisation.reference == "cached"
        self.reference = Reference(model, needs, fingerprint if cached else None, warn)

    @property
    def settings(self) -> RegularisationConfig:
        """How risk becomes regularisation at present."""
        return self.config.regularisation

    def set_beta_range(self, beta_min: float, beta_max: float) -> None:
        """Every row weighs by this range of β from now on.

        Raises:
            UserError: the reference is gone, and was not asked about rows that would be held now.
        """
        if self.reference.gone and beta_min > 0 and self.settings.beta_min == 0:
            raise UserError(
                "`regularisation.betaMin` cannot be raised above 0 in this run: without an adapter the "
                "reference is gone, and it was asked about risky rows only. Begin a run with a `betaMin` "
                "above 0."
            )
        changed = self.settings.model_copy(update={"beta_min": beta_min, "beta_max": beta_max})
        self.config = self.config.model_copy(update={"regularisation": changed})
        self.weights = self._weights(self.risk)
        if bool((self.weights.beta > 0).any()):
            self.reference.need_distribution()

    def set_step_risk(self, risk: float) -> None:
        """Every row of the dataset weighs as one of this risk (`granularity: batch`)."""
        self.weights = self._weights(torch.full_like(self.risk, risk))

    def _weights(self, risk: Tensor) -> RowWeights:
        alpha, beta = row_weights(self.config, risk)
        none = alpha.new_zeros(len(self.rows) - self.n_dataset)
        anchor = none + (self.config.anchors.weight if self.config.anchors else 0)
        of_anchors = (anchor, none) if self.config.method == "mix-safety" else (none, anchor)
        return RowWeights(torch.cat([alpha, of_anchors[0]]), torch.cat([beta, of_anchors[1]]))

    def safety_positions(self, labels: Tensor, index: Tensor) -> Tensor:
        """Where safety token regularisation acts: of the dataset's supervised tokens, bool (T,)."""
        assert self.safety
        of_dataset = (index < self.n_dataset).to(labels.device)
        return of_dataset[row_of_token(labels)] & positions_of(self.safety, labels)

    def ask_reference(self, pad_token_id: int, batch_size: int, progress: Callable[[int, int], None]) -> None:
        """Asks beforehand about every row that the method will ask about, if nobody can be asked later.

        `progress` is told rows asked about and in all.
        """
        if not self.reference.cache_is_all:
            return
        later = self.probe or self.config.regularisation.granularity == "batch"  # weights are known later
        always = later and self.reference.needs.distribution
        everything = torch.arange(len(self.rows))
        asked = self._asked(everything, self.weights.beta)
        rows = [i for i in range(len(self.rows)) if asked[i] or (always and i < self.n_dataset)]
        rows.sort(key=lambda i: len(self.rows[i].encoded.ids))
        device, collate = self.reference.model.device, Collator(pad_token_id)
        for start in range(0, len(rows), batch_size):
            chosen = rows[start : start + batch_size]
            batch = collate([(i, self.rows[i]) for i in chosen])
            batch = {name: x.to(device) for name, x in batch.items() if name != "index"}
            self.reference.at(batch, torch.arange(len(chosen)), [self.rows[i].encoded for i in chosen])
            progress(start + len(chosen), len(rows))
        self.reference.gone = True

    def _asked(self, index: Tensor, beta: Tensor) -> Tensor:
        """Which of the rows `index`, of weight `beta`, the reference is asked about. Both (B,) → bool (B,)"""
        held = beta > 0
        return held | (index < self.n_dataset) if self.constrained or self.safety else held

    def _risk_and_weights(self, index: Tensor, labels: Tensor, states: Tensor) -> tuple[Tensor, RowWeights]:
        """Those of the rows `index` (B,), where the method asks for it by their hidden states (T, layers, H).

        An answer is as risky as the last prompt token before it makes it, and a conversation as the riskiest
        of those that are no refusals.
        """
        of_dataset = index < self.n_dataset
        risk = torch.ones(len(index), dtype=self.risk.dtype)
        risk[of_dataset] = self.risk[index[of_dataset]]
        known = RowWeights(*(weights[index] for weights in self.weights))
        if not self.probe:
            return risk, known
        begins = place_in_answer(labels) == 0
        owner = row_of_token(labels)[begins].cpu()
        answers = [iter(judged_answers(self.rows[i].encoded.row)) for i in index.tolist()]
        judged = torch.tensor([next(answers[row]) for row in owner.tolist()], dtype=torch.bool)
        of_answers = torch.where(judged, self.probe.risk_of_layers(states[begins].float().cpu()), 0)
        now = torch.zeros_like(risk).scatter_reduce(0, owner, of_answers, "amax")
        now = torch.where(
            of_dataset & (risk != 0), now, risk
        )  # a risk of 0 is that of a refusal or a reviewed row
        weights = row_weights(self.config, now)
        return now, RowWeights(*(torch.where(of_dataset, *x) for x in zip(weights, known, strict=True)))

    def __call__(
        self,
        model: Any,
        batch: dict[str, Tensor],
        index: Tensor,
        *,
        n_tokens: Tensor | int | None = None,
        n_anchor_tokens: int | None = None,
        n_safety_positions: int | None = None,
        any_process: Callable[[bool], bool] = bool,
    ) -> Terms:
        """The terms of the rows `index` (B,), padded in `batch`; `model` may be a wrapped one.

        `n_tokens` is N, `n_anchor_tokens` the supervised tokens of anchor rows, `n_safety_positions` the
        positions of the last term's mean, all of the whole step and all processes; without them, of this
        batch.
        """
        labels, targets = batch["labels"], supervised_targets(batch["labels"])
        row = row_of_token(labels)
        head = self.reference.model.get_output_embeddings()
        logits, states = supervised_forward(model, head, batch, self.probe.layers if self.probe else ())
        precision = torch.promote_types(logits.dtype, torch.float32)
        risk, weights = self._risk_and_weights(index, labels, states)
        alpha, beta = (weight.to(logits.device, precision) for weight in weights)
        of_dataset = (index < self.n_dataset).to(logits.device)

        asked = self._asked(index, weights.beta).to(logits.device)
        rows = asked.nonzero()[:, 0]
        encoded = [self.rows[i].encoded for i in index[rows.cpu()]]
        said = self.reference.at(batch, rows, encoded, any_process)
        n_tokens = of_dataset[row].sum() if n_tokens is None else n_tokens
        if n_anchor_tokens is None:
            n_anchor_tokens = int((~of_dataset)[row].sum())
        share = torch.ones_like(alpha)
        share[~of_dataset] = float(n_tokens) / max(n_anchor_tokens, 1)  # a mean of their own, not the sum ÷ N
        said_of = asked[row]  # (T,): the tokens that the reference spoke of, in its order
        held = (beta > 0)[row] & (positions_of(self.settings, labels) | ~of_dataset[row])
        watched = self.safety_positions(labels, index) if self.safety else None
        terms = token_terms(
            logits,
            targets,
            held=held,
            reference=said.distribution_of(held[said_of]) if said else None,
            watched=watched,
            tokens=self.reference.safety_tokens if self.safety else None,
        )
        data, safety = terms.nll, None
        if said and said.target_nll is not None:
            reference_nll = terms.nll.detach().masked_scatter(said_of, said.target_nll.to(terms.nll))
            data = constrained_token_loss(terms.nll, reference_nll, place_in_answer(labels))
        loss = regularised_loss(data, terms.kl, (alpha * share)[row], (beta * share)[row], n_tokens)
        if self.safety and watched is not None and said and said.safety_values is not None:
            values = terms.watched + space_offset(logits[watched], self.safety.space)
            distance = safety_token_distance(values, said.safety_values[watched[said_of]].to(values))
            count = len(distance) if n_safety_positions is None else n_safety_positions
            safety = self.safety.weight * distance.sum() / count
            loss = loss + safety
        return Terms(
            loss,
            row,
            terms.nll.detach(),
            terms.kl.detach(),
            None if safety is None else safety.detach(),
            risk,
            *weights,
        )


class StepRisk(NamedTuple):
    """The risk that granularity `batch` goes by: the mean over a step's rows, averaged over the steps.

    `value`, that of the last finished step, is part of a run's state; None before the first.
    """

    moving_average: float
    value: float | None = None

    def after(self, mean: float) -> float:
        """That of the next step, whose rows have this mean: m·s + (1 − m)·mean; at first the mean itself."""
        m = 0.0 if self.value is None else self.moving_average
        return m * (self.value or 0.0) + (1 - m) * mean
