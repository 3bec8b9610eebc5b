"""The run folder: events survive torn lines, commands act at once, cancel acts even when work hangs."""

import errno
import json
import subprocess
import sys
import textwrap
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from safe_finetuning import protocol as p
from safe_finetuning.config import RunConfig
from safe_finetuning.errors import Cancelled, UserError
from safe_finetuning.run_folder import RunFolder, claim, create_run_folder, why_not_settable


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]


def command(folder: Path, name: str, age_seconds: float = 0.0) -> None:
    line = p.Command(id=name, ts=(time.time() - age_seconds) * 1000, command=name)  # type: ignore[arg-type]
    with (folder / "commands.jsonl").open("a") as file:
        file.write(line.model_dump_json(by_alias=True) + "\n")


def until(condition, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_events_count_on_over_attempts_and_a_torn_line_is_ended(tmp_path):
    first = RunFolder(tmp_path)
    first.emit(p.AttemptStarted, attempt=1, from_step=0, pid=1, host="h")
    first.warn("x", "y")
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('{"v": 1, "seq": 2, "ty')
    second = RunFolder(tmp_path)
    assert second.attempt == 2
    second.warn("x", "z")
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert lines[2] == '{"v": 1, "seq": 2, "ty'
    assert [json.loads(line)["seq"] for line in (lines[0], lines[1], lines[3])] == [0, 1, 2]


def test_not_a_number_is_null_on_the_wire(tmp_path):
    run = RunFolder(tmp_path)
    run.emit(p.Progress, phase="scoring", done=1, total=None, unit="rows")
    metrics = p.MeanEstimate(value=float("nan"), low=float("inf"), high=None, n=0)
    assert json.loads(metrics.model_dump_json()) == {"value": None, "low": None, "high": None, "n": 0}


def test_a_listener_that_breaks_does_not_end_the_run(tmp_path):
    def listener(event):
        raise BrokenPipeError

    RunFolder(tmp_path, listener).warn("x", "y")
    assert [e["type"] for e in events(tmp_path)] == ["warning"]


def test_pause_and_resume(tmp_path):
    run = RunFolder(tmp_path)
    command(tmp_path, "pause", age_seconds=3600)  # meant for an earlier attempt
    time.sleep(0.5)
    run.check()
    command(tmp_path, "pause")
    until(lambda: any(e["type"] == "command_acknowledged" for e in events(tmp_path)))
    command(tmp_path, "resume")
    run.check()
    until(lambda: sum(e["type"] == "command_acknowledged" for e in events(tmp_path)) == 2)


def test_what_an_earlier_attempt_has_answered_is_not_done_again(tmp_path):
    first = RunFolder(tmp_path)
    first.phase("training", "")
    command(tmp_path, "stop")
    until(lambda: first.stop_requested)
    first.finish("stopped", "")
    second = RunFolder(tmp_path)  # so soon that the clock of process starts cannot tell the two apart
    second.phase("training", "")
    command(tmp_path, "checkpoint")
    until(lambda: second.checkpoint_requested)
    assert not second.stop_requested
    second.finish("completed", "")


def test_stop_and_cancel(tmp_path):
    run = RunFolder(tmp_path)
    run.phase("training", "")
    command(tmp_path, "stop")
    until(lambda: run.stop_requested)
    run.check()
    run.request("cancel")
    with pytest.raises(Cancelled):
        run.check()
    run.finish("cancelled", "")
    assert events(tmp_path)[-1]["status"] == "cancelled"


@pytest.mark.parametrize(
    ("phase", "answer", "ends"),
    [
        ("loading", "training has not begun, so nothing is saved", True),
        ("scoring", "training has not begun, so nothing is saved", True),
        ("anchors", "training has not begun, so nothing is saved", True),
        ("evaluating-before", "training has not begun, so nothing is saved", True),
        ("training", "saving and stopping after this batch, which frees the device", False),
        ("evaluating", "which frees the device; the measurement is left out", False),
        ("saving", "stopping when the adapter is saved", False),
        ("evaluating-after", "the adapter is saved, its measurement is left out", True),
    ],
)
def test_what_a_stop_does_depends_on_the_phase_and_is_said(tmp_path, phase, answer, ends):
    run = RunFolder(tmp_path)
    run.phase(phase, "")
    assert answer in run.request("stop")
    with pytest.raises(Cancelled) if ends else nullcontext():
        run.check()
    run.finish_as_told()  # otherwise it ends the process, which is that of the tests


@pytest.mark.parametrize(
    ("method", "given", "answer"),
    [
        ("adaptive", {"betaMin": 0.2}, None),
        ("adaptive", {"betaMin": 0.2, "betaMax": 0.1}, "must not be above"),
        ("standard", {"betaMax": 0.2}, "has no range of β"),
        ("standard", {"learningRate": 1e-5}, None),
        ("standard", {}, "nothing is given"),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_reason(method, given, answer):
    config = RunConfig.model_validate({"model": "m", "dataset": {"path": "x"}, "method": method})
    command = p.Command.model_validate({"id": "1", "ts": 1, "command": "set", **given})
    reason = why_not_settable(command, config)
    assert reason is None if answer is None else answer in (reason or "")


@pytest.mark.parametrize("name", ["checkpoint", "evaluate", "set"])
def test_outside_training_nothing_is_saved_or_set(tmp_path, name):
    run = RunFolder(tmp_path)
    run.phase("scoring", "")
    command(tmp_path, name)
    until(lambda: any(e["type"] == "command_acknowledged" for e in events(tmp_path)))
    (answer,) = (e for e in events(tmp_path) if e["type"] == "command_acknowledged")
    assert not answer["accepted"] and "only while the model trains" in answer["message"]
    assert not run.checkpoint_requested and not run.evaluation_requested and run.new_settings() == []


@pytest.mark.parametrize(
    ("phase", "name", "answer"),
    [
        ("training", "evaluate", (True, "measuring the model after this step")),
        ("evaluating", "evaluate", (False, "it is being measured already")),
        ("evaluating", "checkpoint", (True, "saving a checkpoint after this step")),
        ("training", "pause", (True, "pausing before the next batch; everything stays in memory, on the de")),
    ],
)
def test_what_is_said_to_a_command_while_the_model_trains(tmp_path, phase, name, answer):
    run = RunFolder(tmp_path)
    run.phase(phase, "")
    command(tmp_path, name)
    until(lambda: any(e["type"] == "command_acknowledged" for e in events(tmp_path)))
    (said,) = (e for e in events(tmp_path) if e["type"] == "command_acknowledged")
    assert said["accepted"] == answer[0] and said["message"].startswith(answer[1])
    assert run.evaluation_requested == (phase == "training" and name == "evaluate")


def test_a_line_that_is_no_command_is_warned_about(tmp_path):
    RunFolder(tmp_path)
    (tmp_path / "commands.jsonl").write_text('{"command": "explode"}\n')
    until(lambda: any(e["type"] == "warning" for e in events(tmp_path)))


def test_commands_are_heard_again_after_a_failure(tmp_path, monkeypatch):
    def full_disk(code, message):
        raise OSError(errno.ENOSPC, "No space left on device")

    run = RunFolder(tmp_path)
    commands = tmp_path / "commands.jsonl"
    commands.mkdir()  # a file that cannot be read
    time.sleep(0.5)
    commands.rmdir()
    monkeypatch.setattr(run, "warn", full_disk)
    commands.write_text("not a command\n")
    time.sleep(0.5)
    command(tmp_path, "stop")
    until(lambda: run.stop_requested)


@pytest.mark.parametrize(("told", "status"), [("cancel", "cancelled"), ("stop", "stopped")])
def test_a_process_that_does_not_look_ends(tmp_path, told, status):
    script = """
        import sys, time
        from pathlib import Path
        from safe_finetuning.run_folder import RunFolder
        run = RunFolder(Path(sys.argv[1]))
        run.phase("loading", "")
        print("ready", flush=True)
        time.sleep(60)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout and process.stdout.readline() == b"ready\n"
    command(tmp_path, told)
    assert process.wait(timeout=10) == 3
    assert events(tmp_path)[-1]["status"] == status


def test_a_full_disk_ends_the_run_with_a_message(tmp_path):
    script = """
        import resource, sys
        from pathlib import Path
        from safe_finetuning.run_folder import RunFolder
        run = RunFolder(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        try:
            for i in range(100):
                run.warn("x", "y")
        except OSError as error:
            run.finish("failed", f"stopped by {error.strerror}")
    """
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.returncode == 0
    assert "stopped by File too large" in process.stderr and str(tmp_path) in process.stderr
    whole_lines = (tmp_path / "events.jsonl").read_text().splitlines()[:-1]
    assert [json.loads(line)["seq"] for line in whole_lines] == list(range(len(whole_lines)))


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run")
    with (
        pytest.raises(UserError, match="cannot be written"),
        claim(tmp_path / "file" / "run", resume=False),
    ):
        pass


def test_a_folder_is_worked_on_by_one_process_at_a_time(tmp_path):
    script = """
        import sys
        from pathlib import Path
        from safe_finetuning.run_folder import claim
        with claim(Path(sys.argv[1]), resume=False):
            print("ready", flush=True)
            sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[1],
    )
    assert process.stdout and process.stdout.readline() == b"ready\n"
    with pytest.raises(UserError, match="another process"), claim(tmp_path, resume=True):
        pass
    process.kill()
    process.wait()
    with claim(tmp_path, resume=True):
        pass


def test_a_run_is_only_gone_on_with_when_asked(tmp_path):
    (tmp_path / "launch.json").write_text("{}")
    with claim(tmp_path, resume=False):
        (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="--resume"), claim(tmp_path, resume=False):
        pass
    with claim(tmp_path, resume=True):
        pass


def test_new_run_folders_stay_out_of_version_control(tmp_path):
    folder = create_run_folder(tmp_path, "adaptive")
    assert folder.is_dir() and "-adaptive-" in folder.name
    assert (tmp_path / ".safe-finetuning" / ".gitignore").read_text() == "*\n"
