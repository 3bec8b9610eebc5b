"""Checkpoints that are either complete or not there.

A checkpoint is a folder that transformers.Trainer wrote; it counts from the moment its manifest, which
lists every file with size and hash, has been written last. A folder without one is never resumed from.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .files import sha256_of, write_atomically

MANIFEST = "manifest.json"
TRAINER_STATE = "trainer_state.json"
ADAPTER, MODEL = "adapter", "model"  # folders of a run that hold what was trained


def complete(checkpoint: Path, step: int, *, within_budget: bool = False) -> int:
    """Declares the checkpoint complete; returns its size in bytes.

    `within_budget`: the run may be rolled back to it.
    """
    paths = [path for path in sorted(checkpoint.rglob("*")) if path.is_file() and path.name != MANIFEST]
    sizes = [path.stat().st_size for path in paths]
    files = {
        str(path.relative_to(checkpoint)): {"bytes": size, "sha256": sha256_of(path)}
        for path, size in zip(paths, sizes, strict=True)
    }
    manifest = {"step": step, "withinBudget": within_budget, "files": files}
    write_atomically(checkpoint / MANIFEST, json.dumps(manifest, indent=1) + "\n")
    return sum(sizes)


def begin(checkpoint: Path) -> None:
    """Makes sure that a folder about to be written over does not count as complete meanwhile."""
    (checkpoint / MANIFEST).unlink(missing_ok=True)


def step_of(checkpoint: Path) -> int:
    """As its manifest says."""
    return int(json.loads((checkpoint / MANIFEST).read_text("utf-8"))["step"])


def all_complete(folder: Path) -> list[tuple[Path, int]]:
    """The complete checkpoints under `folder` with their steps, the newest first.

    A manifest that cannot be read, as a power cut can leave one, is none.
    """
    found = []
    for manifest in folder.glob(f"*/{MANIFEST}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found.append((manifest.parent, step_of(manifest.parent)))
    return sorted(found, key=lambda checkpoint: checkpoint[1], reverse=True)


def within_budget(folder: Path) -> list[tuple[Path, int]]:
    """Those of the complete checkpoints that the run may be rolled back to, the newest first."""
    return [
        x
        for x in all_complete(folder)
        if json.loads((x[0] / MANIFEST).read_text("utf-8")).get("withinBudget")
    ]


def unreadable(folder: Path) -> list[Path]:
    """The checkpoints under `folder` that have a manifest which cannot be read."""
    complete = {checkpoint for checkpoint, _ in all_complete(folder)}
    return sorted(x.parent for x in folder.glob(f"*/{MANIFEST}") if x.parent not in complete)


def latest(folder: Path) -> tuple[Path, int] | None:
    """The newest complete checkpoint under `folder` and its step."""
    return next(iter(all_complete(folder)), None)


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of the checkpoint is as it was written."""
    try:
        files = json.loads((checkpoint / MANIFEST).read_text("utf-8"))["files"]
        return all(sha256_of(checkpoint / name) == expected["sha256"] for name, expected in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


@dataclass(frozen=True)
class Saved:
    """What a run folder holds of the training so far."""

    adapter: str | None
    """Folder of the adapter, or of the whole model where all weights were trained, in the run folder."""
    step: int | None
    """Of the newest complete checkpoint."""
    steps_left: bool

    @property
    def resumable(self) -> bool:
        """Whether resuming would add anything: steps, or the adapter that could not be saved."""
        return self.step is not None and (self.steps_left or not self.adapter)

    def __str__(self) -> str:
        kept = [f"the {self.adapter}"] if self.adapter else []
        kept += [f"the checkpoint of step {self.step}"] * (self.step is not None)
        return f"kept: {' and '.join(kept)}" if kept else "nothing was saved"


def saved(run_folder: Path) -> Saved:
    """Cheap enough for a dying process: nothing is verified."""
    configs = {ADAPTER: "adapter_config.json", MODEL: "config.json"}
    adapter = next((name for name, file in configs.items() if (run_folder / name / file).is_file()), None)
    newest = latest(run_folder / "checkpoints")
    if not newest:
        return Saved(adapter, None, steps_left=True)
    return Saved(adapter, newest[1], _has_steps_left(*newest))


def _has_steps_left(checkpoint: Path, step: int) -> bool:
    try:
        return step < json.loads((checkpoint / TRAINER_STATE).read_text("utf-8"))["max_steps"]
    except (OSError, ValueError, KeyError):
        return True  # Trainer decides when the run is resumed


def prune(folder: Path, keep: int) -> None:
    """Removes all but the newest `keep` complete checkpoints and the newest within budget."""
    spared = within_budget(folder)[:1]
    for checkpoint in all_complete(folder)[keep:]:
        if checkpoint not in spared:
            _remove(checkpoint[0])


def remove_after(folder: Path, step: int) -> None:
    """Removes the complete checkpoints of later steps."""
    for checkpoint, later in all_complete(folder):
        if later > step:
            _remove(checkpoint)


def _remove(checkpoint: Path) -> None:
    """The manifest goes first: half a checkpoint never counts."""
    (checkpoint / MANIFEST).unlink()
    shutil.rmtree(checkpoint)
