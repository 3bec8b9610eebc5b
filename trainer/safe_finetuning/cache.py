"""Where the trainer keeps what can be made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

POLL_SECONDS = 0.2


def cache_folder() -> Path:
    """The user's cache folder for this project; $SAFE_FINETUNING_CACHE moves it."""
    fallback = platformdirs.user_cache_dir("safe-finetuning", appauthor=False)
    return Path(os.environ.get("SAFE_FINETUNING_CACHE") or fallback)


def made_once(
    folder: Path, make: Callable[[Path], None], waiting: Callable[[], None], check: Callable[[], None]
) -> Path:
    """`folder`, which the first caller has `make` fill beside its place; later ones find it.

    Of two processes one makes it; the other is told that it is `waiting`. `check` may raise meanwhile.
    """
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.with_name(folder.name + ".lock"), waiting, check):
        if not folder.is_dir():
            partial = folder.with_name(folder.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
            partial.mkdir()
            try:
                make(partial)
                partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return folder


@contextmanager
def _locked(path: Path, waiting: Callable[[], None], check: Callable[[], None]) -> Iterator[None]:
    """Held by one process at a time; the system releases it when the process ends, however it ends."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        while not lock.is_locked:
            check()
            try:
                lock.acquire(timeout=POLL_SECONDS)
            except Timeout:
                continue
    try:
        yield
    finally:
        lock.release()
