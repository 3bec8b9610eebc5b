"""Datasets as rows: files in any format (formats.py), rows in any form (row_forms.py).

The extension reads them by the same rules. Nothing is dropped silently: every record of a file is a row or a
problem.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from .column_names import FILE as COLUMN_NAMES
from .column_names import ColumnNames, column_names, is_quarantine
from .errors import UserError
from .formats import READERS, read_records
from .reviewed import reviewed_hashes
from .row_forms import ANSWERING, NOT_BLANK, Invalid, Message, conversation_of


class Pair(NamedTuple):
    """A user turn and an answer to it, the conversation up to that answer, and the number, from 1, of the
    message that a risk of the two is about: the user turn, or the answer where that says nothing."""

    prompt: str
    answer: str
    context: tuple[Message, ...]
    message: int


@dataclass(frozen=True)
class Row:
    """A conversation and where it begins: `file` is the index among the dataset's files."""

    line: int
    hash: str
    messages: tuple[Message, ...]
    file: int = 0
    reviewed: bool = False

    def pairs(self) -> list[Pair]:
        """The training pairs: each answer that has text, with every user turn that it answers."""
        found: list[Pair] = []
        prompts: list[tuple[int, str]] = []
        answered = False
        for number, (role, content) in enumerate(self.messages, start=1):
            if role == "user":
                prompts = [(number, content)] if answered else [*prompts, (number, content)]
                answered = False
            elif role in ANSWERING and NOT_BLANK.search(content):
                context = self.messages[: number - 1]
                for asked, prompt in prompts or [(number, "")]:
                    about = asked if NOT_BLANK.search(prompt) else number
                    found.append(Pair(prompt, content, context, about))
                answered = True
        return found


@dataclass(frozen=True)
class Problem:
    """A record that is not a row: why, and at which 1-based column (UTF-16 units)."""

    line: int
    column: int
    code: str
    message: str
    file: int = 0


class DatasetFile(NamedTuple):
    path: Path
    sha256: str
    n_rows: int
    names: ColumnNames | None
    reviewed: frozenset[str]


@dataclass(frozen=True)
class Dataset:
    path: Path
    """As it was asked for: a file, a folder of files or a pattern."""
    files: list[DatasetFile]
    rows: list[Row]
    problems: list[Problem]

    def path_of(self, record: Row | Problem) -> Path:
        return self.files[record.file].path


def read_dataset(path: Path) -> Dataset:
    """Every row and every problem of a file, of the files of a folder, or of those that a pattern names.

    Raises:
        UserError: there is no such file, one cannot be read to its end, or they hold no record at all.
    """
    found = Dataset(path, [], [], [])
    for number, file in enumerate(dataset_files(path)):
        data = _bytes_of(file)
        names, reviewed = column_names(file), reviewed_hashes(file)
        rows, problems = rows_of(file, data, number, names)
        found.files.append(DatasetFile(file, hashlib.sha256(data).hexdigest(), len(rows), names, reviewed))
        found.rows.extend(replace(row, reviewed=True) if row.hash in reviewed else row for row in rows)
        found.problems.extend(problems)
    if not found.rows and not found.problems:
        raise UserError(f"{path}: the file is empty. A dataset has one conversation per line or row.")
    return found


def dataset_files(path: Path) -> list[Path]:
    """The files of a dataset, sorted by name; of a folder or a pattern those of a known format that are
    neither a quarantine nor a configuration.

    Raises:
        UserError: there is none.
    """
    candidates: Iterable[Path]
    if path.is_dir():
        candidates = path.iterdir()
    else:
        folder = next(parent for parent in path.parents if parent.is_dir())
        pattern = str(path.relative_to(folder))
        if path.exists() or not glob.has_magic(pattern):
            return [path]
        candidates = (folder / x for x in {*glob.glob(pattern, root_dir=folder, recursive=True)})
    known = (x for x in candidates if x.suffix.lower() in READERS and not is_quarantine(x))
    others = (COLUMN_NAMES, ".finetune.json")
    found = sorted(x for x in known if not x.name.endswith(others) and x.is_file())
    if not found:
        formats = ", ".join(sorted(READERS))
        raise UserError(f"{path}: no dataset file is there ({formats}). Correct the path, or put one there.")
    return found


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no such dataset file. Correct the path, or put the file there."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from None


def rows_of(
    path: Path, data: bytes, file: int = 0, names: ColumnNames | None = None
) -> tuple[list[Row], list[Problem]]:
    """What the file at `path`, which holds `data`, has; errors as in `read_records`."""
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, column, value in read_records(path, data):
        try:
            rows.append(row_of(value, line, file, names))
        except Invalid as invalid:
            problems.append(Problem(line, invalid.column or column, invalid.code, invalid.message, file))
    return rows, problems


def row_of(
    value: dict[str, Any] | Invalid, line: int, file: int = 0, names: ColumnNames | None = None
) -> Row:
    """Raises: Invalid: a record that is no row."""
    if isinstance(value, Invalid):
        raise value
    messages = conversation_of(names.usual(value) if names else value)
    return Row(line, content_hash(messages), messages, file)


def content_hash(messages: tuple[Message, ...]) -> str:
    """First 16 hex digits of the SHA-256 of the roles and contents: the row's identity."""
    text = "".join(f"{m.role}\x1f{m.content}\x1e" for m in messages)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
