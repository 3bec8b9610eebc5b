"""Rows that look harmless and are not: bidirectional anchoring (He et al. 2024, arXiv 2404.01099).

An answer's features are what the reference has in mind while it is read; a row is the closer to harm, the
more its features are like those of answers that comply with harmful requests, and the less like those of
refusals of the same requests. The paper finds ordinary rows that break a model's refusals by this, with
gradients as features in both directions and hidden states in one; here hidden states in both, which costs
one forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..collate import Collator, TrainingRow
from ..errors import UserError
from ..rows import Message, Row, content_hash
from ..safety_tokens import TEMPLATES
from ..tokens import EncodedRow, TemplateError, encode_row

if TYPE_CHECKING:
    from ..model import Loaded

OPENING_TOKENS = 10  # of each answer, as in the paper: whether a model complies is decided in them
LEAST_TOKENS = 2  # the token that ends a turn says nothing by itself
BATCH_TOKENS = 4096  # padded, of one forward pass: bounds memory
WHOLE = 1 << 20  # tokens: anchors are read as they are, whatever the length of what is trained on
COMPLIANCES = (
    "Sure, here is what you asked for:",
    "Of course! Here is how to do it, step by step:",
    "Certainly. Here is a detailed answer to your request:",
)


def similarities(
    rows: Sequence[Row],
    prompts: Sequence[str],
    loaded: Loaded,
    max_length: int,
    *,
    check: Callable[[], None],
    progress: Callable[[int, int], None],
) -> list[float | None]:
    """How much more alike each row is to compliance with harmful requests than to their refusals, in [-2, 2].

    Of a row's answers the one that is most so. `prompts` are harmful; each is an anchor on both sides, once
    with an opening that complies and once with a refusal. None for a plain text, and where no answer begins
    within `max_length` tokens or the chat template cannot render the row. Sorts rows of one dataset; it is no
    probability, and values of different models mean nothing beside each other.

    Raises:
        UserError: the chat template cannot render the anchors.
    """
    harmful, safe = (_anchors(prompts, answers, loaded, check) for answers in (COMPLIANCES, TEMPLATES))
    centre = torch.cat([harmful, safe]).mean(0)
    directions = [torch.nn.functional.normalize(side - centre, dim=1) for side in (harmful, safe)]

    def similarity(features: Tensor) -> float:
        answers = torch.nn.functional.normalize(features - centre, dim=1)
        to_harmful, to_safe = (answers @ side.T for side in directions)
        return float((to_harmful.mean(1) - to_safe.mean(1)).max())

    different = {row.hash: row for row in rows}
    features = _features(list(different.values()), loaded, max_length, check, progress)
    found = {hash_: similarity(f) for hash_, f in zip(different, features, strict=True) if f is not None}
    return [found.get(row.hash) for row in rows]


def _anchors(
    prompts: Sequence[str], answers: Sequence[str], loaded: Loaded, check: Callable[[], None]
) -> Tensor:
    """Features (prompts, H) of the prompts with the answers, one after the other."""

    def row(prompt: str, answer: str) -> Row:
        messages = (Message("user", prompt), Message("assistant", answer))
        return Row(line=0, hash=content_hash(messages), messages=messages)

    rows = [row(prompt, answers[i % len(answers)]) for i, prompt in enumerate(prompts)]
    found = [f for f in _features(rows, loaded, WHOLE, check) if f is not None]
    if not found:
        raise UserError(
            "The model's chat template cannot render a question with its answer, so rows cannot be compared "
            "with answers to harmful requests. Is it a chat model?"
        )
    return torch.cat(found)


def _features(
    rows: Sequence[Row],
    loaded: Loaded,
    max_length: int,
    check: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Tensor | None]:
    """Of each row (answers, H): the mean of the last hidden states at each answer's first tokens."""
    read = {i: r for i, row in enumerate(rows) if (r := _readable(row, loaded.tokenizer, max_length))}
    found: list[Tensor | None] = [None] * len(rows)
    done = 0
    for batch in _batches({i: len(encoded.ids) for i, (encoded, _) in read.items()}):
        check()
        states = _states([read[i][0] for i in batch], loaded)
        for i, of_row in zip(batch, states, strict=True):
            found[i] = torch.stack([of_row[places].mean(0) for places in read[i][1]])
        done += len(batch)
        progress(done, len(read))
    return found


def _readable(row: Row, tokenizer: Any, max_length: int) -> tuple[EncodedRow, list[list[int]]] | None:
    """The row up to the last token that is needed, and the places of each answer's first tokens."""
    if row.messages[0].role == "text":  # without a template around it, it is unlike every anchor
        return None
    try:
        encoded = encode_row(row, tokenizer, max_length)
    except TemplateError:
        return None
    openings = _openings(encoded.supervised)
    if not openings:
        return None
    end = openings[-1][-1] + 1
    return EncodedRow(row, encoded.ids[:end], encoded.supervised[:end], encoded.truncated), openings


def _openings(supervised: Sequence[bool]) -> list[list[int]]:
    """Places of the first tokens of each run of supervised ones."""
    runs: list[list[int]] = []
    for place, is_supervised in enumerate(supervised):
        if not is_supervised:
            continue
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return [run[:OPENING_TOKENS] for run in runs if len(run) >= LEAST_TOKENS]


def _batches(lengths: dict[int, int]) -> Iterator[list[int]]:
    """The rows, shortest first, in batches of at most BATCH_TOKENS when padded, or of one row."""
    batch: list[int] = []
    for row in sorted(lengths, key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[row] > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _states(rows: list[EncodedRow], loaded: Loaded) -> Tensor:
    """The last hidden states (R, T, H), fp32 on the CPU; the head is not asked."""
    collate = Collator(loaded.tokenizer.pad_token_id)
    batch = collate([(i, TrainingRow(row, 0.0)) for i, row in enumerate(rows)])
    body, device = loaded.model.base_model, loaded.model.device
    loaded.model.eval()
    with torch.inference_mode():
        output = body(
            input_ids=batch["input_ids"].to(device),
            attention_mask=batch["attention_mask"].to(device),
            use_cache=False,
        )
    return output.last_hidden_state.float().cpu()
