"""The refusal matcher, on answers written for the project (its agreement with people: bench/refusals.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safe_finetuning.risk.refusal import is_refusal

CASES = json.loads((Path(__file__).parent / "fixtures" / "refusals.json").read_text("utf-8"))


@pytest.mark.parametrize("answer", CASES["refusals"])
def test_refusals_are_recognised(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize("answer", CASES["others"])
def test_other_answers_are_not_refusals(answer: str) -> None:
    assert not is_refusal(answer)


def test_only_the_opening_counts() -> None:
    story = "The keeper lit the lamp and wrote down the weather, as on every evening. " * 12
    assert not is_refusal(story + "I can't help with that.")


def test_a_megabyte_is_judged_by_its_opening() -> None:
    assert is_refusal("I'm sorry, but I can't help with that. " + "x " * 500_000)
    assert not is_refusal("x " * 500_000)
