"""Batches divided into parts of like length."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from safe_finetuning.collate import PASS_TOKENS, parts_by_length

LENGTHS = st.lists(st.integers(1, 1024), min_size=1, max_size=9)


def work(lengths: list[int], parts: list[list[int]]) -> int:
    return sum(len(part) * max(lengths[row] for row in part) + PASS_TOKENS for part in parts)


@given(LENGTHS)
def test_every_row_is_in_one_part(lengths):
    parts = parts_by_length(lengths)
    assert sorted(row for part in parts for row in part) == list(range(len(lengths)))
    assert all(part == sorted(part) for part in parts)


@given(LENGTHS)
def test_no_other_division_of_the_sorted_rows_is_less_work(lengths):
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    least = None
    for cuts in product([False, True], repeat=len(order) - 1):
        parts = [[order[0]]]
        for row, cut in zip(order[1:], cuts, strict=True):
            parts.append([row]) if cut else parts[-1].append(row)
        found = work(lengths, parts)
        least = found if least is None else min(least, found)
    assert work(lengths, parts_by_length(lengths)) == least


def test_rows_of_one_length_stay_together():
    assert parts_by_length([100] * 8) == [list(range(8))]


def test_one_long_row_does_not_pad_seven_short_ones():
    assert parts_by_length([100, 90, 1000, 95, 100, 90, 95, 100]) == [[0, 1, 3, 4, 5, 6, 7], [2]]
