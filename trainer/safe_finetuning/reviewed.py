"""Rows that a person has looked at and means to train on as ordinary ones, whatever their risk.

They are named by their content hashes in `NAME.reviewed.txt` beside the dataset file, which the extension
writes (src/datasets/reviewedFile.ts) and which can be committed with the dataset: a hash at the start of each
line, anything behind it; lines that begin with `#` are comments.
"""

from __future__ import annotations

import re
from pathlib import Path

from .errors import LocatedError, UserError

_HASH = re.compile(r"[0-9a-f]{16}(?![^\s])")


def reviewed_file(dataset: Path) -> Path:
    return dataset.with_name(f"{dataset.stem}.reviewed.txt")


def reviewed_hashes(dataset: Path) -> frozenset[str]:
    """The hashes of the rows of the file `dataset` that were reviewed.

    Raises:
        UserError: the list cannot be read.
    """
    path = reviewed_file(dataset)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the list of reviewed rows cannot be read: {error}.") from None
    found = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        known = _HASH.match(line)
        if not known:
            raise LocatedError(
                "this is not the hash of a reviewed row; correct the line, or remove it.", str(path), number
            )
        found.add(known[0])
    return frozenset(found)
