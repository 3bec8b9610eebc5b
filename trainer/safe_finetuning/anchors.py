"""Anchor rows: harmful prompts that the safe reference refuses, and harmless look-alikes that it answers.

Risk gating cannot see what harmless rows wear down: their risk is 0. On anchor rows nothing but
KL(reference ‖ model) is minimised, a few in every optimiser step, so the refusals stay where they are. With
refusals alone the model would come to refuse more than its reference; the look-alikes hold it back. No safety
data has to be written: the reference answers the prompts once, before training.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache import cache_folder
from .config import AnchorConfig
from .errors import UserError
from .evaluate import generate_answers, is_degenerate, read_prompts
from .files import write_atomically
from .risk.refusal import is_refusal
from .rows import Message

if TYPE_CHECKING:
    from .model import Loaded

_log = logging.getLogger(__name__)

PROMPTS = Path(__file__).with_name("prompts") / "anchors.jsonl"
LOOK_ALIKES = PROMPTS.with_name("look_alikes.jsonl")
ANSWER_TOKENS = 64
OPENING_TOKENS = 24  # whether an answer complies is decided in them; more would only cost
LEAST_REFUSALS = 8  # fewer are learnt by heart and hold nothing else
CACHE_VERSION = 1  # counts up when the same question would get another answer
Conversation = tuple[Message, Message]
_WHOLE_SENTENCES = re.compile(r"(?s).*[.!?]")


def anchor_prompts(config: AnchorConfig, base: Path) -> list[str]:
    """The harmful ones: those that ship with the trainer, and the user's own; errors as in `read_prompts`."""
    return read_prompts(PROMPTS) + (read_prompts(base / config.prompts) if config.prompts else [])


def refusals(
    prompts: list[str],
    loaded: Loaded,
    *,
    check: Callable[[], None],
    progress: Callable[[int, int], None],
) -> list[Conversation]:
    """The prompts that the reference refuses, each with its refusal.

    Raises:
        UserError: it refuses too few of them to be held to it.
    """
    answers = kept_answers(prompts, ANSWER_TOKENS, loaded, check, progress)
    whole = [_whole(answer, loaded.tokenizer) for answer in answers]
    found = _conversations(prompts, whole, is_refusal)
    if len(found) < LEAST_REFUSALS:
        raise UserError(
            f"The model refuses only {len(found)} of {len(prompts)} harmful prompts: there is nothing to "
            "hold it to. Start from a model that has been aligned, or give it `anchors.prompts` that it "
            'refuses; or set `method` to "adaptive", which needs no refusals.'
        )
    return found


def compliances(
    loaded: Loaded, *, check: Callable[[], None], progress: Callable[[int, int], None]
) -> list[Conversation]:
    """The harmless look-alikes that the reference answers, each with the opening of its answer."""
    prompts = read_prompts(LOOK_ALIKES)
    answers = kept_answers(prompts, OPENING_TOKENS, loaded, check, progress)
    return _conversations(prompts, answers, lambda answer: not is_refusal(answer))


def _conversations(
    prompts: list[str], answers: list[str], is_meant: Callable[[str], bool]
) -> list[Conversation]:
    return [
        (Message("user", prompt), Message("assistant", answer))
        for prompt, answer in zip(prompts, answers, strict=True)
        if is_meant(answer) and not is_degenerate(answer)
    ]


def _whole(answer: str, tokenizer: Any) -> str:
    """Without the sentence that the limit of its length cut off: its end would be learnt as the answer's."""
    if len(tokenizer(answer, add_special_tokens=False)["input_ids"]) < ANSWER_TOKENS - 1:
        return answer
    found = _WHOLE_SENTENCES.match(answer)
    return found[0] if found else ""


def kept_answers(
    prompts: list[str],
    max_tokens: int,
    loaded: Loaded,
    check: Callable[[], None],
    progress: Callable[[int, int], None],
) -> list[str]:
    """Greedy answers, kept by reference and prompts."""
    question = [CACHE_VERSION, loaded.fingerprint, loaded.tokenizer.chat_template, max_tokens, prompts]
    name = hashlib.sha256(json.dumps(question).encode()).hexdigest()[:16]
    file = cache_folder() / "anchors" / f"{name}.json"
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged
        pass
    answers = generate_answers(
        loaded.model,
        loaded.tokenizer,
        prompts,
        max_new_tokens=max_tokens,
        check=check,
        progress=progress,
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(answers, ensure_ascii=False))
    except OSError as error:  # it only saves time
        _log.warning("%s cannot be written (%s): the model is asked anew the next time.", file, error)
    return answers
