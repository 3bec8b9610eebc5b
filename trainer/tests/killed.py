"""Kills a run at many points and resumes it; prints a line of JSON for each.

    python killed.py CONFIG FOLDER

Every run is a fork of this process, which has loaded the libraries already, and goes through the command
line as a user's does.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file

from running import say
from safe_finetuning import checkpoints, cli, train
from safe_finetuning.reference import ReferenceStore
from safe_finetuning.run_callback import RunCallback
from safe_finetuning.trainer import SafeTrainer


class Point(NamedTuple):
    """Where the run is killed: at the nth call of a function, before or after what it does, or by the system
    as soon as it has written so many bytes of a file. `cold`: nothing the reference says is cached."""

    owner: Any
    function: str
    nth: int
    when: str | int = "before"
    cold: bool = False

    def __str__(self) -> str:
        when = f"{self.when} bytes into a file of" if isinstance(self.when, int) else self.when
        return f"{when} call {self.nth} of {self.function}{', cold' if self.cold else ''}"


STEPS = [Point(SafeTrainer, "compute_loss", n) for n in (14, 18, 23)]
COLD = [
    Point(SafeTrainer, "compute_loss", 8, cold=True),
    Point(ReferenceStore, "put", 8, cold=True),
    Point(ReferenceStore, "put", 8, "after", cold=True),
    Point(SafeTrainer, "_save_optimizer_and_scheduler", 2, 20_000, cold=True),
]
CHECKPOINTS = [
    Point(checkpoints, "begin", 2, "after"),
    Point(SafeTrainer, "save_model", 2, 5_000),
    Point(SafeTrainer, "_save_optimizer_and_scheduler", 3, 500),
    Point(SafeTrainer, "_save_rng_state", 2, 2_000),
    Point(SafeTrainer, "_save_rng_state", 3, "after"),
    Point(checkpoints, "complete", 3),
    Point(checkpoints, "complete", 2, 200),
    Point(checkpoints, "complete", 3, "after"),
    Point(checkpoints.shutil, "rmtree", 1),
]
ENDS = [Point(train, "_save_trained", 1), Point(train, "_save_trained", 1, 5_000)]
POINTS = [*STEPS, *COLD, *CHECKPOINTS, *ENDS]
BETWEEN_STEPS = Point(RunCallback, "on_step_begin", 9)


def kill_at(point: Point) -> None:
    original, calls = getattr(point.owner, point.function), 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == point.nth and point.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        if calls == point.nth and isinstance(point.when, int):
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which Python ignores
            resource.setrlimit(resource.RLIMIT_FSIZE, (point.when, point.when))
        result = original(*args, **kwargs)
        if calls == point.nth and point.when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        assert calls != point.nth, f"no file of more than {point.when} bytes was written"
        return result

    setattr(point.owner, point.function, counted)


def change_settings(folder: Path) -> None:
    """The range of β and the learning rate, before the fifth step."""
    original, calls = RunCallback.on_step_begin, 0

    def counted(self: RunCallback, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 5:
            say(folder, "set", betaMin=0.3, betaMax=0.7, learningRate=5e-4)
            while not self.run._settings:
                time.sleep(0.01)
        return original(self, *args, **kwargs)

    RunCallback.on_step_begin = counted


def as_it_is(folder: Path) -> None:
    """Nothing happens to a run."""


class Runs:
    """Those of one configuration, as they are when nothing kills them and when something does."""

    def __init__(self, base: Path, config: Path, prepare: Callable[[Path], None] = as_it_is) -> None:
        self.base, self.config, self.prepare = base, config, prepare
        folder = base / f"whole-{config.stem}-{prepare.__name__}"
        assert self.run(folder, prepare) == 0, folder.with_suffix(".log").read_text()
        self.expected = load_file(folder / "adapter" / "adapter_model.safetensors")

    def run(self, folder: Path, prepare: Callable[[Path], None], *arguments: str) -> int:
        """The exit status of a run in a process of its own, negative for the signal that ended it."""
        child = os.fork()
        if child == 0:
            try:
                output = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                os.dup2(output, 1)
                os.dup2(output, 2)
                prepare(folder)
                os._exit(cli.main(["train", str(self.config), "--run-folder", str(folder), *arguments]))
            finally:
                os._exit(70)  # an error: the parent's work is not the child's
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def kill(self, name: str, point: Point) -> None:
        """Kills a run at the point, resumes it, and prints what came of it."""
        folder = self.base / name
        kept = os.environ["SAFE_FINETUNING_CACHE"]
        if point.cold:
            os.environ["SAFE_FINETUNING_CACHE"] = str(self.base / f"{name}-cache")

        def prepare(folder: Path) -> None:
            self.prepare(folder)
            kill_at(point)

        killed = self.run(folder, prepare)
        resumed = self.run(folder, as_it_is, "--resume")
        os.environ["SAFE_FINETUNING_CACHE"] = kept
        weights = folder / "adapter" / "adapter_model.safetensors"
        found = load_file(weights) if weights.exists() else {}
        same = [bool((found[name] == x).all()) for name, x in self.expected.items() if name in found]
        report = {"point": f"{name}: {point}", "killed": killed, "resumed": resumed}
        report["same"] = len(same) == len(self.expected) and all(same)
        print(json.dumps(report | {"log": folder.with_suffix(".log").read_text()}), flush=True)


def main(config: Path, base: Path) -> None:
    runs = Runs(base, config)
    for number, point in enumerate(POINTS):
        runs.kill(str(number), point)

    dropout = config.with_name("dropout.finetune.json")
    dropout.write_text(json.dumps(json.loads(config.read_text()) | {"lora": {"dropout": 0.2}}))
    dropped, changed = Runs(base, dropout), Runs(base, config, change_settings)
    for other in (dropped, changed):
        assert any((other.expected[name] != x).any() for name, x in runs.expected.items())
    dropped.kill("dropout", BETWEEN_STEPS)
    changed.kill("settings", BETWEEN_STEPS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
