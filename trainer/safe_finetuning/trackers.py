"""Trackers that a run reports to besides its folder, by Transformers' own integrations."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .config import RunConfig
from .errors import UserError

PROJECT = "safe-finetuning"
REPORTED = (
    *("nll", "kl", "anchors", "safety_tokens", "canary", "tokens_per_second"),
    *("risk_mean", "risk_max", "beta_mean", "beta_max"),
)
"""What of a `batch` event they are given, beside Trainer's own loss, learning rate and gradient norm."""


def check_trackers(config: RunConfig) -> None:
    """Raises UserError where the package of a tracker is missing."""
    missing = [name for name in config.training.report_to if find_spec(name) is None]
    if missing:
        raise UserError(
            f"`training.reportTo`: {', '.join(missing)} is not installed. Install it with "
            f"`python -m pip install {' '.join(missing)}` where the trainer runs, or leave it out."
        )


def leaving(config: RunConfig) -> str | None:
    """What the trackers send away, in a sentence; None where all stays here."""
    named, environ = config.training.report_to, os.environ
    where = []
    if "wandb" in named and environ.get("WANDB_MODE") not in ("offline", "disabled", "dryrun"):
        where.append(
            f"{environ.get('WANDB_BASE_URL', 'https://api.wandb.ai')} (WANDB_MODE=offline keeps it here)"
        )
    space = environ.get("TRACKIO_SPACE_ID") or environ.get("TRACKIO_SERVER_URL")
    if "trackio" in named and space:
        where.append(space)
    if not where:
        return None
    what = "the run's figures, its settings and what the trainer prints, but no rows"
    return f"{what}, are sent to {' and '.join(where)}"


def reported(step: dict[str, Any]) -> dict[str, float]:
    """The scalars of a `batch` event."""
    return {name: step[name] for name in REPORTED if step[name] is not None}


def place_tracking(callbacks: list[Any], run: Path) -> None:
    """TensorBoard's files go into the run's folder, unless the environment names another one."""
    from transformers.integrations import TensorBoardCallback

    os.environ.setdefault("WANDB_PROJECT", PROJECT)
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(run / "tensorboard")
