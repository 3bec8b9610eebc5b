"""Rows of Parquet files moved: every value, type and codec as it was, or nothing written."""

import datetime as dt
import decimal
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from safe_finetuning.cli import main
from safe_finetuning.errors import UserError
from safe_finetuning.parquet_rows import split_rows
from safe_finetuning.rows import read_dataset


def table_of(n_rows: int) -> pa.Table:
    """Chats, beside columns that no JSON has."""
    messages = [
        [{"role": "user", "content": f"question {n}"}, {"role": "assistant", "content": f"answer {n} 😀"}]
        for n in range(n_rows)
    ]
    day = dt.datetime(2024, 1, 1)
    table = pa.table(
        {
            "messages": messages,
            "time": pa.array(
                [day + dt.timedelta(days=n) for n in range(n_rows)], pa.timestamp("ns", tz="UTC")
            ),
            "price": pa.array([decimal.Decimal(n) / 4 for n in range(n_rows)], pa.decimal128(9, 2)),
            "kind": pa.array([f"k{n % 3}" for n in range(n_rows)]).dictionary_encode(),
            "score": pa.array([None if n % 2 else n / 3 for n in range(n_rows)], pa.float32()),
            "blob": pa.array([bytes([n % 256, 0, 255]) for n in range(n_rows)], pa.binary()),
        }
    )
    return table.replace_schema_metadata({"huggingface": '{"info": 1}'})


def write(path, table, **options):
    pq.write_table(table, path, row_group_size=4, **options)
    return path


def taken_from(path, numbers):
    return {row.line: row.hash for row in read_dataset(path).rows if row.line in numbers}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.integers(1, 14),
    st.sets(st.integers(1, 14)),
    st.sampled_from(["none", "snappy", "zstd", "gzip", "lz4"]),
)
def test_every_row_is_in_one_file_or_the_other(tmp_path_factory, n_rows, chosen, codec):
    folder = tmp_path_factory.mktemp("moves")
    numbers = {n for n in chosen if n <= n_rows}
    table = table_of(n_rows)
    source = write(folder / "d.parquet", table, compression=codec)
    before = source.read_bytes()
    split_rows(source, taken_from(source, numbers), folder / "rest", folder / "taken")
    rest, taken = pq.read_table(folder / "rest"), pq.read_table(folder / "taken")
    indices = pa.array([n - 1 for n in sorted(numbers)], pa.int64())
    others = pa.array([n - 1 for n in range(1, n_rows + 1) if n not in numbers], pa.int64())
    assert taken.equals(table.take(indices))
    assert rest.equals(table.take(others))
    assert rest.schema.equals(pq.read_schema(source), check_metadata=True)
    assert source.read_bytes() == before


def test_the_new_files_are_written_as_the_old_one(tmp_path):
    table = table_of(10)
    codecs = {"messages.list.element.role": "gzip", "messages.list.element.content": "zstd", "blob": "none"}
    source = write(tmp_path / "d.parquet", table, compression=codecs, version="1.0")
    split_rows(source, taken_from(source, {2}), tmp_path / "rest", tmp_path / "taken")
    old, new = pq.ParquetFile(source).metadata, pq.ParquetFile(tmp_path / "rest").metadata

    def codecs_of(metadata):
        return [metadata.row_group(0).column(i).compression for i in range(metadata.num_columns)]

    assert codecs_of(new) == codecs_of(old)
    assert new.format_version == old.format_version
    assert [new.row_group(i).num_rows for i in range(new.num_row_groups)] == [3, 4, 2]
    assert new.metadata[b"huggingface"] == b'{"info": 1}'


def test_rows_go_behind_those_that_are_there_and_come_back(tmp_path):
    table = table_of(6)

    def move(source, numbers, rest, taken, behind=None):
        split_rows(
            tmp_path / source,
            taken_from(tmp_path / source, numbers),
            tmp_path / rest,
            tmp_path / taken,
            behind,
        )
        return tmp_path / rest, tmp_path / taken

    write(tmp_path / "d.parquet", table)
    _, put_aside = move("d.parquet", {2}, "rest.parquet", "aside.parquet")
    rest, put_aside = move("rest.parquet", {1}, "rest2.parquet", "aside2.parquet", put_aside)
    assert pq.read_table(put_aside).to_pylist() == table.take([1, 0]).to_pylist()
    empty, back = move("aside2.parquet", {1, 2}, "aside3.parquet", "back.parquet", rest)
    assert pq.read_table(back).to_pylist() == table.take([2, 3, 4, 5, 1, 0]).to_pylist()
    assert pq.read_table(empty).num_rows == 0
    _, again = move("back.parquet", {3}, "rest4.parquet", "aside4.parquet", empty)
    assert pq.read_table(again).to_pylist() == table.take([4]).to_pylist()


@pytest.mark.parametrize("wanted", [{3: "0" * 16}, {99: "0" * 16}])
def test_a_row_that_is_not_there_leaves_no_file(tmp_path, wanted):
    source = write(tmp_path / "d.parquet", table_of(5))
    with pytest.raises(UserError, match=r"d\.parquet, row \d+: the row has been edited or removed meanwhile"):
        split_rows(source, {**taken_from(source, {1}), **wanted}, tmp_path / "rest", tmp_path / "taken")
    assert [x.name for x in tmp_path.iterdir()] == ["d.parquet"]


def test_other_columns_are_refused(tmp_path):
    source = write(tmp_path / "d.parquet", table_of(5))
    other = write(tmp_path / "q.parquet", pa.table({"prompt": ["p"], "completion": ["c"]}))
    with pytest.raises(UserError, match=r"q\.parquet: has other columns"):
        split_rows(source, taken_from(source, {1}), tmp_path / "rest", tmp_path / "taken", other)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["d.parquet", "q.parquet"]


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    source = write(tmp_path / "d.parquet", table_of(5))
    rows = tmp_path / "rows.txt"
    files = ["--rows", str(rows), "--rest", str(tmp_path / "rest"), "--taken", str(tmp_path / "taken")]
    rows.write_text("".join(f"{n} {h}\n" for n, h in taken_from(source, {4, 5}).items()))
    assert main(["split-rows", str(source), *files]) == 0
    assert pq.read_table(tmp_path / "taken").num_rows == 2
    assert main(["split-rows", str(source), *files]) == 1
    assert "rest: is there already" in capsys.readouterr().err
    rows.write_text("five\n")
    assert main(["split-rows", str(source), *files]) == 1
    assert "rows.txt: expected lines of a row's number" in capsys.readouterr().err
    source.write_bytes(json.dumps({"prompt": "p"}).encode())
    rows.write_text("")
    (tmp_path / "rest").unlink()
    assert main(["split-rows", str(source), *files]) == 1
    assert "d.parquet: cannot be read as Parquet" in capsys.readouterr().err
