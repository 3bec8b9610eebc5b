"""Dataset files as rows. The extension reads them by the same rules (src/datasets/rows.ts).

JSON Lines: a line ends with LF or CRLF, a byte-order mark at the start is skipped, blank lines are not
rows, lines count from 1. Nothing is dropped silently: every other line is a row or a problem.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .errors import UserError
from .row_forms import EXPECTED, NOT_BLANK, Invalid, Message, conversation_of


class Pair(NamedTuple):
    """A user turn and an answer to it, and the conversation up to that answer."""

    prompt: str
    answer: str
    context: tuple[Message, ...]


@dataclass(frozen=True)
class Row:
    """A conversation and where it stands."""

    line: int
    hash: str
    messages: tuple[Message, ...]

    def pairs(self) -> list[Pair]:
        """The training pairs: each answer that has text, with every user turn that it answers."""
        found: list[Pair] = []
        prompts: list[str] = []
        answered = False
        for turn, message in enumerate(self.messages):
            if message.role == "user":
                prompts = [message.content] if answered else [*prompts, message.content]
                answered = False
            elif message.role == "assistant" and NOT_BLANK.search(message.content):
                context = self.messages[:turn]
                found += [Pair(prompt, message.content, context) for prompt in prompts or [""]]
                answered = True
        return found


@dataclass(frozen=True)
class Problem:
    """A line that is not a row: why, and at which 1-based column (UTF-16 units)."""

    line: int
    column: int
    code: str
    message: str


@dataclass(frozen=True)
class Dataset:
    path: Path
    sha256: str
    rows: list[Row]
    problems: list[Problem]


def read_dataset(path: Path) -> Dataset:
    """Every row and every problem of a JSON Lines file.

    Raises:
        UserError: the file cannot be read, or holds no line at all.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no such dataset file. Correct the path, or put the file there."
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from None
    rows: list[Row] = []
    problems: list[Problem] = []
    for line, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not raw.strip(b" \t\r"):
            continue
        try:
            messages = _parse(raw.removesuffix(b"\r"))
            rows.append(Row(line, content_hash(messages), messages))
        except Invalid as invalid:
            column = invalid.column or 1 + len(raw) - len(raw.lstrip(b" \t\r"))
            problems.append(Problem(line, column, invalid.code, invalid.message))
    if not rows and not problems:
        raise UserError(f"{path}: the file is empty. A dataset has one conversation per line.")
    return Dataset(path, hashlib.sha256(data).hexdigest(), rows, problems)


def content_hash(messages: tuple[Message, ...]) -> str:
    """First 16 hex digits of the SHA-256 of the roles and contents: the row's identity."""
    text = "".join(f"{m.role}\x1f{m.content}\x1e" for m in messages)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def _parse(raw: bytes) -> tuple[Message, ...]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        column = _utf16_length(raw[: error.start].decode("utf-8")) + 1
        raise Invalid("invalid-utf8", "not valid UTF-8; save the file as UTF-8", column) from None
    if "\0" in text:
        raise Invalid(
            "nul", "contains a NUL character; remove it", _utf16_length(text[: text.index("\0")]) + 1
        )
    try:
        # Numbers are not read; as integers, those of thousands of digits would be an error.
        value = json.loads(text, parse_constant=_no_constant, parse_int=float)
    except json.JSONDecodeError as error:
        raise Invalid(
            "not-json", f"not valid JSON: {error.msg}", _utf16_length(text[: error.pos]) + 1
        ) from None
    except RecursionError:
        raise Invalid("not-json", "not valid JSON: nested too deeply") from None
    if not isinstance(value, dict):
        raise Invalid("not-object", f"not an object; {EXPECTED}")
    return conversation_of(value)


def _no_constant(name: str) -> None:
    raise Invalid("not-json", f"not valid JSON: {name} is not a JSON number")


def _utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
