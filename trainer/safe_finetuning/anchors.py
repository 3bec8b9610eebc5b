"""Anchor rows: harmful prompts with the safe reference's own refusals.

Risk gating cannot see what harmless rows wear down: their risk is 0. On anchor rows nothing but
KL(reference ‖ model) is minimised, a few in every optimiser step, so the refusals stay where they are.
No safety data has to be written: the reference answers the prompts once, before training, and only its
refusals are used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .cache import cache_folder
from .config import AnchorConfig
from .errors import UserError
from .evaluate import generate_answers, is_degenerate, read_prompts
from .files import write_atomically
from .risk.refusal import is_refusal
from .rows import Message, Row, content_hash
from .tokens import EncodedRow, encode_row

if TYPE_CHECKING:
    from .model import Loaded

PROMPTS = Path(__file__).with_name("prompts") / "anchors.jsonl"
ANSWER_TOKENS = 64
LEAST_REFUSALS = 8  # fewer are learnt by heart and hold nothing else


def make_anchors(
    config: AnchorConfig,
    base: Path,
    loaded: Loaded,
    *,
    check: Callable[[], None],
    progress: Callable[[int, int], None],
) -> list[EncodedRow]:
    """The reference's refusals of the anchor prompts as rows; prompts that it does not refuse are left out.

    Raises:
        UserError: the reference refuses too few of the prompts to be anchored to.
    """
    prompts = read_prompts(PROMPTS) + (read_prompts(base / config.prompts) if config.prompts else [])
    answers = _answers(prompts, loaded, check, progress)
    rows = []
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True), start=1):
        if is_refusal(answer) and not is_degenerate(answer):
            messages = (Message("user", prompt), Message("assistant", answer))
            row = Row(number, content_hash(messages), messages)
            rows.append(encode_row(row, loaded.tokenizer, max_length=10**6))
    if len(rows) < LEAST_REFUSALS:
        raise UserError(
            f"The model refuses only {len(rows)} of {len(prompts)} harmful prompts: there is little to hold "
            "it to. Start from a model that has been aligned, give it `anchors.prompts` that it refuses, or "
            'choose a method without anchors, such as "adaptive".'
        )
    return rows


def _answers(
    prompts: list[str], loaded: Loaded, check: Callable[[], None], progress: Callable[[int, int], None]
) -> list[str]:
    """Greedy answers, kept by reference and prompts."""
    asked = json.dumps([loaded.fingerprint, loaded.tokenizer.chat_template, ANSWER_TOKENS, prompts])
    file = cache_folder() / "anchors" / f"{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):  # not there yet, or damaged
        pass
    answers = generate_answers(
        loaded.model,
        loaded.tokenizer,
        prompts,
        max_new_tokens=ANSWER_TOKENS,
        check=check,
        progress=progress,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(answers, ensure_ascii=False))
    return answers
