"""Writing files so that nobody ever reads half of one."""

from __future__ import annotations

import os
import time
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Writes beside and renames: readers see the old file or the new one, never half of one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    beside.write_text(text, "utf-8")
    for wait in (0.0, 0.05, 0.2, 1.0):  # Windows refuses while a reader has the file open
        time.sleep(wait)
        try:
            beside.replace(path)
            return
        except PermissionError:
            if wait == 1.0:
                raise
