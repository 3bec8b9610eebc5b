"""May a run go on, and from where? Decided before anything is written to its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from . import checkpoints
from . import protocol as p
from .column_names import FILE as COLUMN_NAMES
from .column_names import column_names
from .config import RunConfig
from .errors import UserError
from .files import sha256_of, write_atomically
from .reviewed import reviewed_file, reviewed_hashes
from .rows import dataset_files

FREE = (
    *("$schema", "training.microBatchSize", "device", "evaluation.batchSize", "checkpoints."),
    "training.reportTo",
)
"""Settings that change time and memory but not what is learned; the first remedy for a full memory."""


IDENTITY = "identity.json"
"""What the weights, the tokens and the risks of a run come from, beside its files and settings."""


@dataclass(frozen=True)
class ResumePoint:
    """Where a run goes on."""

    checkpoint: Path
    step: int
    damaged: list[Path]
    """Checkpoints that it cannot go on from: newer ones, or of an unknown step."""


def resume_point(folder: Path, config: RunConfig, base: Path) -> ResumePoint:
    """The checkpoint that the run in `folder` goes on from; `base` is the configuration's folder.

    Raises:
        UserError: there is none, or the run would go on with something else than it began with.
    """
    record = read_record(folder)
    if record.config is None:
        raise UserError(f"{folder}: this is a run of a training script. Resume it by the script.")
    _refuse_changed_settings(folder, record.config, config)
    paths = [config.dataset.path] + ([config.dataset.held_out_path] if config.dataset.held_out_path else [])
    files = [file for path in paths for file in dataset_files(base / path)]
    if len(files) != len(record.datasets):
        raise UserError(
            f"{base / config.dataset.path}: the dataset had {len(record.datasets)} files when the run began "
            f"and has {len(files)} now, so the run cannot be resumed. Undo the change, or start a new run."
        )
    for dataset, path in zip(record.datasets, files, strict=True):
        _refuse_changed_file(dataset, path)
    damaged = checkpoints.unreadable(folder / "checkpoints")
    for checkpoint, step in checkpoints.all_complete(folder / "checkpoints"):
        if checkpoints.is_whole(checkpoint):
            return ResumePoint(checkpoint, step, damaged)
        damaged.append(checkpoint)
    raise UserError(
        f"{folder}: there is no complete checkpoint to resume from"
        + (f" (damaged: {', '.join(x.name for x in damaged)})" if damaged else "")
        + ". Start a new run."
    )


def hold_identity(folder: Path, warn: Callable[[str, str], None], **now: str) -> None:
    """Writes down what a run begins with (`model`, `tokenizer`, `judge`), or holds a resumed one to it.

    Raises:
        UserError: its weights were trained on another model, or with another tokenizer.
    """
    path = folder / IDENTITY
    if not path.exists():
        write_atomically(path, json.dumps(now, indent=1) + "\n")
        return
    then = json.loads(path.read_text("utf-8"))
    for name in ("model", "tokenizer"):
        if then[name] != now[name]:
            raise UserError(
                f"{folder}: the {name} has changed since the run began; what was trained does not fit it. "
                f"Put the {name}'s files back as they were, or start a new run."
            )
    if then["judge"] != now["judge"]:
        warn(
            "judge",
            f"The run began with the judge {then['judge']} and goes on with {now['judge']}: risks of rows "
            "may have changed. Where that matters, start a new run.",
        )


def read_record(folder: Path) -> p.RunRecord:
    """What the run in `folder` is: UserError where there is none."""
    path = folder / "run.json"
    try:
        return p.RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{folder}: there is no run in this folder.") from None
    except (OSError, pydantic.ValidationError):
        raise UserError(
            f"{path}: cannot be read, so nothing can be done with this run. Start a new run."
        ) from None


def _refuse_changed_settings(folder: Path, before: RunConfig, now: RunConfig) -> None:
    """The weights were trained with the settings in run.json, whatever the configuration file says now."""
    old, new = (dict(_settings(config.model_dump(by_alias=True))) for config in (before, now))
    changed = [
        f"`{name}` (was {json.dumps(old.get(name))}, is {json.dumps(new.get(name))})"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name) and not name.startswith(FREE)
    ]
    if changed:
        raise UserError(
            f"{folder}: the configuration has changed since the run began: {', '.join(changed)}. "
            "Restore what was, or start a new run."
        )


def _settings(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting with its path, as in `training.epochs`."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _refuse_changed_file(before: p.DatasetRecord, path: Path) -> None:
    """The order of rows and their risks are part of a run: another dataset cannot continue it."""
    try:
        found = sha256_of(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}.") from None
    names = column_names(path)
    changed = path if found != before.sha256 else None
    if (names.as_json() if names else None) != before.names:
        changed = path.with_name(COLUMN_NAMES)
    if sorted(reviewed_hashes(path)) != before.reviewed:
        changed = reviewed_file(path)
    if changed:
        raise UserError(
            f"{changed}: the file has changed since the run began, so the run cannot be resumed. "
            "Undo the change, or start a new run."
        )
