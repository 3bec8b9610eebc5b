"""May a run go on, and from where? Decided before anything is written to its folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pydantic

from . import checkpoints
from . import protocol as p
from .errors import UserError


@dataclass(frozen=True)
class ResumePoint:
    """Where a run goes on."""

    checkpoint: Path
    step: int


def resume_point(folder: Path, config: p.RunConfig, base: Path) -> ResumePoint:
    """The checkpoint that the run in `folder` goes on from; `base` is the configuration's folder.

    Raises:
        UserError: there is none, or the run would go on with something else than it began with.
    """
    record = _read_record(folder)
    _refuse_changed_dataset(record, base / config.dataset.path)
    found = checkpoints.latest(folder / "checkpoints")
    if not found:
        raise UserError(f"{folder}: there is no complete checkpoint to resume from. Start a new run.")
    checkpoints.verify(found[0])
    return ResumePoint(*found)


def _read_record(folder: Path) -> p.RunRecord:
    path = folder / "run.json"
    try:
        return p.RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{folder}: there is no run to resume. Start a new run.") from None
    except (OSError, pydantic.ValidationError):
        raise UserError(f"{path}: cannot be read, so the run cannot be resumed. Start a new run.") from None


def _refuse_changed_dataset(record: p.RunRecord, path: Path) -> None:
    """The order of rows is part of a run: another dataset cannot continue it."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from None
    if found != record.datasets[0].sha256:
        raise UserError(
            f"{path}: the file has changed since the run began, so the run cannot be resumed. "
            "Undo the change, or start a new run."
        )
