"""A fine-tuning run from beginning to end: read, judge, measure, train, save, measure again.

Everything a watcher needs goes into the run folder; nothing here knows who watches.
"""

from __future__ import annotations

import json
import math
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from . import __version__, checkpoints
from . import protocol as p
from .config import AnchorConfig, EvaluationConfig, RunConfig
from .errors import Cancelled, UserError
from .files import write_atomically
from .judge import Work, configured_judge, load_reference, read_probe
from .prepare import PreparedRows, encode_rows, prepare, problem_rows, read_held_out, truncation
from .processes import Processes
from .resume import ResumePoint, hold_identity
from .rows import Dataset, read_dataset
from .run_folder import FollowedRun, Run, RunFolder
from .tokens import EncodedRow
from .trackers import check_trackers

if TYPE_CHECKING:
    from .canary import Canary
    from .model import Loaded

EXIT_CODES = {"completed": 0, "failed": 1, "stopped": 3, "cancelled": 3}
LIBRARIES = ("torch", "transformers", "peft", "accelerate", "onnxruntime", "tokenizers")
PROMPTS = Path(__file__).with_name("prompts")
REFERENCE_ROWS = 8  # that the reference is asked about at a time
ORDINARY_ROWS = 64  # of the dataset, which the safety tokens are told apart from
_CANNOT_WRITE = re.compile(r"I/O error|inline_container")
"""How safetensors and torch.save, which raise no OSError, say that the disk is full."""

_PROCESS_LOST = re.compile(r"\bgloo\b|\bNCCL\b|Connection closed by peer")
"""How the collectives of PyTorch say so."""


def train(
    config: RunConfig, config_path: Path, run: RunFolder, resume: ResumePoint | None, processes: Processes
) -> int:
    """Runs the configuration, read from `config_path`, in the run folder; returns the process's exit code.

    Whatever happens, the last event says how it ended.
    """
    try:
        processes.from_first(lambda: (run.folder, resume))
        status, message = _train(config, config_path, run, resume, processes)
        run.finish(status, message)
        processes.leave()
        return EXIT_CODES[status]
    except Cancelled:
        run.finish_as_told()
        return EXIT_CODES["cancelled"]
    except (UserError, OSError) as error:
        run.finish("failed", explain(error, run.folder))
        return EXIT_CODES["failed"]
    except BaseException as error:
        run.finish("failed", explain(error, run.folder))
        raise


def explain(error: BaseException, folder: Path) -> str:
    """What happened and what to do next, which depends on what has been saved."""
    saved = checkpoints.saved(folder)
    trained = saved.adapter and not saved.resumable
    then = f"measure the saved {saved.adapter} with `evaluate`" if trained else "start a new run"
    if saved.resumable:
        then = "resume"
    if isinstance(error, UserError):
        text = str(error)
    elif isinstance(error, OSError):
        text = f"{error.filename or folder}: {error.strerror}. Free some space or mend access, then {then}."
    elif _CANNOT_WRITE.search(str(error)):
        text = f"{folder}: a file cannot be written ({error}). Free some space or mend access, then {then}."
    elif _PROCESS_LOST.search(str(error)):
        text = f"Another process of the run failed or was lost; its messages are in the log. Then {then}."
    elif type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        # A run goes on with the `maxLength` that it began with; these two change nothing but memory.
        text = f"Out of memory. Lower `training.microBatchSize` or `evaluation.batchSize`, then {then}."
    else:
        text = f"{type(error).__name__}: {error}"
    return f"{text} All steps are trained and the {saved.adapter} is saved." if trained else text


def follow(config: RunConfig, config_path: Path, processes: Processes) -> int:
    """What a process that is not the first does in the same run."""
    folder, resume = processes.from_first(lambda: (Path(), None))
    _train(config, config_path, FollowedRun(folder), resume, processes)
    processes.leave()
    return 0


