"""Rows taken out of a Parquet file: into two new files, with the types, codecs and row groups of the first.

The files that are there stay as they are; who asks for it puts the new ones in their places.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .column_names import column_names
from .errors import UserError
from .formats import parquet_errors, parquet_values
from .row_forms import Invalid
from .rows import row_of

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


def read_taken(path: Path) -> dict[int, str]:
    """A line for each row: its number from 1, and its content hash."""
    lines = (line.split() for line in path.read_text("utf-8").splitlines())
    try:
        return {int(number): content_hash for number, content_hash in lines}
    except ValueError:
        raise UserError(f"{path}: expected lines of a row's number and its content hash.") from None


def split_rows(
    source: Path, taken: Mapping[int, str], rest_to: Path, taken_to: Path, behind: Path | None = None
) -> None:
    """Writes the rows of `source` to new files: those of `taken` (content hash by number from 1) behind the
    rows of the Parquet file `behind`, and the others by themselves. One row group at a time is in memory.

    Raises:
        UserError: a file cannot be read or written, a row is not where it is said to be, or the files differ
            in their columns. Then neither file is there.
    """
    with _open(source) as file, _new_file(rest_to, file) as rest, _new_file(taken_to, file) as moved:
        if behind:
            _copy(behind, moved)
        names = column_names(source)
        missing = dict(taken)
        n_before = 0
        for table in _row_groups(source, file):
            numbers = range(n_before + 1, n_before + table.num_rows + 1)
            n_before += table.num_rows
            picked = _where(table, [number in taken for number in numbers])
            here = [number for number in numbers if number in taken]
            values = (value for batch in picked.to_batches() for value in parquet_values(batch))
            for number, value in zip(here, values, strict=True):
                try:
                    if row_of(value, number, names=names).hash == taken[number]:
                        del missing[number]
                except Invalid:
                    pass  # it was a row when it was chosen
            _write(taken_to, moved, picked)
            _write(rest_to, rest, _where(table, [number not in taken for number in numbers]))
        if missing:
            raise UserError(f"{source}, row {min(missing)}: the row has been edited or removed meanwhile.")


def _where(table: pa.Table, chosen: list[bool]) -> pa.Table:
    import pyarrow as pa

    return table.filter(pa.array(chosen, pa.bool_()))


def _copy(path: Path, to: pq.ParquetWriter) -> None:
    with _open(path) as file:
        if not file.schema_arrow.equals(to.schema):
            raise UserError(
                f"{path}: has other columns, or of other types, than the rows that are to be added."
            )
        for table in _row_groups(path, file):
            _write(path, to, table)


@contextmanager
def _open(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow.parquet as pq

    with parquet_errors(path):
        file = pq.ParquetFile(path)
    with file:
        yield file


def _row_groups(path: Path, file: pq.ParquetFile) -> Iterator[pa.Table]:
    for group in range(file.num_row_groups):
        with parquet_errors(path):
            table = file.read_row_group(group)
        yield table


@contextmanager
def _new_file(path: Path, like: pq.ParquetFile) -> Iterator[pq.ParquetWriter]:
    """On the disk when the block ends; removed when it fails."""
    import pyarrow.parquet as pq

    try:
        with path.open("xb") as file:
            with pq.ParquetWriter(
                file, _schema_of(like), version=like.metadata.format_version, compression=_codecs_of(like)
            ) as writer:
                yield writer
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise UserError(f"{path}: is there already. Name a new file.") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write(path: Path, to: pq.ParquetWriter, table: pa.Table) -> None:
    """As one row group; none of no rows."""
    import pyarrow as pa

    if table.num_rows == 0:
        return
    try:
        to.write_table(table.cast(to.schema), table.num_rows)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: cannot be written: {str(error).splitlines()[0]}") from None


def _schema_of(file: pq.ParquetFile) -> pa.Schema:
    """With all that the file says of itself beside its rows: pandas and `datasets` read theirs from there."""
    metadata = {k: v for k, v in (file.metadata.metadata or {}).items() if k != b"ARROW:schema"}
    return file.schema_arrow.with_metadata(metadata or None)


def _codecs_of(file: pq.ParquetFile) -> dict[str, str] | str:
    """Of each column, by its path, as the first row group has them."""
    if not file.num_row_groups:
        return "snappy"
    group = file.metadata.row_group(0)
    columns = [group.column(i) for i in range(group.num_columns)]
    names = {"UNCOMPRESSED": "NONE", "LZ4_RAW": "LZ4"}
    return {c.path_in_schema: names.get(c.compression, c.compression) for c in columns}
