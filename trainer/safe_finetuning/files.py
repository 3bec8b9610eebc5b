"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, text: str) -> None:
    """Writes beside and renames: readers see the old file or the new one, never half of one.

    On the disk before it is renamed, so that a power cut leaves no empty file either.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    for wait in (0.0, 0.05, 0.2, 1.0):  # Windows refuses while a reader has the file open
        time.sleep(wait)
        try:
            beside.replace(path)
            break
        except PermissionError:
            if wait == 1.0:
                raise
    with suppress(OSError):  # Windows and some mounts have no such thing
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