def _train(
    config: RunConfig, config_path: Path, run: Run, resume: ResumePoint | None, processes: Processes
) -> tuple[str, str]:
    base = config_path.resolve().parent
    dataset, held_out = processes.from_first(lambda: _begin(config, config_path, run, resume))
    run.phase("loading", f"Loading {config.model}")
    loaded = processes.first_before_others(lambda: load_reference(config, base, run))
    rows, aids = processes.from_first(lambda: _prepare(config, base, dataset, held_out, loaded, run))

    trainer = _trainer(config, base, run, loaded, rows, aids, processes)
    run.phase("training", f"Training on {len(rows.trained)} rows")
    processes.from_first(lambda: _announce(config, dataset, rows, run))
    trainer.train_within_budget(resume.checkpoint if resume else None)
    trainer.save_now()

    saving = "Saving the adapter" if config.lora else "Saving the model"
    processes.from_first(lambda: run.phase("saving", saving))  # where it may be paused
    weights = trainer.whole_weights()
    processes.from_first(lambda: _save_trained(config, trainer.model, weights, loaded.tokenizer, run))
    state, stopped = trainer.state, processes.from_first(lambda: run.stop_requested)
    if stopped and state.global_step < state.max_steps:
        return "stopped", f"Stopped after step {state.global_step} and saved."
    if config.evaluation.enabled:
        processes.from_first(lambda: _measure_after(config, base, trainer, loaded.tokenizer, rows, run))
    drift = f" {trainer.drift()}" if config.risk.features == "policy" else ""
    return "completed", f"Completed {state.global_step} steps.{drift}"


def _begin(
    config: RunConfig, config_path: Path, run: Run, resume: ResumePoint | None
) -> tuple[Dataset, Dataset | None]:
    base = config_path.resolve().parent
    check_trackers(config)
    dataset, held_out = read_dataset(base / config.dataset.path), read_held_out(config, base)
    if config.evaluation.at_checkpoints:
        check_prompts(config.evaluation, base)
    run.start(_record(config, config_path, [dataset, held_out]), resume.step if resume else 0)
    if resume:
        for checkpoint in resume.damaged:
            checkpoints.begin(checkpoint)  # counts no longer: neither to resume from nor as one to keep
            run.warn("checkpoint", f"{checkpoint.name} is damaged; going on from step {resume.step}.")
    return dataset, held_out


def _prepare(
    config: RunConfig, base: Path, dataset: Dataset, held_out: Dataset | None, loaded: Loaded, run: Run
) -> tuple[PreparedRows, Aids]:
    """Everything that the reference and the judge are asked before training."""
    judge = configured_judge(config, base, lambda: loaded, run)
    identity = {"model": loaded.fingerprint, "tokenizer": loaded.tokenizer_digest, "judge": judge.judge_id}
    hold_identity(run.folder, run.warn, **identity)
    rows = prepare(config, dataset, held_out, loaded.tokenizer, judge, run)
    aids = _aids(config, base, loaded, rows, run)._replace(canary=_canary(config, base, loaded, run))
    if config.evaluation.enabled:
        _measure("before", config, base, loaded.model, loaded.tokenizer, rows.held_out, run)
    return rows, aids


# --- training -----------------------------------------------------------------------------------------


class Aids(NamedTuple):
    """What a method takes along beside the dataset's rows, made with the reference before training."""

    anchors: Sequence[EncodedRow] = ()
    safety_tokens: Sequence[int] = ()
    canary: Canary | None = None


