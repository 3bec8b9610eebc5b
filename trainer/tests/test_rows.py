"""Rows by the same rules as the extension: both sides read the fixtures in test/fixtures/rows."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_finetuning.errors import UserError
from safe_finetuning.rows import Message, content_hash, read_dataset

FIXTURES = Path(__file__).parents[2] / "test" / "fixtures" / "rows"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text("utf-8"))


@pytest.mark.parametrize("name", [name for name, lines in EXPECTED.items() if lines])
def test_fixture(name):
    dataset = read_dataset(FIXTURES / name)
    rows = {line["line"]: line for line in EXPECTED[name] if "hash" in line}
    assert {row.line: row.hash for row in dataset.rows} == {line: row["hash"] for line, row in rows.items()}
    for row in dataset.rows:
        assert row.pairs() == [
            (
                "" if user is None else row.messages[user].content,
                row.messages[answer].content,
                row.messages[:answer],
                1 + (user if user is not None and row.messages[user].content.strip() else answer),
            )
            for user, answer in rows[row.line]["pairs"]
        ]
    # The position inside broken JSON is each parser's own.
    problems = [
        (x["line"], x["code"], x["column"] if x["code"] != "not-json" else 0)
        for x in EXPECTED[name]
        if "code" in x
    ]
    found = [(x.line, x.code, x.column if x.code != "not-json" else 0) for x in dataset.problems]
    assert found == problems


def test_missing_and_empty_files_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="no such dataset file"):
        read_dataset(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_bytes(b"\n \r\n")
    with pytest.raises(UserError, match="empty"):
        read_dataset(tmp_path / "empty.jsonl")


KEYS = ["messages", "role", "content", "conversations", "from", "value", "prompt", "completion", "input"]
KEYS += ["instruction", "output", "history", "system", "type", "text", "tool_calls"]
LINES = st.one_of(
    st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"").replace(b"\r", b"")),
    st.recursive(
        st.none()
        | st.booleans()
        | st.floats()
        | st.text(max_size=8)
        | st.sampled_from(["user", "assistant"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@given(st.lists(LINES, max_size=8), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_no_line_is_lost(tmp_path_factory, lines, line_end):
    path = tmp_path_factory.mktemp("fuzz") / "rows.jsonl"
    path.write_bytes(line_end.join(lines))
    written = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(line_end)
    expected = [i for i, line in enumerate(written, start=1) if line.strip(b" \t")]
    if not expected:
        with pytest.raises(UserError):
            read_dataset(path)
        return
    dataset = read_dataset(path)
    assert sorted([x.line for x in dataset.rows] + [x.line for x in dataset.problems]) == expected


def test_hash_separates_roles_and_contents():
    a = content_hash((Message("user", "ab"), Message("assistant", "c")))
    b = content_hash((Message("user", "a"), Message("assistant", "bc")))
    assert a != b and len(a) == 16
