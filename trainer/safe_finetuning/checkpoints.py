"""Checkpoints that are either complete or not there.

A checkpoint is a folder that transformers.Trainer wrote; it counts from the moment its manifest, which
lists every file with size and hash, has been written last. A folder without one is never resumed from.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from .errors import UserError
from .run_folder import write_atomically

MANIFEST = "manifest.json"


def complete(checkpoint: Path, step: int) -> int:
    """Declares the checkpoint complete; returns its size in bytes."""
    paths = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != MANIFEST]
    sizes = [path.stat().st_size for path in paths]
    files = {
        str(path.relative_to(checkpoint)): {"bytes": size, "sha256": _sha256(path)}
        for path, size in zip(paths, sizes, strict=True)
    }
    write_atomically(checkpoint / MANIFEST, json.dumps({"step": step, "files": files}, indent=1) + "\n")
    return sum(sizes)


def begin(checkpoint: Path) -> None:
    """Makes sure that a folder about to be written over does not count as complete meanwhile."""
    (checkpoint / MANIFEST).unlink(missing_ok=True)


def latest(folder: Path) -> tuple[Path, int] | None:
    """The newest complete checkpoint under `folder` and its step."""
    manifests = sorted(folder.glob(f"*/{MANIFEST}"), key=_step, reverse=True)
    return (manifests[0].parent, _step(manifests[0])) if manifests else None


def verify(checkpoint: Path) -> None:
    """Raises UserError when a file of the checkpoint is missing or not as it was written."""
    for name, expected in json.loads((checkpoint / MANIFEST).read_text("utf-8"))["files"].items():
        path = checkpoint / name
        if not path.is_file() or _sha256(path) != expected["sha256"]:
            raise UserError(
                f"{path}: missing or damaged, so the run cannot be resumed from this checkpoint. "
                "Delete its folder to resume from the one before."
            )


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` complete checkpoints; the manifest goes first."""
    for manifest in sorted(folder.glob(f"*/{MANIFEST}"), key=_step, reverse=True)[keep:]:
        manifest.unlink()
        shutil.rmtree(manifest.parent)


def _step(manifest: Path) -> int:
    return int(json.loads(manifest.read_text("utf-8"))["step"])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
