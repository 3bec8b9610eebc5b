"""Dataset files as records: what is or should be a row, and where it begins.

The extension reads the same files by the same rules (src/datasets/formats); test/fixtures/rows holds both to
them. Nothing is left out silently: every record becomes a row or a problem, and a file that cannot be read to
its end is an error.

- JSON Lines, and every suffix of no other format: a line ends with LF or CRLF; lines of spaces and tabs are
  no records.
- JSON (`.json`): a list of rows, or an object with such a list as its `data`. A file whose first line is
  another object is JSON Lines by another name.
- CSV and TSV: RFC 4180 with a header. What parts the columns of a CSV is the one of `,`, `;`, tab and `|`
  that its header has most of. A line end inside a cell counts as LF, however it is written; lines of spaces
  and tabs are no records.
- Parquet: its rows; their number takes the place of the line.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import LocatedError, UserError
from .row_forms import EXPECTED, JSON, Invalid, from_json, utf16_length

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_BATCH_ROWS = 256
DELIMITERS = ",;\t|"


class Record(NamedTuple):
    """`line` and `column` of its start count from 1, the column in UTF-16 units."""

    line: int
    column: int
    value: dict[str, Any] | Invalid


def read_records(path: Path, data: bytes) -> Iterator[Record]:
    """The records of the file at `path`, which holds `data`, in order.

    Raises:
        LocatedError: from a place on, the file cannot be read.
        UserError: it cannot be read at all.
    """
    return READERS.get(path.suffix.lower(), _json_lines)(path, data)


# --- JSON ---------------------------------------------------------------------------------------------


def _json_lines(path: Path, data: bytes) -> Iterator[Record]:
    for line, raw in enumerate(_without_mark(data).splitlines(), start=1):
        if not raw.strip(b" \t"):
            continue
        try:
            value: Any = _object(from_json(_line_text(raw)))
        except Invalid as invalid:
            value = invalid
        yield Record(line, 1 + len(raw) - len(raw.lstrip(b" \t")), value)


def _line_text(line: bytes) -> str:
    try:
        return _without_nul(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        column = utf16_length(line[: error.start].decode("utf-8")) + 1
        raise Invalid("invalid-utf8", "not valid UTF-8; save the file as UTF-8", column) from None


def _without_nul(text: str) -> str:
    if "\0" in text:
        column = utf16_length(text[: text.index("\0")]) + 1
        raise Invalid("nul", "contains a NUL character; remove it", column)
    return text


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("not-object", f"not an object; {EXPECTED}")
    return value


def _json(path: Path, data: bytes) -> Iterator[Record]:
    if not _is_one_value(_without_mark(data)):
        yield from _json_lines(path, data)
        return
    text = _whole_text(path, data)
    place = _Place(text)
    try:
        whole = JSON.decode(text)
    except json.JSONDecodeError as error:
        raise _unreadable(path, place.at(error.pos), f"not valid JSON: {error.msg}") from None
    except Invalid as invalid:
        raise _unreadable(path, place, invalid.message) from None
    except RecursionError:
        raise _unreadable(path, place, "not valid JSON: nested too deeply") from None
    start = _space(text, 0)
    if isinstance(whole, dict):
        if not isinstance(whole.get("data"), list):
            raise _unreadable(path, place, "neither a list of rows nor an object with such a list as `data`")
        start = _value_of(text, start, "data")
    for offset, value in _elements(text, start):
        place.at(offset)
        try:
            yield Record(place.line, place.column, _object(value))
        except Invalid as invalid:
            yield Record(place.line, place.column, invalid)


def _is_one_value(data: bytes) -> bool:
    """Whether it is a list, or an object that is not the first of many, one a line."""
    begin = data.lstrip(b" \t\r\n")
    if not begin.startswith(b"{"):
        return begin.startswith(b"[")
    try:
        first = JSON.decode(begin.split(b"\n", 1)[0].split(b"\r", 1)[0].decode("utf-8", "replace"))
    except (json.JSONDecodeError, Invalid, RecursionError):
        return True
    return isinstance(first.get("data"), list)


def _elements(text: str, start: int) -> Iterator[tuple[int, Any]]:
    """Offset and value of each element of the list at `start`, which is valid."""
    at = _space(text, start + 1)
    while text[at] != "]":
        value, end = JSON.raw_decode(text, at)
        yield at, value
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)


def _value_of(text: str, start: int, name: str) -> int:
    """Where the value of `name`, the last one, stands in the object at `start`, which is valid and has it."""
    at, found = _space(text, start + 1), start
    while text[at] != "}":
        key, end = JSON.raw_decode(text, at)
        at = _space(text, _space(text, end) + 1)
        if key == name:
            found = at
        _, end = JSON.raw_decode(text, at)
        at = _space(text, end)
        if text[at] == ",":
            at = _space(text, at + 1)
    return found


def _space(text: str, at: int) -> int:
    """Where the white space at `at` ends."""
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]


# --- CSV ----------------------------------------------------------------------------------------------


def _delimited(path: Path, data: bytes) -> Iterator[Record]:
    text = _whole_text(path, data)
    place = _Place(text)
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(text)
    cell = _cell_pattern(delimiter)
    columns: list[str] | None = None
    at = 0
    while at < len(text):
        place.at(at)
        blank = _BLANK_LINE.match(text, at)
        if blank:
            at = blank.end()
            continue
        cells: list[str] = []
        misplaced = False
        end = delimiter
        while end == delimiter:
            found = cell.match(text, at)
            if found is None:
                raise _unreadable(path, place, "this row has a quote that is not closed")
            quoted, rest, plain, end = found.groups()
            misplaced |= bool(rest) or bool(_QUOTE_AFTER_SPACE.match(plain or ""))
            cells.append(_LINE_END.sub("\n", (quoted or "").replace('""', '"')) if plain is None else plain)
            at = found.end()
        if columns is None:
            columns = cells
            names = [name for name in columns if name]
            if len({*names}) < len(names):
                raise _unreadable(path, place, "two columns of the header have the same name")
            continue
        yield Record(place.line, place.column, _cells_as_row(columns, cells, misplaced))


def _cells_as_row(columns: list[str], cells: list[str], misplaced: bool) -> dict[str, Any] | Invalid:
    """A column without a name, which a table's index has, is no part of the row."""
    if misplaced:
        return Invalid(
            "quote", "a quote stands where none can: put the whole cell in quotes, those in it doubled"
        )
    if len(cells) != len(columns):
        return Invalid("ragged", f"the header has {len(columns)} columns, this row {len(cells)}")
    if any("\0" in cell for cell in cells):
        return Invalid("nul", "contains a NUL character; remove it")
    return {name: cell for name, cell in zip(columns, cells, strict=True) if name}


