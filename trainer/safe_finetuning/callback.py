"""A plain Transformers or TRL script in the training monitor, by two lines of its own:

    from safe_finetuning import SafetyMonitorCallback
    trainer.add_callback(SafetyMonitorCallback())

It tells of the training and hears commands. What is learned stays as it is; risk, β and canary are there
where the script logs them. Whatever goes wrong here is warned of once, and the training goes on.
"""

from __future__ import annotations

import atexit
import re
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainerCallback

from . import protocol as p
from .config import RiskConfig
from .errors import Cancelled, UserError
from .gpu_load import GpuLoad
from .prepare import problem_rows
from .processes import Processes, processes_of_script
from .risk.scores import judge_rows
from .rows import Dataset, read_dataset
from .run_folder import RunFolder, claim, create_run_folder
from .train import dataset_records, library_versions
from .trainer import ETA_WINDOW_STEPS, memory_in_use

SAID = ("risk_mean", "risk_max", "beta_mean", "beta_max", "nll", "kl", "anchors", "safety_tokens", "canary")
"""What a script may log of a step beside what Trainer does, under the names that trackers are given."""


class Orders(NamedTuple):
    """What all processes do at the end of a step."""

    stop: bool = False
    save: bool = False


class SafetyMonitorCallback(TrainerCallback):
    """Keeps a run folder for each training; of several processes, the first one's.

    Args:
        run_folder: by default a new one in `.safe-finetuning/runs` of the working directory. Another training
            in the same folder must be resumed from a checkpoint.
        name: what the run is called; by default as the script's file.
        dataset: the file that is trained on, or a folder or pattern, as in a configuration. Its rows are
            judged once, before the first step, by the bundled classifier; which rows a step has trained on
            stays unknown.
    """

    def __init__(
        self,
        run_folder: str | Path | None = None,
        *,
        name: str | None = None,
        dataset: str | Path | None = None,
    ) -> None:
        self.run_folder, self.name, self.dataset = run_folder, name, dataset
        self.run: RunFolder | None = None
        self._processes = Processes()
        self._gpu_load: GpuLoad | None = None
        self._held = ExitStack()
        self._has_warned = False
        self._step = 0
        self._step_began = 0.0
        self._unlogged: list[float] = []  # seconds of the steps since the last log
        self._said: dict[str, Any] = {}  # what was logged since then
        self._step_seconds: deque[float] = deque(maxlen=ETA_WINDOW_STEPS)
        self._tokens_seen = 0

    # --- the training, as transformers.Trainer tells of it

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        self._end("failed", "It ended without a word: the script has begun another training.")
        self._processes = processes_of_script()
        self._gpu_load = GpuLoad(args.device)
        self._step, self._tokens_seen = state.global_step, state.num_input_tokens_seen
        self._processes.from_first(lambda: self._safely(lambda: self._begin(state, model)))

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._processes.from_first(lambda: self._safely(self._wait_while_paused))
        self._step_began = time.monotonic()

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self._processes.count == 1 and self.run:  # several stop together, at the end of a step
            control.should_training_stop |= self.run.told_to_end()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._step = state.global_step
        self._unlogged.append(time.monotonic() - self._step_began)
        orders = self._processes.from_first(self._orders)
        control.should_save |= orders.save
        control.should_training_stop |= orders.stop

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        self._said.update(logs or {})
        if "loss" in self._said:
            said, self._said = self._said, {}
            self._safely(lambda: self._tell_step(args, state, said))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._safely(lambda: self._tell_checkpoint(Path(args.output_dir), state.global_step))

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._end(*self._outcome(state))

    # --- beginning and end

    def _begin(self, state: Any, model: Any) -> None:
        file = getattr(sys.modules["__main__"], "__file__", None)
        name = self.name or (Path(file).stem if file else "notebook")
        folder = Path(self.run_folder or create_run_folder(Path.cwd(), _for_a_folder(name))).absolute()
        if (folder / "run.json").exists() and not state.global_step:
            raise UserError(f"{folder}: there is a run in it already. Give another `run_folder`.")
        self._held.enter_context(claim(folder, resume=True))
        self.run = run = RunFolder(folder, owns_process=False)
        self._watch_for_failure()
        dataset, problem = self._read_dataset()
        model_name = _model_name(model)
        script = p.ScriptRecord(
            name=name, path=str(Path(file).absolute()) if file else None, model=model_name
        )
        record = {
            "config_path": None,
            "config": None,
            "script": script,
            "datasets": dataset_records([dataset]),
            "versions": library_versions(),
        }
        run.start(record, state.global_step)
        if problem:
            run.warn("dataset", problem)
        try:
            if dataset:
                _judge(dataset, run, state.max_steps)
            run.phase("training", f"Training {model_name}")
        except Cancelled:
            pass  # the end of the first step is the first chance to stop

    def _read_dataset(self) -> tuple[Dataset | None, str | None]:
        try:
            return (read_dataset(Path(self.dataset)) if self.dataset else None), None
        except UserError as error:
            return None, str(error)

    def _outcome(self, state: Any) -> tuple[str, str]:
        """How a training ended that Trainer has brought to its end."""
        run, step = self.run, state.global_step
        if run and run.told_to_end():
            told = "stopped" if run.stop_requested else "cancelled"
            return told, f"{told.capitalize()} after step {step}; nothing was saved for it."
        if run and run.stop_requested and step < state.max_steps:
            return "stopped", f"Stopped after step {step}; the script's checkpoint of it is saved."
        if step < state.max_steps:
            return "completed", f"The script ended its training after step {step} of {state.max_steps}."
        return "completed", f"Completed {step} steps."

    def _end(self, status: str, message: str) -> None:
        run, self.run = self.run, None
        if run:
            self._safely(lambda: run.finish(status, message))
            self._held.close()
            self._watch_no_longer()

    def _watch_for_failure(self) -> None:
        """Trainer tells nobody when a step raises. The interpreter does, at the latest when it ends."""
        self._hook_before = sys.excepthook
        self._hook = self._on_exception
        sys.excepthook = self._hook
        atexit.register(self._on_exit)

    def _watch_no_longer(self) -> None:
        if sys.excepthook is self._hook:
            sys.excepthook = self._hook_before
        atexit.unregister(self._on_exit)

    def _on_exception(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        show = self._hook_before
        if issubclass(kind, KeyboardInterrupt):
            self._end("cancelled", f"Interrupted after step {self._step}.")
        else:
            self._end("failed", f"{kind.__name__}: {error}")
        show(kind, error, trace)

    def _on_exit(self) -> None:
        self._end("failed", f"The script ended after step {self._step}, before its training did.")

    # --- what is told

    def _tell_step(self, args: Any, state: Any, logs: dict[str, Any]) -> None:
        """One event for the steps since the last log, with their mean speed."""
        seconds, self._unlogged = self._unlogged, []
        seen = state.num_input_tokens_seen or int(logs.get("num_tokens") or 0)  # the latter is TRL's
        tokens, self._tokens_seen = seen - self._tokens_seen, seen
        self._step_seconds.extend(seconds)
        if not self.run or not seconds:
            return
        remaining = state.max_steps - state.global_step
        self.run.emit(
            p.Batch,
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=state.epoch or 0.0,
            **{name: _number(logs.get(name)) for name in SAID},
            tokens=None,
            total=float(logs["loss"]),
            learning_rate=_number(logs.get("learning_rate")),
            grad_norm=_number(logs.get("grad_norm")),
            tokens_per_second=tokens / sum(seconds) if tokens > 0 else None,
            step_seconds=sum(seconds) / len(seconds),
            memory_bytes=memory_in_use(args.device),
            gpu_load=self._gpu_load.latest() if self._gpu_load else None,
            eta_seconds=remaining * sum(self._step_seconds) / len(self._step_seconds),
            rows=p.RowColumns(file=[], line=[], hash=[], risk=[], beta=[], nll=[], kl=[], tokens=[]),
        )

    def _tell_checkpoint(self, output: Path, step: int) -> None:
        folder = output.absolute() / f"checkpoint-{step}"
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if self.run and size:
            self.run.emit(p.CheckpointSaved, step=step, path=str(folder), bytes=size)

    # --- what is heard

    def _wait_while_paused(self) -> None:
        try:
            if self.run:
                self.run.check()
        except Cancelled:
            pass  # the step's end acts on it

    def _orders(self) -> Orders:
        run = self.run
        if not run:
            return Orders()
        at_once, save = run.told_to_end(), run.checkpoint_requested or run.stop_requested
        run.checkpoint_requested = False
        return Orders(stop=at_once or run.stop_requested, save=save and not at_once)

    def _safely(self, work: Callable[[], None]) -> None:
        """Nothing of this is worth the user's training: what fails is left out and warned of once."""
        try:
            work()
        except Exception as error:
            if not self._has_warned:
                self._has_warned = True
                reason = str(error) or type(error).__name__
                warnings.warn(f"The training monitor is not told everything: {reason}", stacklevel=2)


def _judge(dataset: Dataset, run: RunFolder, total_steps: int) -> None:
    """What the bundled classifier says of the rows. A failure is a warning of the run."""
    run.phase("scoring", f"Judging {len(dataset.rows)} rows")
    try:
        _, risks = judge_rows(dataset.rows, progress=run.progress("scoring", "rows"))
    except (UserError, OSError) as error:
        run.warn("dataset", f"The rows could not be judged: {error}")
        return
    run.emit(
        p.DatasetRead,
        rows=len(dataset.rows),
        trained=None,
        held_out=0,
        flagged=sum(r.risk >= RiskConfig().threshold for r in risks),
        refusals=sum(r.refusal for r in risks),
        reviewed=sum(row.reviewed for row in dataset.rows),
        unscored=sum(r.unscored for r in risks),
        filtered=0,
        invalid=problem_rows(dataset.problems),
        truncated=[],
        unsupervised=[],
        total_steps=total_steps,
    )


def _model_name(model: Any) -> str:
    return str(getattr(getattr(model, "config", None), "name_or_path", "") or type(model).__name__)


def _for_a_folder(name: str) -> str:
    return re.sub(r"[^\w-]+", "-", name).strip("-")[:40] or "script"


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
