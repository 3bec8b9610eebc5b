"""The command line, which is also what the extension starts.

Exit codes: 0 done; 1 failed; 2 wrong arguments or configuration; 3 stopped or cancelled;
4 `score --check` found something.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# Libraries must not report usage anywhere, and tokenizers must not fork themselves into a warning.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from . import __version__
from . import protocol as p
from .config import RiskConfig
from .errors import LocatedError, UserError

EXIT_FOUND = 4


def main(arguments: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # not every console knows a β
    warnings.simplefilter("ignore", FutureWarning)  # of libraries among each other; not the user's to act on
    parser = _parser()
    options = parser.parse_args(arguments)
    options.arguments = sys.argv[1:] if arguments is None else arguments
    if getattr(options, "resume", False) and not options.run_folder:
        parser.error("--resume needs --run-folder: which run is to go on?")
    try:
        return options.run(options)
    except LocatedError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m safe_finetuning", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="run a configuration (*.finetune.json)")
    train.add_argument("config", type=Path)
    train.add_argument(
        "--run-folder", type=Path, help="default: .safe-finetuning/runs/<time> beside the configuration"
    )
    train.add_argument("--resume", action="store_true", help="go on from the run folder's last checkpoint")
    train.set_defaults(run=_train)

    score = commands.add_parser("score", help="the risk of each row of a dataset")
    score.add_argument(
        "dataset",
        type=Path,
        help="a file, a folder of files, or a pattern in quotes; or a configuration (*.finetune.json), whose "
        "dataset is judged by the judge that it names",
    )
    score.add_argument(
        "--threshold",
        type=_risk,
        help=f"flag from this risk (default {RiskConfig().threshold}, or the configuration's)",
    )
    score.add_argument("--format", choices=["text", "json", "csv", "sarif"], default="text")
    score.add_argument(
        "--check",
        action="store_true",
        help=f"exit with {EXIT_FOUND} when a row is at or above the threshold, unscored or unreadable",
    )
    score.add_argument(
        "--export-probe",
        action="store_true",
        help="where the judge is a probe, write it as ONNX into the cache, for the editor to go on with",
    )
    score.set_defaults(run=_score)

    evaluate = commands.add_parser(
        "evaluate", help="attack success, over-refusal and held-out loss of a model"
    )
    evaluate.add_argument("config", type=Path, help="whose model, prompts and held-out rows are used")
    evaluate.add_argument(
        "--adapter", type=Path, help="a run's `adapter` or `model` folder; without it, the reference"
    )
    evaluate.add_argument(
        "--harmful", type=Path, help="JSON Lines of prompts, instead of the configuration's"
    )
    evaluate.add_argument("--benign", type=Path, help="the same, of harmless prompts")
    evaluate.add_argument("--format", choices=["text", "json"], default="text")
    evaluate.add_argument(
        "--inspect-log",
        type=Path,
        help="write prompts, answers and scores as a log of Inspect, too: a file that ends with .json or the "
        "folder of its logs",
    )
    evaluate.set_defaults(run=_evaluate)

    export = commands.add_parser("export", help="a run's adapter merged into its model, for others to load")
    export.add_argument("run_folder", type=Path)
    export.add_argument(
        "--output", type=Path, required=True, help="a new folder, or a *.gguf file (needs llama.cpp)"
    )
    export.set_defaults(run=_export)

    probe = commands.add_parser(
        "probe", help="train an activation-based risk predictor for a configuration's model"
    )
    probe.add_argument("config", type=Path, help="whose model the probe is for")
    probe.add_argument(
        "--labelled",
        type=Path,
        help='JSON Lines of {"prompt": "…", "harmful": true}; default: prompts that ship with the trainer',
    )
    probe.add_argument(
        "--kind", choices=["layer", "pooled", "released-code"], default="layer", help="default: %(default)s"
    )
    probe.add_argument("--output", type=Path, help="default: probe.safetensors beside the configuration")
    probe.set_defaults(run=_probe)

    chat = commands.add_parser(
        "chat",
        help="a run's safe reference and its fine-tuned model answer side by side: requests and replies are "
        "JSON Lines (see docs/try.md)",
    )
    chat.add_argument("run_folder", type=Path)
    chat.set_defaults(run=_chat)

    anchoring = commands.add_parser(
        "anchoring",
        help="the rows of a dataset that a model takes for harmful answers, however harmless they look",
    )
    anchoring.add_argument("config", type=Path, help="whose model and dataset are used")
    anchoring.add_argument("--format", choices=["text", "json"], default="text")
    anchoring.set_defaults(run=_anchoring)

    split = commands.add_parser("split-rows", help="rows of a Parquet file written to two new files")
    split.add_argument("dataset", type=Path)
    split.add_argument(
        "--rows",
        type=Path,
        required=True,
        help="of the rows to take out: lines of a number from 1 and a content hash",
    )
    split.add_argument("--taken", type=Path, required=True, help="a new file for them")
    split.add_argument("--rest", type=Path, required=True, help="a new file for the others")
    split.add_argument("--behind", type=Path, help="a Parquet file whose rows come first in --taken")
    split.set_defaults(run=_split_rows)

    preflight = commands.add_parser("preflight", help="would this configuration run? One line per check")
    preflight.add_argument("config", type=Path)
    preflight.add_argument(
        "--runs-folder", type=Path, help="where the run will be kept; default: beside the configuration"
    )
    preflight.add_argument("--format", choices=["text", "json"], default="text")
    preflight.set_defaults(run=_preflight)

    preview = commands.add_parser(
        "preview",
        help="which tokens of a configuration's rows are trained, and what the run will cost, as JSON",
    )
    preview.add_argument("config", type=Path)
    preview.add_argument("--rows", type=_count, default=5, help="so many of the first rows (%(default)s)")
    preview.add_argument(
        "--row",
        action="append",
        default=[],
        help="a row by its line or its content hash, instead of the first",
    )
    preview.add_argument(
        "--measure", action="store_true", help="time a few steps of the model, instead of estimating"
    )
    preview.set_defaults(run=_preview)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is no count: give a whole number from 0 on")
    return int(text)


def _risk(text: str) -> float:
    risk = float(text)
    if not 0 <= risk <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no risk: give a number from 0 to 1")
    return risk


def _train(options: argparse.Namespace) -> int:
    from .config_file import read_config
    from .processes import join_processes, launch_command, launch_environment
    from .resume import resume_point
    from .run_folder import RunFolder, claim, create_run_folder

    config = read_config(options.config)  # before a folder is made for a run that cannot start
    command = launch_command(config, options.config.resolve().parent, options.arguments)
    if command:
        if os.name == "nt":
            raise UserError("`processes` and `accelerateConfig` need Linux or macOS. Leave them out.")
        os.execve(command[0], command, launch_environment(config))
    processes = join_processes(config)
    if not processes.first:
        from .train import follow

        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process says what it means for all
        return follow(config, options.config, processes)
    folder = options.run_folder or create_run_folder(options.config.resolve().parent, config.method)
    with claim(folder, resume=options.resume):
        point = resume_point(folder, config, options.config.resolve().parent) if options.resume else None
        console = Console()
        run = RunFolder(folder, listener=console)
        alone = processes.count == 1
        signal.signal(signal.SIGTERM, lambda *_: run.request("cancel") if alone else run.fail_from_outside())
        signal.signal(signal.SIGINT, lambda *_: run.request("cancel" if run.stop_requested else "stop"))
        console.print(f"run folder: {folder}")

        from .train import train

        return train(config, options.config, run, point, processes)


def _score(options: argparse.Namespace) -> int:
    from .score import FORMATS, flagged, score_configured, score_dataset

    if options.dataset.name.endswith(".finetune.json"):
        report = score_configured(options.dataset, options.threshold, Stderr(), options.export_probe)
    else:
        threshold = RiskConfig().threshold if options.threshold is None else options.threshold
        report = score_dataset(options.dataset, threshold)
    print(FORMATS[options.format](report))
    found = flagged(report) or report.invalid
    return EXIT_FOUND if options.check and found else 0


def _evaluate(options: argparse.Namespace) -> int:
    from .config_file import read_config
    from .inspect_log import inspect_log, log_file, write_inspect_log
    from .train import evaluate_config

    began = datetime.now(UTC)
    log = log_file(options.inspect_log, began) if options.inspect_log else None
    config = read_config(options.config)
    given = {"harmful_prompts": options.harmful, "benign_prompts": options.benign}
    prompts = {name: str(path.absolute()) for name, path in given.items() if path}
    evaluation = config.evaluation.model_copy(update=prompts)
    config = config.model_copy(update={"evaluation": evaluation})
    metrics, answers = evaluate_config(config, options.config.resolve().parent, options.adapter)
    if options.format == "json":
        print(metrics.model_dump_json(by_alias=True))
    else:
        for line in metrics_lines(metrics):
            print(line)
    if log:
        write_inspect_log(log, inspect_log(config, options.adapter, metrics, answers, began))
    return 0


def _export(options: argparse.Namespace) -> int:
    from .export import export_merged

    print(f"saved: {export_merged(options.run_folder, options.output)}")
    return 0


def _probe(options: argparse.Namespace) -> int:
    from .config_file import read_config
    from .probing import make_probe

    base = options.config.resolve().parent
    output = options.output or base / "probe.safetensors"
    print(make_probe(read_config(options.config), base, options.labelled, options.kind, output))
    print(f"saved: {output}")
    return 0


def _chat(options: argparse.Namespace) -> int:
    from .chat import chat

    return chat(options.run_folder)


def _anchoring(options: argparse.Namespace) -> int:
    from .score import ANCHORING_FORMATS, score_anchoring

    print(ANCHORING_FORMATS[options.format](score_anchoring(options.config, Stderr())))
    return 0


def _split_rows(options: argparse.Namespace) -> int:
    from .parquet_rows import read_taken, split_rows

    taken = read_taken(options.rows)
    split_rows(options.dataset, taken, options.rest, options.taken, options.behind)
    return 0


def _preflight(options: argparse.Namespace) -> int:
    from .preflight import preflight

    report = preflight(options.config, options.runs_folder)
    if options.format == "json":
        print(report.model_dump_json(by_alias=True))
    else:
        marks = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}
        for check in report.checks:
            print(f"{marks[check.status]}  {check.title}: {check.message}")
    return 1 if any(check.status == "error" for check in report.checks) else 0


def _preview(options: argparse.Namespace) -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is loaded: a preview downloads nothing

    from .preview import preview

    report = preview(options.config, options.rows, options.row, Stderr() if options.measure else None)
    print(report.model_dump_json(by_alias=True))
    return 1 if any(check.status == "error" for check in report.checks) else 0


def metrics_lines(metrics: p.EvaluationMetrics) -> list[str]:
    rows: list[tuple[str, Any]] = [
        ("attack success", metrics.attack_success),
        ("over-refusal", metrics.over_refusal),
        ("degenerate", metrics.degenerate),
    ]
    lines = [
        f"  {name:<15} {m.value:6.1%}  [{m.low:.1%}, {m.high:.1%}]  {m.count} of {m.n}" for name, m in rows
    ]
    loss = metrics.held_out_loss
    if loss.value is not None:
        spread = (
            f"[{loss.low:.3f}, {loss.high:.3f}]" if loss.low is not None and loss.high is not None else ""
        )
        lines.append(f"  {'held-out loss':<15} {loss.value:6.3f}  {spread}  {loss.n} rows")
    return lines


class Stderr:
    """Tells of long work beside what is printed, a line each; ends with the process."""

    def phase(self, phase: p.Phase, message: str) -> None:
        print(f"{message} …", file=sys.stderr, flush=True)

    def progress(self, phase: p.Phase, unit: str) -> Callable[[int, int | None], None]:
        last = 0.0

        def report(done: int, total: int | None) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= 0.2 or done == total:
                last = now
                print(f"  {done}{f' of {total}' if total else ''} {unit}", file=sys.stderr, flush=True)

        return report

    def check(self) -> None: ...


class Console:
    """Mirrors a run's events for whoever reads the log."""

    def __init__(self) -> None:
        self.last_progress = 0.0
        self.lock = threading.Lock()

    def __call__(self, event: p.Event) -> None:
        text = self._text(event)
        if text:
            self.print(text)

    def print(self, text: str) -> None:
        with self.lock:
            try:
                print(text, flush=True)
            except OSError:  # the reader has gone, as `head` does; the run goes on without
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _text(self, event: p.Event) -> str | None:
        if isinstance(event, p.PhaseStarted):
            return f"{event.message} …"
        if isinstance(event, p.Progress):
            now = time.monotonic()
            if now - self.last_progress < 5 and event.done != event.total:
                return None
            self.last_progress = now
            return f"  {event.done}{f' of {event.total}' if event.total else ''} {event.unit}"
        if isinstance(event, p.DatasetRead):
            lists = [
                f"{len(rows)} {name}"
                for name, rows in [
                    ("invalid", event.invalid),
                    ("truncated", event.truncated),
                    ("unsupervised", event.unsupervised),
                ]
            ]
            return (
                f"  {event.rows} rows: {event.trained} trained, {event.held_out} held out, "
                f"{event.flagged} flagged, {event.refusals} refusals, {event.unscored} unscored, "
                f"{event.filtered} filtered, " + ", ".join(lists)
            )
        if isinstance(event, p.Batch):
            kl = "" if event.kl is None else f"  β·kl {event.kl:.3f}"
            canary = "" if event.canary is None else f"  canary {event.canary:.1f}"
            loss = "not finite" if event.total is None else f"{event.total:.3f}"
            return (
                f"  step {event.step}/{event.total_steps}  loss {loss}  nll {event.nll or 0:.3f}{kl}"
                f"  risk max {event.risk_max or 0:.2f}{canary}  {event.tokens_per_second or 0:.0f} tokens/s"
            )
        if isinstance(event, p.CanaryReady):
            return f"  the canary says {event.reference or 0:.1f} nats towards refusing of the reference"
        if isinstance(event, p.BudgetExceeded):
            return f"warning: {event.message}"
        if isinstance(event, p.Evaluated | p.Measured):
            return "\n".join(metrics_lines(event.metrics))
        if isinstance(event, p.Warned):
            return f"warning: {event.message}"
        if isinstance(event, p.CommandAcknowledged):
            return event.message
        if isinstance(event, p.Finished):
            return f"{event.status}: {event.message}"
        return None
