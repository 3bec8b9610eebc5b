"""Logits at the supervised positions only.

The hidden states are gathered in a forward pre-hook on the output embedding, inside the model's own
forward, so that whatever the model does to its logits (scaling, soft-capping) stays right. Most of a
batch's positions are prompt or padding, and the vocabulary is what makes logits expensive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

IGNORED = -100
"""Label of a token that is not supervised, as in PyTorch's cross entropy."""


def predicting_positions(labels: Tensor) -> Tensor:
    """True at (b, t) when the token at t + 1 is supervised. labels (B, L) → bool (B, L)."""
    predicts = torch.zeros_like(labels, dtype=torch.bool)
    predicts[:, :-1] = labels[:, 1:] != IGNORED
    return predicts


@contextmanager
def _gather_before(head: nn.Module, positions: Tensor) -> Iterator[None]:
    def gather(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = inputs
        return (hidden[positions].unsqueeze(0), *others)

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def supervised_logits(model: nn.Module, head: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Logits (T, V) that predict the supervised tokens of `batch`, rows one after another.

    batch holds input_ids, attention_mask and labels, each (B, L); `head` is the model's output embedding.
    """
    return supervised_forward(model, head, batch)[0]


def supervised_forward(
    model: nn.Module, head: nn.Module, batch: dict[str, Tensor], layers: Sequence[int] = ()
) -> tuple[Tensor, Tensor]:
    """As `supervised_logits`, with the hidden states (T, layers, H) of the same pass, without gradient.

    Layers count as in Transformers' `hidden_states`: 0 is what the embedding gives.
    """
    positions = predicting_positions(batch["labels"])
    with _gather_before(head, positions):
        output = model(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            use_cache=False,
            output_hidden_states=bool(layers),
        )
    logits = output.logits[0]
    states = [output.hidden_states[layer].detach()[positions] for layer in layers]
    return logits, torch.stack(states, 1) if states else logits.new_zeros(len(logits), 0, 0)


def supervised_targets(labels: Tensor) -> Tensor:
    """The supervised token ids (T,), in the order of `supervised_logits`."""
    return labels[:, 1:][labels[:, 1:] != IGNORED]


def row_of_token(labels: Tensor) -> Tensor:
    """The row (T,) of each supervised token, in the order of `supervised_logits`."""
    return predicting_positions(labels).nonzero()[:, 0]


def place_in_answer(labels: Tensor) -> Tensor:
    """The place (T,), from 0, of each supervised token within its answer: a run of supervised tokens."""
    supervised = labels[:, 1:] != IGNORED
    count = supervised.cumsum(1)
    before = torch.where(supervised, 0, count).cummax(1).values  # supervised tokens of earlier answers
    return (count - before - 1)[supervised]


def select_rows(batch: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """The given rows as a batch of their own, without the padding only others needed."""
    chosen = {name: tensor[rows] for name, tensor in batch.items()}
    length = int(chosen["attention_mask"].sum(1).max())
    return {name: tensor[:, :length] for name, tensor in chosen.items()}
