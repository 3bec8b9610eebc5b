"""Several processes, as `accelerate launch` and `torchrun` start them: all train, the first one speaks.

The first process (rank 0) owns the run folder: it prepares, decides and reports. What it made or decided it
tells the others over a group of its own that waits as long as it takes. While a run is measured or paused
nothing else is under way between the processes, so nothing can time out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from .config import RunConfig
from .errors import UserError

T = TypeVar("T")

FOREVER = timedelta(days=365)
LAUNCHED = "SAFE_FINETUNING_LAUNCHED"
"""Set for the processes of `launch_command`; a launcher for one process says nothing else of itself."""

_HELD: list[Any] = []
"""The group of all processes, held until the interpreter ends. Otherwise the wrapped model is the last to
hold it and frees it without giving up the interpreter's lock, for which the group's thread may be waiting:
the process would never end (pytorch/pytorch#56297)."""


class Processes:
    """This process among those of a run; alone, it is the first and the only one."""

    def __init__(self, count: int = 1, rank: int = 0, group: Any = None) -> None:
        self.count, self.rank, self._group = count, rank, group

    @property
    def first(self) -> bool:
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """What `make` gives in the first process, in all of them. The others wait; a failure ends the run."""
        if self.count == 1:
            return make()
        import torch.distributed as dist

        made: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(made, src=0, group=self._group)
        return made[0]

    def first_before_others(self, make: Callable[[], T]) -> T:
        """`make` in every process: in the first one alone, then in the others, which find what it fetched."""
        if self.first:
            made = make()
            self.from_first(lambda: None)
            return made
        self.from_first(lambda: None)
        return make()

    def gather(self, value: T) -> list[T]:
        """The value of every process, by rank, in all of them."""
        if self.count == 1:
            return [value]
        import torch.distributed as dist

        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value, group=self._group)
        return found

    def sums(self, values: Sequence[float]) -> list[float]:
        """The sums of the values over all processes, in all of them."""
        if self.count == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        added = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(added, group=self._group)
        return added.tolist()

    def leave(self) -> None:
        """Ends what the processes had between them and, where there are several, this process with them.

        The exit code is 0, since their launcher takes every other one for a failure. The interpreter is not
        torn down: a thread of gloo that frees its last tensor meanwhile would ask for the lock of an
        interpreter that ends, which aborts the process.
        """
        if self.count > 1:
            import torch.distributed as dist

            dist.destroy_process_group()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def check_processes(config: RunConfig, count: int, here: int) -> None:
    """Whether the batch can be divided among `count` processes, of which `here` are on this machine.

    Raises:
        UserError: it cannot, or the machine has fewer devices.
    """
    import torch

    from .model import resolve_device

    device = resolve_device(config.device).type
    present = {"cuda": torch.cuda.device_count(), "mps": 1}.get(device, here)
    if here > present:
        raise UserError(
            f"{here} processes on a machine with {present} {device} device(s): start one for each device "
            '(`processes`), or set `device` to "cpu".'
        )
    training = config.training
    rows = training.micro_batch_size or max(1, training.batch_size // count)
    if training.batch_size % (count * rows):
        raise UserError(
            f"`training.batchSize` ({training.batch_size}) cannot be divided among {count} processes with "
            f"{rows} rows in a forward pass. Make it a multiple of {count * rows}."
        )


def join_processes(config: RunConfig) -> Processes:
    """The processes that the launcher of this one started, all of which call this.

    Raises:
        UserError: as `check_processes`.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1 and LAUNCHED in os.environ:
        raise UserError(
            f"`accelerateConfig`: {config.accelerate_config} starts one process. Have it start several, or "
            "leave `accelerateConfig` out."
        )
    if count == 1:
        return Processes()
    import torch.distributed as dist
    from accelerate import PartialState

    from .model import resolve_device

    check_processes(config, count, int(os.environ.get("LOCAL_WORLD_SIZE", count)))
    # Each process loads the model itself: the safe reference is measured whole before weights are sharded.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    state = PartialState(cpu=resolve_device(config.device).type == "cpu")
    _HELD.append(dist.group.WORLD)
    return Processes(
        state.num_processes, state.process_index, dist.new_group(backend="gloo", timeout=FOREVER)
    )


def processes_of_script() -> Processes:
    """Those that a script of the user's trains with, however they were started. All of them call this."""
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return Processes()
    _HELD.append(dist.new_group(backend="gloo", timeout=FOREVER))
    return Processes(dist.get_world_size(), dist.get_rank(), _HELD[-1])


def launch_command(config: RunConfig, base: Path, arguments: Sequence[str]) -> list[str] | None:
    """How to start the processes that the configuration asks for; None when this one is all, or one of them.

    `arguments` are those of this command line, and `base` is the folder of the configuration.

    Raises:
        UserError: there is no such configuration of Accelerate; or as `check_processes`.
    """
    if LAUNCHED in os.environ or int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return None
    module = ["-m", "safe_finetuning", *arguments]
    if config.accelerate_config:
        file = base / config.accelerate_config
        if not file.is_file():
            raise UserError(
                f"`accelerateConfig`: {file}: there is no such file. Make it with `accelerate config`."
            )
        check_processes(config, config.processes, 1)  # how many are on this machine is in the file
        count = ["--num_processes", str(config.processes)] if config.processes > 1 else []
        launcher = ["accelerate.commands.launch", "--config_file", str(file), *count]
    elif config.processes > 1:
        check_processes(config, config.processes, config.processes)
        launcher = ["torch.distributed.run", "--standalone", "--nproc_per_node", str(config.processes)]
    else:
        return None
    return [sys.executable, "-m", *launcher, *module]


def launch_environment(config: RunConfig) -> dict[str, str]:
    """What the processes of `launch_command` find in their environment."""
    threads = max(1, (os.cpu_count() or 1) // config.processes)
    given = {"OMP_NUM_THREADS": str(threads)} if config.processes > 1 else {}  # torchrun would take one
    return {**given, **os.environ, LAUNCHED: "1"}
