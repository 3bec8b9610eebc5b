"""Kills a run at many points and resumes it; prints a line of JSON for each.

    python killed.py CONFIG FOLDER

Every run is a fork of this process, which has loaded the libraries already, and goes through the command
line as a user's does.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file

from safe_finetuning import checkpoints, cli, train, trainer
from safe_finetuning.trainer import SafeTrainer


class Point(NamedTuple):
    """Where the run is killed: at the nth call of a function, before or after what it does."""

    owner: Any
    function: str
    nth: int
    when: str = "before"

    def __str__(self) -> str:
        return f"{self.when} call {self.nth} of {self.function}"


STEPS = [Point(SafeTrainer, "compute_loss", n) for n in range(14, 24)]
CHECKPOINTS = [
    Point(checkpoints, "begin", 2, "after"),
    Point(SafeTrainer, "_save_optimizer_and_scheduler", 2),
    Point(SafeTrainer, "_save_rng_state", 2),
    Point(SafeTrainer, "_save_rng_state", 3, "after"),
    Point(checkpoints, "complete", 3),
    Point(checkpoints, "complete", 3, "after"),
    Point(checkpoints, "prune", 3),
    Point(checkpoints.shutil, "rmtree", 1),
]
ENDS = [Point(train, "_save_trained", 1), Point(train, "_save_trained", 1, "after")]
POINTS = [*STEPS, *CHECKPOINTS, *ENDS]


def kill_at(point: Point) -> None:
    original, calls = getattr(point.owner, point.function), 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == point.nth and point.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if calls == point.nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(point.owner, point.function, counted)


def run(folder: Path, log: Path, *arguments: str, point: Point | None = None) -> int:
    """The exit status of a run in a process of its own, negative for the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(output, 1)
            os.dup2(output, 2)
            if point:
                kill_at(point)
            os._exit(cli.main(["train", sys.argv[1], "--run-folder", str(folder), *arguments]))
        finally:
            os._exit(70)  # an error: the parent's work is not the child's
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(base: Path) -> None:
    assert trainer  # loaded once, for all forks
    run(base / "whole", base / "whole.log")
    expected = load_file(base / "whole" / "adapter" / "adapter_model.safetensors")
    for number, point in enumerate(POINTS):
        folder, log = base / str(number), base / f"{number}.log"
        killed, resumed = run(folder, log, point=point), run(folder, log, "--resume")
        weights = folder / "adapter" / "adapter_model.safetensors"
        found = load_file(weights) if weights.exists() else {}
        same = [bool((found[name] == expected[name]).all()) for name in expected if name in found]
        report = {"point": str(point), "killed": killed, "resumed": resumed, "log": log.read_text()}
        print(json.dumps(report | {"same": len(same) == len(expected) and all(same)}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[2]))
