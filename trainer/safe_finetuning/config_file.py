"""Reads the run configuration, `*.finetune.json`: JSON with comments, owned by the user."""

from __future__ import annotations

import difflib
import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]
from pathlib import Path
from typing import Any, get_args

import json5
import pydantic

from .config import RunConfig
from .errors import LocatedError, UserError

_COMMENT_OR_STRING = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_SYNTAX_ERROR = re.compile(r"<string>:(\d+) (.*?)(?: at column (\d+))?$", re.DOTALL)


def read_config(path: Path) -> RunConfig:
    """The configuration at `path`.

    Raises:
        UserError: the file cannot be read.
        LocatedError: at the line and field that are wrong.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise UserError(
            f"{path}: there is no such run configuration. Give the path of a *.finetune.json."
        ) from None
    except UnicodeDecodeError as error:
        raise LocatedError(f"not UTF-8 text ({error.reason}). Save the file as UTF-8.", str(path)) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from None
    try:
        data = json5.loads(text, allow_duplicate_keys=False)
    except ValueError as error:
        found = _SYNTAX_ERROR.search(str(error))
        line, column = (int(found[1]), int(found[3] or 1)) if found else (1, 1)
        message = found[2] if found else str(error)
        raise LocatedError(f"not valid JSON: {message}.", str(path), line, column) from None
    if not isinstance(data, dict):
        raise LocatedError("not a configuration: it must be an object, `{ … }`.", str(path)) from None
    try:
        return RunConfig.model_validate(data, by_name=False, by_alias=True)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        keys = [key for key in first["loc"] if isinstance(key, int) or _is_key(key, data)]
        line, column = locate(text, keys)
        raise LocatedError(_explain(first), str(path), line, column) from None


def _is_key(key: str, data: Any) -> bool:
    """Whether a part of pydantic's location is a key of the file and not the name of a union's branch."""
    return f'"{key}"' in json.dumps(data)


def _explain(error: Any) -> str:
    field = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = _fields_beside(error["loc"])
        near = difflib.get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f" Did you mean `{near[0]}`?" if near else f" Known here: {', '.join(known)}."
        return f"`{field}` is not a setting.{hint}"
    if error["type"] == "missing":
        return f"`{field}` is missing; it has no default."
    if error["type"] == "value_error" and not error["loc"]:  # of settings that do not go together
        return f"{error['ctx']['error']}."
    if error["type"] == "value_error":
        return f"`{field}` {error['ctx']['error']}; it is {json.dumps(error['input'])}."
    found = f"`{field}`: {error['msg'][0].lower()}{error['msg'][1:]}, not {json.dumps(error['input'])}."
    if error["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
        near = difflib.get_close_matches(str(error["input"]), known, n=1)
        return f'{found} Did you mean "{near[0]}"?' if near else found
    return found


def _fields_beside(location: tuple[Any, ...]) -> list[str]:
    model: Any = RunConfig
    for part in location[:-1]:
        field = next(f for f in model.model_fields.values() if f.alias == part)
        kinds = get_args(field.annotation) or (
            field.annotation,
        )  # a section that may be absent is `X | None`
        model = next(kind for kind in kinds if hasattr(kind, "model_fields"))
    return [str(field.alias) for field in model.model_fields.values()]


def locate(text: str, keys: list[str | int]) -> tuple[int, int]:
    """1-based line and column of the value at `keys`; of the deepest part that exists, otherwise."""
    # Comments become blanks of the same length, so that positions stay.
    plain = _COMMENT_OR_STRING.sub(lambda m: m[0] if m[0][0] == '"' else re.sub(r"[^\n]", " ", m[0]), text)
    position = _Locator(plain).find(keys)
    line = text.count("\n", 0, position) + 1
    return line, position - (text.rfind("\n", 0, position) + 1) + 1


class _Locator:
    """Walks JSON text to the position of a key without building its values."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def find(self, keys: list[str | int]) -> int:
        self._blank()
        start = self.at
        if not keys or self.at >= len(self.text) or self.text[self.at] not in "{[":
            return start
        is_object = self.text[self.at] == "{"
        self.at += 1
        index = 0
        while self._blank() not in ("}", "]", ""):
            key_at, key = self.at, index
            if is_object:
                if self.text[self.at] != '"':
                    return start
                key, self.at = scanstring(self.text, self.at + 1)
                self._blank()
                self.at += 1  # the colon
            if key == keys[0]:
                inner = self.find(keys[1:]) if len(keys) > 1 else key_at
                return inner
            self._skip_value()
            if self._blank() == ",":
                self.at += 1
            index += 1
        return start

    def _blank(self) -> str:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _skip_value(self) -> None:
        self._blank()
        depth = 0
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == '"':
                _, self.at = scanstring(self.text, self.at + 1)
                continue
            if depth == 0 and character in ",}]":
                return
            depth += (character in "{[") - (character in "}]")
            self.at += 1