def _aids(config: RunConfig, base: Path, loaded: Loaded, rows: PreparedRows, run: Run) -> Aids:
    """Made once per run: a resumed one reads them from its folder."""
    if not config.anchors and not config.safety_tokens:
        return Aids()
    from .anchors import anchor_prompts, compliances, refusals
    from .risk.refusal import is_refusal
    from .safety_tokens import SafetyToken, choose_safety_tokens

    run.phase("anchors", "Asking the reference for its answers")
    kept = run.folder / "anchors.jsonl"
    if not kept.exists():
        prompts = anchor_prompts(config.anchors or AnchorConfig(), base)
        asking = {"check": run.check, "progress": run.progress("anchors", "prompts")}
        found = refusals(prompts, loaded, **asking)
        if config.anchors and config.method != "mix-safety":
            found += compliances(loaded, **asking)
        _write_json_lines(kept, ({"messages": [m._asdict() for m in turns]} for turns in found))
    anchors, _ = encode_rows(read_dataset(kept).rows, loaded.tokenizer, config.training.max_length)
    if not config.safety_tokens:
        return Aids(anchors)
    listed = run.folder / "safety_tokens.json"
    if not listed.exists():
        refused = [e for e in anchors if is_refusal(e.row.messages[-1].content)]
        ordinary = [e for e, risk in rows.trained if risk < config.risk.threshold][:ORDINARY_ROWS]
        chosen = choose_safety_tokens(
            config.safety_tokens, loaded.model, loaded.tokenizer, refused, ordinary, check=run.check
        )
        text = json.dumps([token._asdict() for token in chosen], indent=1, ensure_ascii=False)
        write_atomically(listed, text + "\n")
    tokens = [SafetyToken(**token) for token in json.loads(listed.read_text("utf-8"))]
    return Aids(anchors if config.anchors else (), [token.id for token in tokens])


def _canary(config: RunConfig, base: Path, loaded: Loaded, run: Run) -> Canary | None:
    if not config.canary:
        return None
    from .canary import PROMPTS as N_PROMPTS
    from .canary import make_canary
    from .evaluate import read_prompts

    run.phase("anchors", "Asking the reference for its refusals")
    prompts = read_prompts(prompt_files(config.evaluation, base)["harmful"])
    asking = {"check": run.check, "progress": run.progress("anchors", "prompts")}
    canary = make_canary(prompts, loaded, **asking)
    if not canary:
        run.warn(
            "canary",
            f"The model refuses too few of the held-out harmful prompts ({N_PROMPTS} are needed): there is "
            "no canary to watch its refusals by while it trains.",
        )
    return canary


def _trainer(
    config: RunConfig,
    base: Path,
    run: Run,
    loaded: Loaded,
    rows: PreparedRows,
    aids: Aids,
    processes: Processes,
) -> Any:
    from transformers import set_seed

    from .collate import TrainingRow
    from .model import with_new_adapter
    from .objective import Objective
    from .trainer import SafeTrainer

    set_seed(config.training.seed)
    model: Any = loaded.model
    if config.lora:
        model = with_new_adapter(loaded.model, config.lora)
    training_rows = [TrainingRow(encoded, risk) for encoded, risk in rows.trained]
    objective = Objective(
        config,
        model,
        training_rows,
        aids.anchors,
        aids.safety_tokens,
        fingerprint=loaded.fingerprint,
        warn=run.warn,
        probe=read_probe(config, base, loaded) if config.risk.features == "policy" else None,
    )
    if config.lora is None:
        run.phase("anchors", "Asking the reference about the rows")
    progress = run.progress("anchors", "rows")
    processes.first_before_others(
        lambda: objective.ask_reference(loaded.tokenizer.pad_token_id, REFERENCE_ROWS, progress)
    )

    def measure(model: Any, name: str, *, check: Any, progress: Any) -> p.EvaluationMetrics:
        metrics, answers = evaluate_model(
            model, loaded.tokenizer, rows.held_out, config, base, check=check, progress=progress
        )
        if processes.first:
            _keep_measurement(run, name, metrics, answers)
        return metrics

    return SafeTrainer(config, run, model, loaded.tokenizer, objective, processes, aids.canary, measure)


