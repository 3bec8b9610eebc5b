"""Would this configuration run? One line per check, and for each failure what to do next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import protocol as p
from .cache import cache_folder
from .config import RunConfig
from .config_file import read_config
from .errors import LocatedError, UserError
from .prepare import HELD_OUT_ADVICE, describe_problems, encode_rows, problem_rows, truncation
from .rows import Dataset, read_dataset
from .trackers import check_trackers, leaving
from .train import check_prompts

BYTES_OF_A_WEIGHT = 4  # trained weights are fp32
BYTES_OF_AN_OUTCOME = 8  # of a token's distribution: the token and its probability
OTHER_BYTES = 100_000_000  # events, tokenizer files


def preflight(config_path: Path, runs_folder: Path | None = None) -> p.PreflightReport:
    """All checks that can be made without loading weights. A check that rests on a failed one is left out.

    `runs_folder` is where the run's folder will be made; by default beside the configuration.
    """
    report = p.PreflightReport(checks=[], problems=[])
    found = look_at(config_path, report)
    if found is None:
        return report
    config, model, dataset, tokens = found.config, found.model, found.dataset, None
    if config.training.report_to:
        attempt(report, "trackers", "Trackers", lambda: _trackers(config))
    if model is not None and dataset is not None:
        tokens = attempt(
            report, "rows", "Trained tokens", lambda: _rows(config, dataset, model.tokenizer, report)
        )
    n_trained = model.n_trained if model is not None else 0
    attempt(
        report, "disk", "Disk space", lambda: _disk(config, runs_folder or found.base, n_trained, tokens or 0)
    )
    return report


class Found(NamedTuple):
    """What a configuration names, as far as it is there."""

    config: RunConfig
    base: Path
    has_device: bool
    model: CheckedModel | None
    dataset: Dataset | None


def look_at(config_path: Path, report: p.PreflightReport, *, local_only: bool = False) -> Found | None:
    """The configuration, its device, its model without weights and its dataset, a check of `report` each;
    None where the configuration cannot be read. With `local_only` nothing is downloaded."""
    config = attempt(report, "configuration", "Configuration", lambda: _configuration(config_path))
    if config is None:
        return None
    if config.risk.server:
        report.endpoint = config.risk.server.origin
    base = config_path.resolve().parent
    device = attempt(report, "device", "Device", lambda: _device(config, base))
    model = attempt(report, "model", "Model", lambda: _model(config, base, local_only))
    dataset = attempt(report, "dataset", "Dataset", lambda: _dataset(config, base, report))
    return Found(config, base, device is not None, model, dataset)


def attempt(
    report: p.PreflightReport, id_: Any, title: str, check: Callable[[], tuple[Any, str, str]]
) -> Any:
    """Runs a check that returns (value, status, message); its value, or None where it failed."""
    place: dict[str, Any] = {}
    try:
        value, status, message = check()
    except LocatedError as error:
        value, status, message = None, "error", error.message
        place = {"file": error.file, "line": error.line, "column": error.column}
    except UserError as error:
        value, status, message = None, "error", str(error)
    report.checks.append(p.Check(id=id_, title=title, status=status, message=message, **place))  # type: ignore[arg-type]
    return value


def _configuration(path: Path) -> tuple[RunConfig, str, str]:
    from .risk.guards import family_of

    config = read_config(path)
    risk = config.risk
    if risk.source == "critic" and risk.judge == "guard" and risk.guard:
        family_of(risk.guard)
    if risk.server:
        where = risk.server.origin
        return config, "warning", f"method `{config.method}`; rows are sent to {where} to be judged"
    return config, "ok", f"method `{config.method}`"


def _device(config: RunConfig, base: Path) -> tuple[bool, str, str]:
    from .model import check_four_bits, resolve_device
    from .processes import launch_command

    device = resolve_device(config.device)
    launch_command(config, base, [])
    if config.quantisation == "4bit":
        check_four_bits(device)
    several = f", {config.processes} processes" if config.processes > 1 else ""
    slow = " Training on the CPU is slow; use a small model." if device.type == "cpu" else ""
    return True, "ok", f"{device.type}{several}.{slow}"


def _trackers(config: RunConfig) -> tuple[bool, str, str]:
    check_trackers(config)
    names, away = ", ".join(config.training.report_to), leaving(config)
    return (
        True,
        "warning" if away else "ok",
        f"{names}: {away}" if away else f"{names}; nothing leaves this machine",
    )


class CheckedModel(NamedTuple):
    tokenizer: Any
    n_trained: int
    """Weights that the run trains."""
    n_all: int
    """Those of the model itself."""
    outline: Any
    """The model without weights, with what is trained."""


def _model(config: RunConfig, base: Path, local_only: bool) -> tuple[CheckedModel, str, str]:
    from .model import load_outline, load_tokenizer, require_local, with_new_adapter
    from .safety_tokens import single_tokens

    if local_only:
        require_local(config.model, base_folder=base)
    tokenizer = load_tokenizer(config.model, base_folder=base)
    if config.safety_tokens:
        single_tokens(config.safety_tokens, tokenizer)
    model: Any = load_outline(config.model, base_folder=base)
    n_all = model.num_parameters()
    if config.lora:
        model = with_new_adapter(model, config.lora)
    n_trained = sum(x.numel() for x in model.parameters() if x.requires_grad)
    message = f"`{config.model}`, with a chat template; {_counted(n_trained)} weights are trained"
    if config.lora:
        message += f" beside its own {_counted(n_all)}"
    return CheckedModel(tokenizer, n_trained, n_all, model), "ok", message


def _counted(weights: int) -> str:
    if weights < 1e6:
        return f"{weights:,}"
    return f"{weights / 1e6:,.0f} M" if weights >= 1e7 else f"{weights / 1e6:.1f} M"


def _dataset(config: RunConfig, base: Path, report: p.PreflightReport) -> tuple[Dataset, str, str]:
    from .anchors import anchor_prompts
    from .risk.probe import TRAIN_A_PROBE

    dataset = read_dataset(base / config.dataset.path)
    report.problems += problem_rows(dataset.problems)
    if dataset.problems and config.dataset.invalid_rows == "error":
        raise _problems_of(dataset, describe_problems(dataset))
    if not dataset.rows:
        raise UserError(f"{dataset.path}: no row can be read.")
    report.judged_rows = sum(not row.reviewed for row in dataset.rows)
    if config.dataset.held_out_path:
        held_out = read_dataset(base / config.dataset.held_out_path)
        if held_out.problems:
            raise _problems_of(held_out, describe_problems(held_out, HELD_OUT_ADVICE))
    if config.evaluation.enabled or config.evaluation.at_checkpoints:
        check_prompts(config.evaluation, base)
    if config.anchors:
        anchor_prompts(config.anchors, base)
    if config.risk.probe and not (base / config.risk.probe).is_file():
        raise UserError(f"{base / config.risk.probe}: there is no such probe. {TRAIN_A_PROBE}")
    skipped = f"; {len(dataset.problems)} unreadable rows will be skipped" if dataset.problems else ""
    files = f" in {len(dataset.files)} files" if len(dataset.files) > 1 else ""
    return dataset, "warning" if skipped else "ok", f"{len(dataset.rows)} rows{files}{skipped}"


def _problems_of(dataset: Dataset, message: str) -> LocatedError:
    first = dataset.problems[0]
    return LocatedError(message, str(dataset.path_of(first)), first.line, first.column)


def _rows(
    config: RunConfig, dataset: Dataset, tokenizer: Any, report: p.PreflightReport
) -> tuple[int, str, str]:
    limit = config.training.max_length
    encoded, unsupervised = encode_rows(dataset.rows, tokenizer, limit)
    truncated = [truncation(e, limit) for e in encoded if e.truncated]
    report.problems += [*unsupervised, *truncated]
    if not encoded:
        raise UserError(f"No row has a token to train on: {unsupervised[0].reason}.")
    tokens = sum(e.n_supervised for e in encoded)
    parts = [f"{tokens:,} trained tokens in {len(encoded)} rows"]
    if truncated:
        parts.append(f"{len(truncated)} rows are longer than {limit} tokens and will be cut")
    if unsupervised:
        parts.append(f"{len(unsupervised)} rows have no trained token and will be left out")
    return tokens, "warning" if truncated or unsupervised else "ok", "; ".join(parts) + "."


def _bytes_written(config: RunConfig, n_trained: int) -> int:
    """What a run puts on the disk at most: checkpoints (weights and Adam's two moments), one of them being
    written while the others are kept, and what was trained."""
    checkpoints = 3 * (config.checkpoints.keep + 1 + config.rolls_back)
    return (checkpoints + 1) * n_trained * BYTES_OF_A_WEIGHT + OTHER_BYTES


def _bytes_cached(config: RunConfig, n_tokens: int) -> int:
    """What the reference's answers take where it is asked about every row; of risky ones nobody knows yet."""
    from .losses import TOP_K

    holds_all = config.method in ("kl", "constrained") or config.regularisation.beta_min > 0
    asks_all = holds_all or config.safety_tokens or config.lora is None
    cached = config.regularisation.reference == "cached"
    return n_tokens * TOP_K * BYTES_OF_AN_OUTCOME if asks_all and cached else 0


def _disk(config: RunConfig, runs_folder: Path, n_trained: int, n_tokens: int) -> tuple[bool, str, str]:
    """The folders themselves need not exist yet, but it must be possible to make that of the runs."""
    there = _existing(runs_folder)
    if there is None or not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = f"{there} is not a folder that can be written to" if there else "this drive is not there"
        raise UserError(
            f"{runs_folder}: runs cannot be kept here: {reason}. "
            "Mend access, or set `safeFinetuning.runs.folder` to another folder."
        )
    free, needed = shutil.disk_usage(there).free, _bytes_written(config, n_trained)
    if free < needed:
        raise UserError(
            f"{runs_folder}: only {free / 1e9:.1f} GB are free; this run needs up to {needed / 1e9:.1f} GB "
            "for checkpoints and what it trains. Free some space, set `safeFinetuning.runs.folder` to "
            "another disk, or lower `checkpoints.keep`."
        )
    enough = f"{free / 1e9:.0f} GB free; the run needs up to {needed / 1e9:.1f} GB"
    return _cache_room(config, enough, _bytes_cached(config, n_tokens))


def _cache_room(config: RunConfig, enough: str, needed: int) -> tuple[bool, str, str]:
    """Is there room for what the reference says?"""
    store = _existing(cache_folder())
    free = shutil.disk_usage(store).free if store else 0
    if free >= needed:
        return (
            True,
            "ok",
            enough + (f", and {needed / 1e9:.1f} GB in {cache_folder()}" if needed > 1e8 else ""),
        )
    lack = (
        f"{cache_folder()}: only {free / 1e9:.1f} GB are free; the reference's answers take up to "
        f"{needed / 1e9:.1f} GB"
    )
    if config.lora is None:
        raise UserError(f"{lack}, and without an adapter they must be kept. Free some space there.")
    return True, "warning", f"{enough}. {lack}; what does not fit is asked anew, which takes longer."


def _existing(path: Path) -> Path | None:
    """The folder, or the one nearest above it that is there."""
    return next((x for x in (path, *path.absolute().parents) if os.path.exists(x)), None)
