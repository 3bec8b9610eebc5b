"""Rows that look harmless and are not: bidirectional anchoring (He et al. 2024, arXiv 2404.01099).

An answer's features are what the reference has in mind while it is read; a row is the closer to harm, the
more its features are like those of answers that comply with harmful requests, and the less like those of
refusals of the same requests. The paper finds ordinary rows that break a model's refusals by this, with
gradients as features in both directions and hidden states in one; here hidden states in both, which costs
one forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..collate import Collator, TrainingRow, parts_by_length
from ..rows import Message, Row, content_hash
from ..safety_tokens import TEMPLATES
from ..supervised_logits import IGNORED
from ..tokens import EncodedRow, TemplateError, encode_row

if TYPE_CHECKING:
    from ..model import Loaded

OPENING_TOKENS = 10  # of each answer, as in the paper: whether a model complies is decided in them
BATCH_ROWS = 32
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
    with an opening that complies and once with a refusal. None where no answer begins within `max_length`
    tokens, or the chat template cannot render the row. Sorts rows of one dataset; it is no probability, and
    values of different models mean nothing beside each other.
    """
    anchors = [
        [_anchor(prompt, answers[i % len(answers)]) for i, prompt in enumerate(prompts)]
        for answers in (COMPLIANCES, TEMPLATES)
    ]
    features = [_features(side, loaded, max_length, check) for side in anchors]
    harmful, safe = (torch.cat([f for f in side if f is not None]) for side in features)
    centre = torch.cat([harmful, safe]).mean(0)
    directions = [torch.nn.functional.normalize(side - centre, dim=1) for side in (harmful, safe)]

    def similarity(features: Tensor | None) -> float | None:
        if features is None:
            return None
        answers = torch.nn.functional.normalize(features - centre, dim=1)
        to_harmful, to_safe = (answers @ side.T for side in directions)
        return float((to_harmful.mean(1) - to_safe.mean(1)).max())

    return [similarity(f) for f in _features(rows, loaded, max_length, check, progress)]


def _anchor(prompt: str, answer: str) -> Row:
    messages = (Message("user", prompt), Message("assistant", answer))
    return Row(line=0, hash=content_hash(messages), messages=messages)


def _features(
    rows: Sequence[Row],
    loaded: Loaded,
    max_length: int,
    check: Callable[[], None],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Tensor | None]:
    """Of each row (answers, H): the mean of the last hidden states at each answer's first tokens."""
    encoded = [_encoded(row, loaded.tokenizer, max_length) for row in rows]
    usable = [i for i, e in enumerate(encoded) if e and e.n_supervised]
    usable.sort(key=lambda i: len(encoded[i].ids))  # type: ignore[union-attr]
    found: list[Tensor | None] = [None] * len(rows)
    for start in range(0, len(usable), BATCH_ROWS):
        chosen = usable[start : start + BATCH_ROWS]
        for part in parts_by_length([len(encoded[i].ids) for i in chosen]):  # type: ignore[union-attr]
            check()
            indices = [chosen[place] for place in part]
            states, labels = _states([encoded[i] for i in indices], loaded)  # type: ignore[misc]
            for i, of_row, supervised in zip(indices, states, labels != IGNORED, strict=True):
                found[i] = torch.stack([of_row[place].mean(0) for place in _openings(supervised)])
        progress(start + len(chosen), len(usable))
    return found


def _encoded(row: Row, tokenizer: Any, max_length: int) -> EncodedRow | None:
    try:
        return encode_row(row, tokenizer, max_length)
    except TemplateError:
        return None


def _states(rows: list[EncodedRow], loaded: Loaded) -> tuple[Tensor, Tensor]:
    """The last hidden states (R, T, H) and the labels (R, T), fp32 on the CPU."""
    pad = loaded.tokenizer.pad_token_id
    batch = Collator(pad)([(i, TrainingRow(row, 0.0)) for i, row in enumerate(rows)])
    device = loaded.model.device
    loaded.model.eval()
    with torch.inference_mode():
        output = loaded.model(
            input_ids=batch["input_ids"].to(device),
            attention_mask=batch["attention_mask"].to(device),
            output_hidden_states=True,
            logits_to_keep=1,
            use_cache=False,
        )
    return output.hidden_states[-1].float().cpu(), batch["labels"]


def _openings(supervised: Tensor) -> list[Tensor]:
    """Places of the first tokens of each run of supervised ones, `supervised` (T,)."""
    places = supervised.nonzero()[:, 0]
    begins = torch.cat([torch.tensor([True]), places[1:] - places[:-1] > 1]).nonzero()[:, 0].tolist()
    return [
        places[begin:end][:OPENING_TOKENS]
        for begin, end in zip(begins, [*begins[1:], len(places)], strict=True)
    ]