def _announce(config: RunConfig, dataset: Dataset, rows: PreparedRows, run: Run) -> None:
    steps_per_epoch = math.ceil(len(rows.trained) / config.training.batch_size)
    run.emit(
        p.DatasetRead,
        rows=len(dataset.rows),
        trained=len(rows.trained),
        held_out=len(rows.held_out),
        flagged=sum(r.risk >= config.risk.threshold for r in rows.risks),
        refusals=sum(r.refusal for r in rows.risks),
        reviewed=sum(row.reviewed for row in dataset.rows),
        unscored=sum(r.unscored for r in rows.risks),
        filtered=rows.filtered,
        invalid=problem_rows(dataset.problems),
        truncated=[truncation(e, config.training.max_length) for e in rows.truncated],
        unsupervised=rows.unsupervised,
        total_steps=config.training.max_steps or math.ceil(steps_per_epoch * config.training.epochs),
    )


def _save_trained(
    config: RunConfig, model: Any, weights: dict[str, Any] | None, tokenizer: Any, run: Run
) -> None:
    """Saves the adapter, or without one the whole model; `weights` where the model has but a shard."""
    name = checkpoints.ADAPTER if config.lora else checkpoints.MODEL
    beside, target = run.folder / f".{name}.tmp", run.folder / name
    shutil.rmtree(beside, ignore_errors=True)
    model.save_pretrained(beside, state_dict=weights)
    if not config.lora:
        tokenizer.save_pretrained(beside)
    shutil.rmtree(target, ignore_errors=True)
    beside.rename(target)


def _write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


# --- measuring ----------------------------------------------------------------------------------------


def _measure(
    which: str,
    config: RunConfig,
    base: Path,
    model: Any,
    tokenizer: Any,
    held_out: list[EncodedRow],
    run: Run,
) -> None:
    """Evaluates once per run: a resumed run keeps the measurement of the reference."""
    result = run.folder / "evaluation" / f"{which}.json"
    if which == "before" and result.exists():
        return
    phase: p.Phase = "evaluating-before" if which == "before" else "evaluating-after"
    run.phase(phase, "Measuring the reference" if which == "before" else "Measuring the fine-tuned model")
    began = time.monotonic()
    metrics, answers = evaluate_model(
        model, tokenizer, held_out, config, base, check=run.check, progress=run.progress(phase, "prompts")
    )
    _keep_measurement(run, which, metrics, answers)
    run.emit(p.Evaluated, model=which, metrics=metrics, seconds=time.monotonic() - began)


def _keep_measurement(
    run: Run, name: str, metrics: p.EvaluationMetrics, answers: list[dict[str, Any]]
) -> None:
    folder = run.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    write_atomically(folder / f"{name}.json", metrics.model_dump_json(by_alias=True, indent=2) + "\n")
    _write_json_lines(folder / f"answers-{name}.jsonl", answers)


def _measure_after(
    config: RunConfig, base: Path, trainer: Any, tokenizer: Any, rows: PreparedRows, run: Run
) -> None:
    model = trainer.model
    if trainer.is_fsdp_enabled:  # this process has but a shard of it
        model = load_trained(config, base, run.folder)[0]
    _measure("after", config, base, model, tokenizer, rows.held_out, run)


def evaluate_config(
    config: RunConfig, base: Path, adapter: Path | None
) -> tuple[p.EvaluationMetrics, list[dict[str, Any]]]:
    """Measures the configuration's reference, or an adapter on top of it, outside any run."""
    model, loaded = load_with_adapter(config, base, adapter)
    dataset = read_held_out(config, base)
    rows = dataset.rows if dataset else []
    held_out = encode_rows(rows, loaded.tokenizer, config.training.max_length)[0]
    return evaluate_model(
        model, loaded.tokenizer, held_out, config, base, check=lambda: None, progress=lambda *_: None
    )


