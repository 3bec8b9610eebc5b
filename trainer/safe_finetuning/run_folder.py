"""The run folder: the only interface between a run and whoever watches or steers it.

run.json (what the run is and how it stands), events.jsonl (append only, one line per event, flushed),
commands.jsonl (what the trainer is told). See docs/protocol.md.
"""

from __future__ import annotations

import json
import math
import os
import random
import socket
import string
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pydantic

from . import checkpoints
from . import protocol as p
from .config import RunConfig
from .errors import Cancelled, UserError
from .files import write_atomically

HEARTBEAT_SECONDS = 10.0
POLL_SECONDS = 0.2
STOP_ENDS = ("loading", "scoring", "anchors", "evaluating-before", "evaluating-after")
STOP_ANSWERS: dict[p.Phase | None, str] = {
    "training": "saving and stopping after this batch, which frees the device",
    "evaluating": "saving and stopping, which frees the device; the measurement is left out",
    "saving": "stopping when the adapter is saved",
    "evaluating-after": "stopping; the adapter is saved, its measurement is left out",
}
CANCEL_GRACE_SECONDS = 1.5  # then the process ends, whatever it is busy with: cancel acts within 2 s


@contextmanager
def claim(folder: Path, *, resume: bool) -> Iterator[None]:
    """Makes the run folder and holds it for this process; the system lets go when the process ends.

    Raises:
        UserError: another process holds it, it already has a run and `resume` is false, or it cannot be
            written. Nothing that belongs to a run has been touched then.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{folder}: another process is working on this run. Wait until it has ended, or stop it."
        ) from None
    except OSError as error:
        raise _not_writable(folder, error) from None
    try:
        if (folder / "run.json").exists() and not resume:
            raise UserError(
                f"{folder}: there is a run in this folder already. "
                "Give another folder with --run-folder, or go on with this run with --resume."
            )
        yield
    finally:
        lock.release()


class RunFolder:
    """One attempt at a run: writes events, hears commands.

    `check()` is called between batches and in every long phase: it raises when the run is to end at once
    and waits while it is paused. `stop_requested` asks the training loop to save and end,
    `checkpoint_requested` to save and go on, `evaluation_requested` to measure and go on; `new_settings()`
    are what it is to change.
    """

    def __init__(
        self,
        folder: Path,
        listener: Callable[[p.Event], None] | None = None,
        *,
        owns_process: bool = True,
    ) -> None:
        """A process that is not the run's own is not ended when the run is told to end."""
        self.folder = folder
        self._listener = listener
        self._owns_process = owns_process
        self.stop_requested = False
        self.checkpoint_requested = False
        self.evaluation_requested = False
        self._settings: list[p.Command] = []
        self._phase: p.Phase | None = None
        self._cancel = threading.Event()
        self._resume = threading.Event()
        self._resume.set()
        self._closed = threading.Event()
        self._lock = threading.RLock()
        self._record: p.RunRecord | None = None
        process = psutil.Process()
        self._process = p.ProcessRecord(
            pid=process.pid, start_time=process.create_time(), host=socket.gethostname()
        )
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            events = folder / "events.jsonl"
            self._seq, self.attempt, self._heard = self._continue_events(events)
            self._events = events.open("a", encoding="utf-8", newline="\n")
        except OSError as error:
            raise _not_writable(folder, error) from None
        threading.Thread(target=self._watch, name="run-folder", daemon=True).start()

    # --- what the run says ---

    def start(self, record: dict[str, Any], from_step: int) -> None:
        """Writes run.json and begins the attempt. `record` holds the fields this class does not know."""
        self._record = p.RunRecord(
            id=self.folder.name,
            process=self._process,
            attempt=self.attempt,
            status="running",
            message="",
            **record,
        )
        self._begin_attempt(from_step)

    def begin_again(self, from_step: int) -> None:
        """Begins another attempt in this process: the run has been rolled back."""
        assert self._record
        self.attempt += 1
        self._record = self._record.model_copy(update={"attempt": self.attempt})
        self._begin_attempt(from_step)

    def _begin_attempt(self, from_step: int) -> None:
        self._write_record()
        self.emit(
            p.AttemptStarted,
            attempt=self.attempt,
            from_step=from_step,
            pid=self._process.pid,
            host=self._process.host,
        )

    def emit(self, kind: type[p.Event], **fields: Any) -> None:
        """Appends one event and flushes it. NaN and infinity become null."""
        with self._lock:
            if self._closed.is_set():
                return
            event = kind(seq=self._seq, ts=time.time() * 1000, **fields)
            self._events.write(event.model_dump_json(by_alias=True) + "\n")
            self._events.flush()
            self._seq += 1
        if self._listener:
            with suppress(OSError, ValueError):  # a mirror that breaks is no reason to end a run
                self._listener(event)

    def phase(self, phase: p.Phase, message: str) -> None:
        self.check()
        self._phase = phase
        self.emit(p.PhaseStarted, phase=phase, message=message)

    def progress(self, phase: p.Phase, unit: str) -> Any:
        """A callback `(done, total)` for long work: reports at most five times a second and checks."""
        last = 0.0

        def report(done: int, total: int | None) -> None:
            nonlocal last
            self.check()
            now = time.monotonic()
            if now - last >= 0.2 or done == total:
                last = now
                self.emit(p.Progress, phase=phase, done=done, total=total, unit=unit)

        return report

    def warn(self, code: str, message: str) -> None:
        self.emit(p.Warned, code=code, message=message)

    def finish(self, status: str, message: str) -> None:
        """The last event and the final run.json; nothing is written afterwards.

        What was saved, and whether the run can be resumed, is what the folder holds.
        """
        saved = checkpoints.saved(self.folder)
        resumable = status != "completed" and saved.resumable
        with self._lock:
            if self._closed.is_set():
                return
            try:
                self.emit(
                    p.Finished, status=status, message=message, resumable=resumable, adapter=saved.adapter
                )
                if self._record:
                    self._record = self._record.model_copy(update={"status": status, "message": message})
                    self._write_record()
            except OSError as error:  # a full disk: watchers see that the process is gone
                print(f"error: {message}\n{self.folder}: {error.strerror}", file=sys.stderr)
            finally:
                self._closed.set()
                with suppress(OSError):
                    self._events.close()

    def fail_from_outside(self) -> None:
        """The launcher of several processes ends them all when one has failed, or when it is ended itself."""

        def end() -> None:
            self.finish(
                "failed",
                f"Ended from outside, as happens when another process of the run fails (see its log); "
                f"{checkpoints.saved(self.folder)}.",
            )
            os._exit(1)

        threading.Thread(target=end, daemon=True).start()  # the main thread may hold the lock of `emit`

    def finish_as_told(self) -> None:
        """The end of a run that was cancelled, or stopped outside training."""
        saved = checkpoints.saved(self.folder)
        if self._cancel.is_set():
            self.finish("cancelled", f"Cancelled; {saved}.")
        else:
            when = "the last measurement" if self._phase == "evaluating-after" else "training"
            self.finish("stopped", f"Stopped before {when}; {saved}.")

    # --- what the run is told ---

    def check(self) -> None:
        """Raises Cancelled when the run was told to end; waits while it is paused."""
        if self.told_to_end():
            raise Cancelled
        if self._resume.is_set():
            return
        self.emit(p.ActivityChanged, paused=True)
        while not self._resume.wait(POLL_SECONDS):
            if self.told_to_end():
                raise Cancelled
        self.emit(p.ActivityChanged, paused=False)

    def new_settings(self) -> list[p.Command]:
        """The commands `set` that came since the last call."""
        given, self._settings = self._settings, []
        return given

    def hear(self, command: p.Command) -> tuple[bool, str]:
        """Carries out a command, if it can be: whether, and what will happen or why not."""
        if command.command not in ("checkpoint", "evaluate", "set"):
            return True, self.request(command.command)
        if self._phase not in ("training", "evaluating"):
            return False, "only while the model trains"
        if command.command == "checkpoint":
            self.checkpoint_requested = True
            return True, "saving a checkpoint after this step"
        if command.command == "evaluate":
            if self._phase == "evaluating":
                return False, "it is being measured already"
            if self._record and not self._record.config:
                return False, "a training script measures itself"
            self.evaluation_requested = True
            return True, "measuring the model after this step"
        assert self._record
        reason = why_not_settable(command, self._record.config)
        if reason:
            return False, reason
        self._settings.append(command)
        return True, "in force from the next step on"

    def request(self, command: str) -> str:
        """Carries out a command; returns what will happen, in words. Also called for signals."""
        if command == "pause":
            self._resume.clear()
            return "pausing before the next batch; everything stays in memory, on the device as well"
        if command == "resume":
            self._resume.set()
            return "going on"
        if command == "stop":
            self.stop_requested = True
            answer = STOP_ANSWERS.get(self._phase, "stopping; training has not begun, so nothing is saved")
        else:
            self._cancel.set()
            answer = "cancelling"
        self._resume.set()
        if self.told_to_end() and self._owns_process:
            threading.Thread(target=self._end_soon, daemon=True).start()
        return answer

    def told_to_end(self) -> bool:
        """Whether to end at once: cancelled, or stopped where the training loop has nothing to save."""
        return self._cancel.is_set() or (self.stop_requested and self._phase in STOP_ENDS)

    def _end_soon(self) -> None:
        if not self._closed.wait(CANCEL_GRACE_SECONDS) and self.told_to_end():
            self.finish_as_told()
            os._exit(3)

    def _watch(self) -> None:
        last_heartbeat = time.monotonic()
        commands = self._commands()
        while not self._closed.wait(POLL_SECONDS):
            for command in commands:
                if command is None:
                    break
                accepted, message = self.hear(command)
                with suppress(OSError):
                    self.emit(
                        p.CommandAcknowledged,
                        id=command.id,
                        command=command.command,
                        accepted=accepted,
                        message=message,
                    )
            if time.monotonic() - last_heartbeat >= HEARTBEAT_SECONDS:
                last_heartbeat = time.monotonic()
                with suppress(OSError):  # the next batch reports a full disk
                    self.emit(p.Heartbeat)

    def _commands(self) -> Iterator[p.Command | None]:
        """New commands as they are appended; None when there is none at present.

        What an earlier attempt has answered, and what was given before this process began, was not for this
        one. Neither would do alone: a process that was killed answers nothing, and where the clock has been
        set the start of a process is only known to the seconds that it was set by. What comes later is for
        this one, whatever the clock of the machine says that it was given on.
        """
        path, position, rest = self.folder / "commands.jsonl", 0, b""
        not_before = self._process.start_time * 1000 - 1000  # the clock of process starts is coarse
        while True:
            try:
                with path.open("rb") as file:
                    file.seek(position)
                    new = file.read()
            except OSError:  # not there yet, or not to be read at the moment
                new = b""
            position += len(new)
            *lines, rest = (rest + new).split(b"\n")
            for line in lines:
                try:
                    command = p.Command.model_validate_json(line)
                except pydantic.ValidationError:
                    with suppress(OSError):  # a full disk must not end the listening
                        self.warn("command", "A line of commands.jsonl is not a command; it was ignored.")
                    continue
                if command.ts >= not_before and command.id not in self._heard:
                    yield command
            not_before = -math.inf
            yield None

    def _continue_events(self, path: Path) -> tuple[int, int, set[str]]:
        """Ends a torn last line; returns the next sequence number, this attempt's number, and the commands
        that earlier attempts have answered, by id."""
        heard: set[str] = set()
        if not path.exists():
            return 0, 1, heard
        seq = attempt = 0
        torn = False
        with path.open("rb") as file:
            for line in file:
                torn = not line.endswith(b"\n")
                try:
                    event = json.loads(line)
                    seq = max(seq, int(event["seq"]) + 1)
                    attempt += event["type"] == "attempt_started"
                    if event["type"] == "command_acknowledged":
                        heard.add(event["id"])
                except (ValueError, KeyError, TypeError):
                    continue
        if torn:
            with path.open("ab") as file:
                file.write(b"\n")
        return seq, attempt + 1, heard

    def _write_record(self) -> None:
        assert self._record
        write_atomically(
            self.folder / "run.json", self._record.model_dump_json(by_alias=True, indent=2) + "\n"
        )


