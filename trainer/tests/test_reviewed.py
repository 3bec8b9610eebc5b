"""Rows that a person has reviewed, in a list beside the dataset."""

import json

import pytest
from test_scores import Judge

from safe_finetuning.errors import LocatedError
from safe_finetuning.reviewed import reviewed_file, reviewed_hashes
from safe_finetuning.risk.scores import score_rows
from safe_finetuning.rows import read_dataset

TWO = [{"prompt": "grave one", "completion": "yes"}, {"prompt": "grave two", "completion": "yes"}]


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "rows.v2.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in TWO))
    return path


def test_a_reviewed_row_has_no_risk_and_is_not_judged(dataset):
    first, _ = read_dataset(dataset).rows
    reviewed_file(dataset).write_text(f"\ufeff# Reviewed rows\r\n\r\n{first.hash} line 1, risk 0.90\r\n")
    rows = read_dataset(dataset).rows
    assert [row.reviewed for row in rows] == [True, False]
    judge = Judge(grave=0.9)
    assert [risk.risk for risk in score_rows(rows, judge)] == [0.0, 0.9]
    assert not any("one" in asked for asked in judge.asked)


def test_the_list_is_named_after_the_dataset(dataset):
    assert reviewed_file(dataset).name == "rows.v2.reviewed.txt"
    assert reviewed_hashes(dataset) == frozenset()


@pytest.mark.parametrize("line", ["0123456789abcde", "0123456789abcdef0", "0123456789ABCDEF", "line 1"])
def test_what_is_no_hash_is_an_error_at_its_line(dataset, line):
    reviewed_file(dataset).write_text(f"# one\n{line}\n")
    with pytest.raises(LocatedError, match=r"reviewed\.txt:2:1: this is not the hash"):
        read_dataset(dataset)
