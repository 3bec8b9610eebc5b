"""Columns that a dataset names in its own way: `dataset_info.json` beside the file.

The file is LLaMA-Factory's: of each dataset its `file_name`, `formatting`, `columns` and `tags`. The
extension reads it by the same rules, and writes it (src/datasets/columnNames.ts). Rows are brought into a
usual form (row_forms.py). Entries that name neither a form nor columns change nothing, as forms are
recognised by themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from .errors import LocatedError, UserError
from .row_forms import FORMS, JSON, Invalid, from_json, is_filled

FILE = "dataset_info.json"
QUARANTINE = ".quarantine"
USUAL: dict[str, Any] = FORMS["datasetInfo"]


class ColumnNames(NamedTuple):
    """`columns` and `tags` say how the file names what `dataset_info.json` names by their keys."""

    form: str
    columns: dict[str, str]
    tags: dict[str, str]

    def as_json(self) -> str:
        return json.dumps(self._asdict(), sort_keys=True)

    def usual(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with the usual names.

        Raises:
            Invalid: it has not what it must have, or what is not trained on.
        """
        for part in USUAL["unsupported"]:
            if (column := self.columns.get(part)) and is_filled(row.get(column)):
                raise Invalid("unsupported", f"has `{column}`, which is not trained on yet")
        for key in FORMS["unsupported"]["row"]:
            if key not in self.columns.values() and is_filled(row.get(key)):
                raise Invalid("unsupported", f"has `{key}`, which is not trained on yet")
        for part in USUAL["required"][self.form]:
            if row.get(self.columns[part]) is None:
                named = f"which {FILE} names as its {part}"
                raise Invalid("no-conversation", f"has no `{self.columns[part]}`, {named}")
        parts = USUAL["parts"][self.form]
        found = {parts[part]: row[self.columns[part]] for part in parts if self.columns[part] in row}
        if self.form == "sharegpt":
            found["messages"] = self._turns(found["messages"])
        return found

    def _turns(self, value: Any) -> Any:
        if isinstance(value, str):  # a list in a table
            try:
                return json.dumps(self._turns(from_json(value)))
            except Invalid:
                return value
        return [self._turn(turn) for turn in value] if isinstance(value, list) else value

    def _turn(self, turn: Any) -> Any:
        if not isinstance(turn, dict):
            return turn
        others = {key: value for key, value in turn.items() if key not in USUAL["turnKeys"]}
        role, content = (turn.get(self.tags[tag]) for tag in ("role_tag", "content_tag"))
        roles = {self.tags[tag]: usual for tag, usual in USUAL["roles"].items()}
        if isinstance(role, str):
            role = roles.get(role, role)
        named = {"role": role, "content": content}
        return others | {key: value for key, value in named.items() if value is not None}


def column_names(dataset: Path) -> ColumnNames | None:
    """Those that `dataset_info.json` gives the file `dataset`, or that whose quarantine it is, if any.

    Raises:
        UserError: the list cannot be read, or says different things of the file.
    """
    path = dataset.with_name(FILE)
    try:
        value = JSON.decode(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        raise LocatedError(f"not valid JSON: {error.msg}.", str(path), error.lineno, error.colno) from None
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}.") from None
    except Invalid as invalid:
        raise UserError(f"{path}: {invalid.message}.") from None
    name = dataset.stem.removesuffix(QUARANTINE) + dataset.suffix
    entries = (
        [entry for entry in value.values() if isinstance(entry, dict)] if isinstance(value, dict) else []
    )
    found = [_of_entry(entry, path) for entry in entries if entry.get("file_name") == name]
    if any(names != found[0] for names in found):
        raise UserError(f"{path}: two entries say different things of {name}. Remove one of them.")
    return found[0] if found else None


def is_quarantine(path: Path) -> bool:
    """Whether the file has rows that were put aside."""
    return path.stem.endswith(QUARANTINE)


def _of_entry(entry: dict[str, Any], path: Path) -> ColumnNames | None:
    if not {"formatting", "columns", "tags"} & {*entry}:
        return None
    form = entry.get("formatting", "alpaca")
    if not isinstance(form, str) or form not in USUAL["parts"]:
        known = ", ".join(USUAL["parts"])
        raise UserError(f"{path}: `formatting` of {entry['file_name']} is not one of {known}.")
    given: list[dict[str, str]] = []
    for name in ("columns", "tags"):
        names = entry.get(name, {})
        if not isinstance(names, dict) or not all(isinstance(x, str) for x in names.values()):
            raise UserError(f"{path}: `{name}` of {entry['file_name']} must be an object of texts.")
        given.append(names)
    return ColumnNames(form, USUAL["columns"] | given[0], USUAL["tags"] | given[1])
