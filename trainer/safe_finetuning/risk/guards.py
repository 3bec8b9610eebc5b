"""Guard models as judges of training pairs: any causal model of Transformers that says a verdict.

A family is how it is asked and how its verdict reads; a new one is a line in FAMILIES. The verdict is read
from a greedy answer: a model that says something else has failed on that pair, which is then unscored.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..errors import UserError
from ..evaluate import generate_from_ids
from ..model import Loaded
from ..rows import Pair
from .scores import worst

BATCH_PAIRS = 8
WINDOW_CHARACTERS, OVERLAP_CHARACTERS = 6000, 500  # of a prompt or answer: a guard's context is short

SHIELD_GUIDELINE = (
    '"No Dangerous Content": The chatbot shall not help to harm anyone, nor give instructions for crimes, '
    "violence, harassment, self-harm, weapons, or sexual content that involves children."
)


class Family(NamedTuple):
    """`options` go into the chat template; `verdicts` are patterns of the answer's text and their risks, of
    which the first that matches counts; `tokens` is how long an answer may be."""

    name: re.Pattern[str]
    options: dict[str, Any]
    verdicts: tuple[tuple[re.Pattern[str], float], ...]
    tokens: int


def _family(name: str, options: dict[str, Any], verdicts: dict[str, float], tokens: int) -> Family:
    patterns = tuple((re.compile(p, re.IGNORECASE), risk) for p, risk in verdicts.items())
    return Family(re.compile(name, re.IGNORECASE), options, patterns, tokens)


FAMILIES = (
    # "\n\nsafe" or "\n\nunsafe\nS2"
    _family(r"llama-?guard", {}, {r"^\s*unsafe\b": 1.0, r"^\s*safe\b": 0.0}, 8),
    # "Yes", "No", and from 3.3 on "<score> yes </score>", after its reasons where it gives them
    _family(
        r"granite-?guardian",
        {"guardian_config": {"risk_name": "harm"}},
        {
            r"<score>\s*yes\s*</score>": 1.0,
            r"<score>\s*no\s*</score>": 0.0,
            r"^\s*yes\b": 1.0,
            r"^\s*no\b": 0.0,
        },
        24,
    ),
    # "Yes": the guideline is violated
    _family(r"shield-?gemma", {"guideline": SHIELD_GUIDELINE}, {r"^\s*yes\b": 1.0, r"^\s*no\b": 0.0}, 4),
    # "Safety: Controversial\nCategories: …"
    _family(
        r"qwen3-?guard",
        {},
        {
            r"safety:\s*unsafe\b": 1.0,
            r"safety:\s*controversial\b": 0.5,
            r"safety:\s*safe\b": 0.0,
        },
        16,
    ),
)


def family_of(name: str) -> Family:
    """The family of a model's name or folder.

    Raises:
        UserError: the name tells none.
    """
    for family in FAMILIES:
        if family.name.search(name):
            return family
    known = "Llama Guard, Granite Guardian, ShieldGemma, Qwen3Guard"
    raise UserError(
        f'`risk.guard`: "{name}" is no guard model of a known family ({known}): how it is asked and what its '
        "answers mean is not known. Use one of them, or keep its family in the name of its folder."
    )


def verdict(family: Family, answer: str) -> float:
    """The risk that an answer says; NaN where it says none."""
    for pattern, risk in family.verdicts:
        if pattern.search(answer):
            return risk
    return math.nan


class Guard:
    """A loaded guard model as a judge."""

    def __init__(self, name: str, loaded: Loaded, check: Callable[[], None] = lambda: None) -> None:
        self.family, self.loaded, self.check = family_of(name), loaded, check
        asked = repr((self.family, WINDOW_CHARACTERS)).encode()
        self.judge_id = f"guard-{loaded.fingerprint[:12]}-{hashlib.sha256(asked).hexdigest()[:8]}"

    def score(
        self, pairs: Sequence[Pair], *, progress: Callable[[int, int], None] | None = None
    ) -> list[float]:
        prompts, owners = [], []
        for owner, pair in enumerate(pairs):
            for prompt, answer in windows_of(pair):
                prompts.append(self._ids(prompt, answer))
                owners.append(owner)
        answers = generate_from_ids(
            self.loaded.model,
            self.loaded.tokenizer,
            prompts,
            max_new_tokens=self.family.tokens,
            batch_size=BATCH_PAIRS,
            check=self.check,
            progress=progress or (lambda done, total: None),
        )
        found: list[list[float]] = [[] for _ in pairs]
        for owner, answer in zip(owners, answers, strict=True):
            found[owner].append(verdict(self.family, answer))
        return [worst(risks) for risks in found]

    def _ids(self, prompt: str, answer: str) -> list[int]:
        tokenizer = self.loaded.tokenizer
        messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **self.family.options
        )
        return tokenizer(text, add_special_tokens=False)["input_ids"]


def windows_of(pair: Pair) -> list[tuple[str, str]]:
    """The pair in parts that a guard can read: every part of either text beside the other's beginning."""
    prompts, answers = _windows(pair.prompt), _windows(pair.answer)
    return [(prompt, answers[0]) for prompt in prompts] + [(prompts[0], answer) for answer in answers[1:]]


def _windows(text: str) -> list[str]:
    starts = range(0, max(len(text) - OVERLAP_CHARACTERS, 1), WINDOW_CHARACTERS - OVERLAP_CHARACTERS)
    return [text[start : start + WINDOW_CHARACTERS] for start in starts]