def why_not_settable(command: p.Command, config: RunConfig | None) -> str | None:
    """Why a command `set` cannot be carried out in a run of this configuration; None when it can."""
    if config is None:
        return "a training script has its settings itself"
    given = (command.beta_min, command.beta_max, command.learning_rate)
    if given == (None, None, None):
        return "nothing is given that could be set"
    if given[:2] != (None, None) and config.method not in ("adaptive", "recommended"):
        return f"the method `{config.method}` has no range of β"
    if command.beta_min is not None and command.beta_max is not None and command.beta_min > command.beta_max:
        return f"the lower end of β ({command.beta_min}) must not be above the upper one ({command.beta_max})"
    return None


class FollowedRun:
    """The run in a process that is not its first: it is told nothing, and what it says is dropped."""

    stop_requested = False
    checkpoint_requested = False
    evaluation_requested = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, record: dict[str, Any], from_step: int) -> None: ...

    def begin_again(self, from_step: int) -> None: ...

    def emit(self, kind: type[p.Event], **fields: Any) -> None: ...

    def phase(self, phase: p.Phase, message: str) -> None: ...

    def warn(self, code: str, message: str) -> None: ...

    def check(self) -> None: ...

    def new_settings(self) -> list[p.Command]:
        return []

    def progress(self, phase: p.Phase, unit: str) -> Any:
        return lambda done, total: None


Run = RunFolder | FollowedRun


def create_run_folder(base: Path, method: str) -> Path:
    """A new folder `.safe-finetuning/runs/<time>-<method>-<xx>` under `base`, kept out of version control.

    Raises UserError when it cannot be made.
    """
    runs = base / ".safe-finetuning" / "runs"
    suffix = "".join(random.choices(string.ascii_lowercase + string.digits, k=2))
    folder = runs / f"{time.strftime('%Y%m%d-%H%M%S')}-{method}-{suffix}"
    try:
        folder.mkdir(parents=True, mode=0o700)
        ignore = runs.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", "utf-8")
    except OSError as error:
        raise _not_writable(folder, error) from None
    return folder


def _not_writable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"{error.filename or folder}: the run folder cannot be written: {error.strerror}. "
        "Free some space or choose another folder with --run-folder."
    )