def _delimiter(text: str) -> str:
    header = re.match(r'[ \t\r\n]*((?:"[^"]*(?:""[^"]*)*"(?!")|[^"\r\n])*)', text)
    unquoted = re.sub(r'"[^"]*(?:""[^"]*)*"(?!")', "", header[1] if header else "")
    return max(DELIMITERS, key=unquoted.count)


def _cell_pattern(delimiter: str) -> re.Pattern[str]:
    """Quoted text, what follows it within the cell, or unquoted text; and what ends the cell."""
    d = re.escape(delimiter)
    return re.compile(rf'(?:"([^"]*(?:""[^"]*)*)"(?!")([^{d}\r\n]*)|(?!")([^{d}\r\n]*))({d}|\r\n|\r|\n|\Z)')


# --- Parquet ------------------------------------------------------------------------------------------


def _parquet(path: Path, data: bytes) -> Iterator[Record]:
    import pyarrow.parquet as pq

    number = 0
    with parquet_errors(path, lambda: f"after row {number}, "):
        file = pq.ParquetFile(io.BytesIO(data))
        if len({*file.schema_arrow.names}) < len(file.schema_arrow.names):
            raise ValueError("two columns have the same name")
        for batch in file.iter_batches(PARQUET_BATCH_ROWS):
            for row in parquet_values(batch):
                number += 1
                yield Record(number, 1, row)


def parquet_values(rows: pa.RecordBatch) -> list[dict[str, Any]]:
    """What the trainer reads of each row."""
    columns = [_without_times(column) for column in rows.columns]
    return type(rows).from_arrays(columns, rows.schema.names).to_pylist()


@contextmanager
def parquet_errors(path: Path, where: Callable[[], str] = lambda: "") -> Iterator[None]:
    """Says of which file pyarrow speaks."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, ValueError, ArithmeticError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: {where()}cannot be read as Parquet: {reason}") from None


def _without_times(column: Any) -> Any:
    """Times as the numbers that they are kept as: no text either way, and Python has not all of them."""
    import pyarrow as pa

    return column.view(f"int{column.type.bit_width}") if pa.types.is_temporal(column.type) else column


READERS = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".csv": _delimited,
    ".tsv": _delimited,
    ".parquet": _parquet,
}


# --- places -------------------------------------------------------------------------------------------


class _Place:
    """A place in a text that only moves forward, so that the whole way is gone once."""

    def __init__(self, text: str) -> None:
        self.text, self.offset, self.line, self.column = text, 0, 1, 1

    def at(self, offset: int) -> _Place:
        passed = self.text[self.offset : offset]
        *lines, last = _LINE_END.split(passed)
        self.line += len(lines)
        self.column = utf16_length(last) + (1 if lines else self.column)
        self.offset = offset
        return self


_LINE_END = re.compile(r"\r\n|\r|\n")
_QUOTE_AFTER_SPACE = re.compile(r'[ \t]+"')
_BLANK_LINE = re.compile(r"[ \t]*(?:\r\n|\r|\n|\Z)")
_SPACE = re.compile(r"[ \t\r\n]*")


def _without_mark(data: bytes) -> bytes:
    return data.removeprefix(b"\xef\xbb\xbf")


def _whole_text(path: Path, data: bytes) -> str:
    data = _without_mark(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        raise _unreadable(path, _Place(before).at(len(before)), "not valid UTF-8; save it as UTF-8") from None


def _unreadable(path: Path, place: _Place, why: str) -> LocatedError:
    return LocatedError(f"the file cannot be read from here on: {why}.", str(path), place.line, place.column)
