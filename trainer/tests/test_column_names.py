"""dataset_info.json: columns that a dataset names in its own way."""

import json
import re

import pytest

from safe_finetuning.errors import LocatedError, UserError
from safe_finetuning.rows import read_dataset

EXPECTED = [("user", "Hello"), ("assistant", "Hi.")]


def dataset(tmp_path, row, entry, name="rows.jsonl"):
    text = row if isinstance(row, str) else json.dumps(row) + "\n"
    (tmp_path / name).write_text(text)
    info = {"other": {"file_name": "other.jsonl"}, "mine": {"file_name": name, **entry}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    return tmp_path / name


TURNS = [{"who": "me", "says": "Hello", "n": 1}, {"who": "bot", "says": "Hi."}]
TAGS = {"role_tag": "who", "content_tag": "says", "user_tag": "me", "assistant_tag": "bot"}


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        ({"ask": "Hello", "reply": "Hi."}, {"columns": {"prompt": "ask", "response": "reply"}}),
        ({"ask": "Hello", "output": "Hi.", "prompt": 3}, {"columns": {"prompt": "ask"}}),
        ({"turns": TURNS}, {"formatting": "sharegpt", "columns": {"messages": "turns"}, "tags": TAGS}),
        ({"conversations": TURNS}, {"formatting": "sharegpt", "tags": TAGS}),
        ({"conversations": json.dumps(TURNS)}, {"formatting": "sharegpt", "tags": TAGS}),
        ({"prompt": "Hello", "completion": "Hi."}, {"subset": "x"}),
    ],
)
def test_a_row_is_read_by_the_names_of_its_file(tmp_path, row, entry):
    found = read_dataset(dataset(tmp_path, row, entry))
    assert not found.problems
    assert [(m.role, m.content) for m in found.rows[0].messages] == EXPECTED


def test_what_the_names_leave_out_is_no_less_unsupported(tmp_path):
    row = {"ask": "Hello", "reply": "Hi.", "tools": [{"name": "clock"}]}
    found = read_dataset(dataset(tmp_path, row, {"columns": {"prompt": "ask", "response": "reply"}}))
    assert [problem.code for problem in found.problems] == ["unsupported"]


def test_everything_beside_a_prompt_has_its_name(tmp_path):
    columns = {"prompt": "q", "query": "more", "response": "a", "history": "before", "system": "rules"}
    table = 'q,more,a,before,rules\nTwo?,"1, 2",Three,"[[""One?"",""Two""]]",Be brief.\n'
    (row,) = read_dataset(dataset(tmp_path, table, {"columns": columns}, "rows.csv")).rows
    texts = [message.content for message in row.messages]
    assert texts == ["Be brief.", "One?", "Two", "Two?\n1, 2", "Three"]


@pytest.mark.parametrize(
    ("row", "entry", "code", "reason"),
    [
        ({"ask": "Hello"}, {"columns": {"prompt": "ask"}}, "no-conversation", "no `output`.*its response"),
        ({"conversations": []}, {"formatting": "sharegpt"}, "empty", "is empty"),
        (
            {"conversations": [{"from": "x", "value": "y"}]},
            {"formatting": "sharegpt"},
            "unknown-role",
            "role",
        ),
        (
            {"instruction": "a", "output": "b", "bad": "c"},
            {"columns": {"rejected": "bad"}},
            "unsupported",
            "`bad`",
        ),
    ],
)
def test_what_a_row_lacks_is_named(tmp_path, row, entry, code, reason):
    (problem,) = read_dataset(dataset(tmp_path, row, entry)).problems
    assert problem.code == code
    assert re.search(reason, problem.message)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"formatting": "other"}, "not one of alpaca, sharegpt"),
        ({"columns": ["a"]}, "`columns` of rows.jsonl must be an object of texts"),
        ({"tags": {"role_tag": 1}}, "`tags` of rows.jsonl"),
        ({"formatting": []}, "not one of alpaca, sharegpt"),
    ],
)
def test_a_wrong_entry_is_an_error(tmp_path, entry, why):
    with pytest.raises(UserError, match=why):
        read_dataset(dataset(tmp_path, {"prompt": "a", "completion": "b"}, entry))


def test_a_list_that_cannot_be_read_is_an_error_at_its_place(tmp_path):
    path = dataset(tmp_path, {"prompt": "a", "completion": "b"}, {})
    (tmp_path / "dataset_info.json").write_text('{"a":\n }')
    with pytest.raises(LocatedError, match=r"dataset_info\.json:2:2: not valid JSON"):
        read_dataset(path)
    (tmp_path / "dataset_info.json").write_text('{"a": NaN}')
    with pytest.raises(UserError, match="NaN is not a JSON number"):
        read_dataset(path)
    same = [{"file_name": "rows.jsonl", "columns": {"prompt": name}} for name in ("x", "y")]
    (tmp_path / "dataset_info.json").write_text(json.dumps({"b": same[0], "1": same[1]}))
    with pytest.raises(UserError, match="two entries say different things"):
        read_dataset(path)
    (tmp_path / "dataset_info.json").write_text("[]")
    assert len(read_dataset(tmp_path).rows) == 1
