"""Which tokens safety token regularisation holds: those with which the reference begins to refuse.

Bach and Tran 2026 (arXiv 2604.17210) regularise "salient" tokens of refusal templates; how they choose them
is not public, so the rule here is our own: tokens of the templates that the reference is likely to say in
the opening of an answer to a harmful prompt, and far less likely to say in that of an ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .collate import Collator, TrainingRow
from .config import SafetyTokenConfig
from .errors import UserError
from .supervised_logits import place_in_answer, row_of_token, supervised_logits
from .tokens import EncodedRow

TEMPLATES = (
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I am sorry, but I cannot help you with this.",
    "Sorry, I'm not able to provide that.",
    "I apologize, but I cannot fulfill this request.",
    "I can't do that. It could seriously hurt someone.",
    "I cannot assist with anything illegal or harmful.",
    "I won't help with this, and I will not explain how.",
    "Unfortunately, I am unable to comply.",
    "As an AI assistant, I must decline: it is not safe, legal or ethical.",
    "No, I refuse to do this.",
)
OPENING_TOKENS = 8
LEAST_PROBABILITY = 0.02
LEAST_RATIO = 5.0
MOST_TOKENS = 32


class SafetyToken(NamedTuple):
    """A token, and how likely the reference is to say it in the opening of an answer, on average over
    harmful prompts (`refusing`) and ordinary ones (`ordinary`)."""

    id: int
    text: str
    refusing: float
    ordinary: float


def choose_safety_tokens(
    config: SafetyTokenConfig,
    model: Any,
    tokenizer: Any,
    refusals: Sequence[EncodedRow],
    ordinary: Sequence[EncodedRow],
    *,
    check: Callable[[], None] = lambda: None,
) -> list[SafetyToken]:
    """The safety tokens, likeliest first: the configured ones, or those that the rule finds.

    `model` is the reference, in evaluation mode; `refusals` are its own answers to harmful prompts,
    `ordinary` rows of the dataset.

    Raises:
        UserError: a configured text is not one token of the model, or the rule finds none.
    """
    if not ordinary and not config.tokens:
        raise UserError(
            "No row of the dataset is below `risk.threshold`, so nothing tells the tokens of refusals from "
            "those of other answers. Name them in `safetyTokens.tokens`."
        )
    candidates = single_tokens(config, tokenizer) or sorted(template_tokens(tokenizer))
    refusing = _opening_probabilities(model, tokenizer, refusals, candidates, check)
    common = _opening_probabilities(model, tokenizer, ordinary, candidates, check)
    found = [
        SafetyToken(token, tokenizer.decode([token]), float(p), float(q))
        for token, p, q in zip(candidates, refusing, common, strict=True)
        if config.tokens or (p >= LEAST_PROBABILITY and p >= LEAST_RATIO * q)
    ]
    if not found:
        raise UserError(
            "No token tells the model's refusals from its other answers: in the opening of none is a word of "
            "a refusal both likely and special. Name the tokens in `safetyTokens.tokens`, or choose another "
            "method."
        )
    likeliest = sorted(found, key=lambda token: -token.refusing)
    return likeliest if config.tokens else likeliest[:MOST_TOKENS]


def template_tokens(tokenizer: Any) -> set[int]:
    """The tokens of the refusal templates that hold a letter."""
    ids = {i for text in TEMPLATES for i in tokenizer(text, add_special_tokens=False)["input_ids"]}
    return {i for i in ids if any(character.isalpha() for character in tokenizer.decode([i]))}


def single_tokens(config: SafetyTokenConfig, tokenizer: Any) -> list[int]:
    """The configured tokens, without any that is named twice.

    Raises:
        UserError: a text is not one token of the model.
    """
    return list(dict.fromkeys(_single_token(text, tokenizer) for text in config.tokens or ()))


def _single_token(text: str, tokenizer: Any) -> int:
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        pieces = ", ".join(f'"{tokenizer.decode([i])}"' for i in ids)
        raise UserError(
            f'`safetyTokens.tokens`: "{text}" is not one token of this model but {len(ids)} ({pieces}). '
            "Give each by itself, with the space before it where it has one."
        )
    return ids[0]


def _opening_probabilities(
    model: Any, tokenizer: Any, rows: Sequence[EncodedRow], tokens: list[int], check: Callable[[], None]
) -> Tensor:
    """How likely each token is at its likeliest place in an answer's opening, averaged over rows. → (S,)"""
    collate = Collator(tokenizer.pad_token_id)
    total = torch.zeros(len(tokens))
    for start in range(0, len(rows), 8):
        check()
        items = [(i, TrainingRow(row, 0.0)) for i, row in enumerate(rows[start : start + 8])]
        batch = {name: tensor.to(model.device) for name, tensor in collate(items).items()}
        with torch.no_grad():
            logits = supervised_logits(model, model.get_output_embeddings(), batch)
        probabilities = logits.float().softmax(-1)[:, tokens].cpu()
        opening = (place_in_answer(batch["labels"]) < OPENING_TOKENS).cpu()
        owner = row_of_token(batch["labels"]).cpu()
        for row in range(len(items)):
            total += probabilities[opening & (owner == row)].amax(0)
    return total / max(len(rows), 1)