def load_with_adapter(
    config: RunConfig, base: Path, adapter: Path | None, work: Work | None = None
) -> tuple[Any, Loaded]:
    """The configuration's model, with an adapter folder on top of it if one is given; or the whole model that
    a run without an adapter has saved.

    Raises:
        UserError: the model cannot be loaded, or the adapter is not one, is damaged, or is of another model.
    """
    if adapter and adapter.name == checkpoints.MODEL and (adapter / "config.json").is_file():
        config, adapter = config.model_copy(update={"model": str(adapter.absolute())}), None
    loaded = load_reference(config, base, work)
    if not adapter:
        return loaded.model, loaded
    from peft import PeftModel
    from safetensors import SafetensorError

    if not (adapter / "adapter_config.json").is_file():
        raise UserError(
            f"{adapter}: not an adapter folder (no adapter_config.json). Give a run's `adapter` folder."
        )
    try:
        return PeftModel.from_pretrained(loaded.model, str(adapter)), loaded  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{adapter}: does not fit `{config.model}` or is damaged: {reason} "
            "Give the adapter of a run on this model."
        ) from None


def load_trained(config: RunConfig, base: Path, run: Path, work: Work | None = None) -> tuple[Any, Loaded]:
    """The model that a run of this configuration has made: errors as in `load_with_adapter`."""
    trained = run / (checkpoints.ADAPTER if config.lora else checkpoints.MODEL)
    return load_with_adapter(config, base, trained, work)


def prompt_files(evaluation: EvaluationConfig, base: Path) -> dict[str, Path]:
    """The files of the harmful and of the benign prompts: the user's, or those that ship."""
    own = {"harmful": evaluation.harmful_prompts, "benign": evaluation.benign_prompts}
    return {name: base / path if path else PROMPTS / f"{name}.jsonl" for name, path in own.items()}


def check_prompts(evaluation: EvaluationConfig, base: Path) -> None:
    """UserError or LocatedError where the prompts cannot be read: now, and not when they are needed."""
    from .evaluate import read_prompts

    for path in prompt_files(evaluation, base).values():
        read_prompts(path)


def evaluate_model(
    model: Any,
    tokenizer: Any,
    held_out: list[EncodedRow],
    config: RunConfig,
    base: Path,
    *,
    check: Callable[[], None],
    progress: Callable[[int, int], None],
) -> tuple[p.EvaluationMetrics, list[dict[str, Any]]]:
    """Attack success, over-refusal, degeneracy and held-out loss, and the answers they rest on."""
    from .evaluate import generate_answers, judge_answers, mean_estimate, read_prompts, row_losses

    evaluation = config.evaluation
    sets = {name: read_prompts(path) for name, path in prompt_files(evaluation, base).items()}
    prompts = sets["harmful"] + sets["benign"]
    answers = generate_answers(
        model,
        tokenizer,
        prompts,
        max_new_tokens=evaluation.max_new_tokens,
        batch_size=evaluation.batch_size,
        check=check,
        progress=progress,
    )
    split = len(sets["harmful"])
    judged = judge_answers(answers[:split], answers[split:])
    losses = row_losses(model, held_out, tokenizer, batch_size=8, progress=lambda *_: check())
    records = [
        {"set": "harmful" if i < split else "benign", "prompt": prompt, "answer": answer}
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]
    return p.EvaluationMetrics(**judged._asdict(), held_out_loss=mean_estimate(losses)), records


# --- the run's record ---------------------------------------------------------------------------------


def _record(config: RunConfig, config_path: Path, datasets: list[Dataset | None]) -> dict[str, Any]:
    return {
        "config_path": str(config_path.resolve()),
        "config": config,
        "datasets": dataset_records(datasets),
        "versions": library_versions(),
    }


def dataset_records(datasets: Iterable[Dataset | None]) -> list[p.DatasetRecord]:
    """The files of the datasets, as run.json names them."""
    return [
        p.DatasetRecord(
            path=str(file.path.resolve()),
            sha256=file.sha256,
            rows=file.n_rows,
            names=file.names.as_json() if file.names else None,
            reviewed=sorted(file.reviewed),
        )
        for dataset in datasets
        if dataset
        for file in dataset.files
    ]


def library_versions() -> dict[str, str]:
    versions = {"safe-finetuning": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):  # a user's own script may do without one
            versions[name] = version(name)
    return versions
