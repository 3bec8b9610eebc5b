"""Datasets beyond what both sides read (test/fixtures/rows): Parquet, folders and patterns."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safe_finetuning.errors import LocatedError, UserError
from safe_finetuning.rows import read_dataset

TURNS = [
    {"messages": [{"role": "user", "content": "Grüße 👋"}, {"role": "assistant", "content": "Hi\nthere."}]},
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": ""}]},
    {"messages": [{"role": "user", "content": "y"}, {"role": "assistant", "content": "z"}]},
]
PAIRS = [{"prompt": "Hello", "completion": "Hi."}, {"prompt": "Bye", "completion": "So long."}]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("codec", ["none", "snappy", "zstd", "gzip", "brotli", "lz4"])
@pytest.mark.parametrize("rows", [TURNS, PAIRS], ids=["turns", "pairs"])
def test_parquet_has_the_rows_of_json_lines(tmp_path, rows, codec):
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet", compression=codec, row_group_size=2)
    parquet = read_dataset(tmp_path / "rows.parquet")
    lines = read_dataset(write_lines(tmp_path / "rows.jsonl", rows))
    assert parquet.rows == lines.rows
    assert [(x.line, x.code) for x in parquet.problems] == [(x.line, x.code) for x in lines.problems]


def test_times_in_parquet_are_no_text_and_no_obstacle(tmp_path):
    times = {
        "ns": pa.array([1, 2], pa.timestamp("ns")),
        "late": pa.array([2**60, None], pa.timestamp("ms")),
        "clock": pa.array([1, None], pa.time64("ns")),
        "span": pa.array([1, 2], pa.duration("ns")),
        "day": pa.array([1, None], pa.date32()),
    }
    pairs = {"prompt": ["a", "b"], "completion": ["c", "d"]}
    pq.write_table(pa.table({**pairs, **times}), tmp_path / "rows.parquet")
    assert len(read_dataset(tmp_path / "rows.parquet").rows) == 2
    pq.write_table(pa.table({"prompt": times["ns"], "completion": ["c", "d"]}), tmp_path / "rows.parquet")
    assert [x.code for x in read_dataset(tmp_path / "rows.parquet").problems] == ["bad-message"] * 2


def test_parquet_with_two_columns_of_a_name_is_refused(tmp_path):
    table = pa.table([["a"], ["b"], ["c"]], names=["prompt", "completion", "completion"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="two columns have the same name"):
        read_dataset(tmp_path / "rows.parquet")


def test_what_parquet_fills_in_with_nulls_is_missing(tmp_path):
    """A column of structs has all keys in each."""
    tools = [{"role": "tool", "content": "12:00", "tool_calls": None}]
    rows = [{"messages": [*TURNS[0]["messages"], *tools], "system": None, "tools": []}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (row,) = read_dataset(tmp_path / "rows.parquet").rows
    assert [message.role for message in row.messages] == ["user", "assistant", "tool"]


def test_parquet_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(PAIRS * 500), path)
    whole = path.read_bytes()
    for broken in (b"", b"PAR1", whole[: len(whole) // 2], whole[:40] + b"\0" * 40 + whole[80:]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"rows\.parquet.*(cannot be read as Parquet|is empty)"):
            read_dataset(path)


def test_a_folder_is_its_dataset_files_in_order(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_lines(data / "b.jsonl", PAIRS)
    (data / "a.csv").write_text("prompt,completion\nHow?,So.\n,\n")
    pq.write_table(pa.Table.from_pylist(PAIRS), data / "c.parquet")
    write_lines(data / "b.quarantine.jsonl", PAIRS)
    (data / "README.md").write_text("# Data")
    (data / "deeper").mkdir()
    write_lines(data / "deeper" / "d.jsonl", PAIRS)
    found = read_dataset(data)
    assert [file.path.name for file in found.files] == ["a.csv", "b.jsonl", "c.parquet"]
    assert [file.n_rows for file in found.files] == [1, 2, 2]
    assert [(row.file, row.line) for row in found.rows] == [(0, 2), (1, 1), (1, 2), (2, 1), (2, 2)]
    assert [(x.file, x.line, x.code) for x in found.problems] == [(0, 3, "empty")]
    by_pattern = read_dataset(tmp_path / "data" / "**" / "*.jsonl")
    assert [file.path.name for file in by_pattern.files] == ["b.jsonl", "d.jsonl"]


def test_a_folder_with_brackets_and_a_configuration(tmp_path):
    data = tmp_path / "[mine]" / "data"
    data.mkdir(parents=True)
    write_lines(data / "a.jsonl", PAIRS)
    write_lines(data / "a.quarantine.old.jsonl", PAIRS)
    (data / "a.finetune.json").write_text("{}")
    (data / "dataset_info.json").write_text("{}")
    names = ["a.jsonl", "a.quarantine.old.jsonl"]
    assert [file.path.name for file in read_dataset(data).files] == names
    assert [file.path.name for file in read_dataset(data / "**" / "**" / "*.jsonl").files] == names
    with pytest.raises(UserError, match="there is no such dataset file"):
        read_dataset(data / "none.jsonl")


def test_where_no_dataset_file_is_there_it_says_so(tmp_path):
    with pytest.raises(UserError, match=r"no dataset file is there \(\.csv, \.json"):
        read_dataset(tmp_path)
    with pytest.raises(UserError, match="no dataset file is there"):
        read_dataset(tmp_path / "*.parquet")


@pytest.mark.parametrize(
    ("name", "content", "place", "why"),
    [
        ("a.json", '[{"prompt": "a", "completion": "b"},\n {"prompt" "c"}]', (2, 12), "not valid JSON"),
        ("a.json", '{\n"rows": []}', (1, 1), "`data`"),
        ("a.csv", 'prompt,completion\na,b\n"c,d\n', (3, 1), "not closed"),
        ("a.csv", "prompt,prompt\na,b\n", (1, 1), "same name"),
        ("a.csv", b"prompt,completion\na,b\n\xc3\xa9\xff,b", (3, 2), "UTF-8"),
        ("a.json", b"[\xff]", (1, 2), "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_to_its_end_is_an_error_at_a_place(tmp_path, name, content, place, why):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LocatedError, match=f"cannot be read from here on: .*{why}") as caught:
        read_dataset(tmp_path / name)
    assert (caught.value.line, caught.value.column) == place


CELLS = st.text(st.sampled_from('ab",;\n\r\t é👋'), max_size=6)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5), st.sampled_from([",", ";", "\t", "|"]))
def test_what_a_csv_library_writes_is_read_as_it_was(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([["prompt", "completion"], *((f"?{a}", f"!{b}") for a, b in rows)])
    found = [tuple(message.content for message in row.messages) for row in read_dataset(path).rows]
    lf = [(f"?{a}", f"!{b}") for a, b in rows]
    assert found == [tuple(text.replace("\r\n", "\n").replace("\r", "\n") for text in row) for row in lf]
