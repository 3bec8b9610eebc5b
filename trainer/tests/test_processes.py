"""Two processes, with whole weights or sharing them, against one: losses, weights, and a run that is told to
pause, stop and resume."""

import json
import signal
import time
from functools import cache
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from running import configure, events, finish, say, start, start_python, until
from safe_finetuning.cli import main
from safe_finetuning.config import RunConfig
from safe_finetuning.errors import UserError
from safe_finetuning.processes import LAUNCHED, check_processes, launch_command
from safe_finetuning.risk.classifier import CLASSIFIER_FOLDER

TESTS = Path(__file__).parent
LAUNCH = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
TERMS = ("total", "nll", "kl", "anchors", "safetyTokens", "betaMean")


ACCELERATE = """distributed_type: MULTI_GPU
num_machines: 1
num_processes: 2
mixed_precision: 'no'
"""  # the only type that starts several processes on one machine without MPI, with GPUs or without


@pytest.fixture(scope="module")
def alone(model, tmp_path_factory):
    """Trains by a method in one process, once; gives the folder of the run."""

    @cache
    def train(method: str) -> Path:
        out = tmp_path_factory.mktemp("one")
        process = start_python(out, str(TESTS / "worker.py"), str(model), str(out), method)
        output = finish(process)
        assert process.returncode == 0, output
        return out

    return train


@pytest.mark.parametrize(
    ("method", "wrapped"),
    [
        ("adaptive", "accelerate"),
        ("adaptive", "fsdp"),
        ("by-batch", ""),
        ("recommended", ""),
        ("recommended", "fsdp"),
        ("safety-tokens", "fsdp"),
    ],
)
def test_two_processes_learn_what_one_learns(model, alone, tmp_path, method, wrapped):
    launch = LAUNCH
    if wrapped == "accelerate":
        (tmp_path / "two.yaml").write_text(ACCELERATE)
        launch = ["-m", "accelerate.commands.launch", "--config_file", "two.yaml"]
    one, two = alone(method), tmp_path / "two"
    two.mkdir()
    mode = ["fsdp"] if wrapped == "fsdp" else []
    process = start_python(tmp_path, *launch, str(TESTS / "worker.py"), str(model), str(two), method, *mode)
    output = finish(process)
    assert process.returncode == 0, output
    steps = list(zip(events(one, "batch"), events(two, "batch"), strict=True))
    assert len(steps) == 20
    for single, together in steps:
        for term in (x for x in TERMS if single[x] is not None):
            assert together[term] == pytest.approx(single[term], rel=1e-9, abs=1e-12), term
        rows = [
            sorted(zip(*(event["rows"][column] for column in ("line", "nll")), strict=True))
            for event in (single, together)
        ]
        assert [line for line, _ in rows[0]] == [line for line, _ in rows[1]]
        assert [nll for _, nll in rows[0]] == pytest.approx([nll for _, nll in rows[1]], rel=1e-9)
        risks = together["rows"]["risk"]  # of the first process, then of the second
        assert max(risks[:4]) == 0 < max(risks[4:])
        if method == "adaptive":
            assert max(together["rows"]["beta"][:4]) == 0 and together["kl"] is not None
    expected, found = (load_file(out / "adapter.safetensors") for out in (one, two))
    for name, weights in expected.items():
        assert (found[name] - weights).abs().max() < 1e-9, name


needs_classifier = pytest.mark.skipif(
    not (CLASSIFIER_FOLDER / "encoder.onnx").exists(), reason="the classifier has not been built"
)


def to_the_end(workspace, *train):
    """Two processes that end without an error; what they printed."""
    process = start_python(workspace, *LAUNCH, *train)
    output = finish(process)
    assert process.returncode == 0, output
    return output


def paused(workspace, run, *train):
    """Two processes that train a new run and were told to pause after three steps."""
    process = start_python(workspace, *LAUNCH, *train, str(run))
    until(lambda: len(events(run, "batch")) >= 3, process)
    say(run, "pause")
    until(lambda: events(run, "activity"), process)
    return process


def resumed_as_whole(workspace, whole, run, trained, *train):
    """Resumes a stopped run, which ends with the weights of one that was not stopped, to the bit."""
    output = to_the_end(workspace, *train, str(run), "--resume")
    assert events(run)[-1]["status"] == "completed", output
    expected, found = (load_file(folder / trained) for folder in (whole, run))
    assert expected.keys() == found.keys()
    assert all((expected[name] == found[name]).all() for name in expected)


@needs_classifier
def test_a_pause_outlives_the_time_out_and_a_stopped_run_goes_on_in_its_order(workspace):
    config = configure(workspace, training={"maxSteps": 60}, checkpoints={"atLeast": 1})
    train = [str(TESTS / "short_timeout.py"), "train", str(config), "--run-folder"]
    whole, run = workspace / "whole", workspace / "run"
    to_the_end(workspace, *train, str(whole))
    process = paused(workspace, run, *train)
    count = len(events(run, "batch"))
    time.sleep(30)
    assert len(events(run, "batch")) == count < 60
    say(run, "resume")
    until(lambda: len(events(run, "batch")) > count + 1, process)
    say(run, "stop")
    output = finish(process)
    assert process.returncode == 0, output
    stopped = events(run)[-1]
    assert stopped["status"] == "stopped" and stopped["resumable"], output

    resumed_as_whole(workspace, whole, run, "adapter/adapter_model.safetensors", *train)
    lines = [[sorted(e["rows"]["line"]) for e in events(folder, "batch")] for folder in (whole, run)]
    assert lines[0] == lines[1]


@needs_classifier
@pytest.mark.parametrize("trained", ["adapter/adapter_model.safetensors", "model/model.safetensors"])
@pytest.mark.parametrize("script", ["sharded.py", "short_timeout.py"])
def test_processes_that_were_stopped_end_with_the_same_weights(workspace, script, trained):
    lora = {"rank": 4} if trained.startswith("adapter") else None
    config = configure(workspace, training={"maxSteps": 40}, checkpoints={"atLeast": 1}, lora=lora)
    train = [str(TESTS / script), "train", str(config), "--run-folder"]
    whole, run = workspace / "whole", workspace / "run"
    to_the_end(workspace, *train, str(whole))
    process = paused(workspace, run, *train)
    say(run, "stop")
    output = finish(process)
    assert process.returncode == 0 and events(run)[-1]["status"] == "stopped", output
    assert 3 <= len(events(run, "batch")) < 40
    (checkpoint,) = (run / "checkpoints").iterdir()
    assert any(x.is_dir() for x in checkpoint.iterdir()) == (script == "sharded.py")  # a folder has shards

    resumed_as_whole(workspace, whole, run, trained, *train)


@needs_classifier
def test_a_process_that_dies_ends_the_run_and_the_run_says_so(workspace):
    config, run = configure(workspace, training={"maxSteps": 400}), workspace / "run"
    command = [*LAUNCH, "-m", "safe_finetuning", "train", str(config), "--run-folder", str(run)]
    process = start_python(workspace, *command)
    until(lambda: len(events(run, "batch")) >= 2, process)
    first = json.loads((run / "run.json").read_text())["process"]["pid"]
    (other,) = (p for p in psutil.Process(process.pid).children() if p.pid != first)
    other.send_signal(signal.SIGKILL)
    finish(process)
    assert process.returncode == 1
    last = events(run)[-1]
    assert last["type"] == "finished" and last["status"] == "failed"
    assert "nother process of the run" in last["message"]


@needs_classifier
def test_a_cancelled_run_ends_all_processes(workspace):
    """Started by Accelerate, as the configuration names one of its own."""
    (workspace / "two.yaml").write_text(ACCELERATE)
    config, run = (
        configure(workspace, accelerateConfig="two.yaml", training={"maxSteps": 400}),
        workspace / "run",
    )
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: len(events(run, "batch")) >= 2, process)
    assert len(psutil.Process(process.pid).children(recursive=True)) >= 2
    say(run, "cancel")
    finish(process)
    assert events(run)[-1]["status"] == "cancelled"


@needs_classifier
def test_an_interrupted_launcher_has_the_run_saved(workspace):
    config, run = configure(workspace, processes=2, training={"maxSteps": 400}), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: len(events(run, "batch")) >= 2, process)
    process.send_signal(signal.SIGINT)  # as Ctrl-C
    output = finish(process)
    last = events(run)[-1]
    assert last["type"] == "finished" and last["status"] == "stopped" and last["resumable"], output


def test_an_accelerate_configuration_for_one_process_starts_no_chain_of_launchers(workspace):
    (workspace / "alone.yaml").write_text("distributed_type: 'NO'\nnum_processes: 1\nuse_cpu: true\n")
    config = configure(workspace, accelerateConfig="alone.yaml")
    process = start(workspace, "train", str(config), "--run-folder", str(workspace / "run"))
    output = finish(process)
    assert process.returncode == 1 and "alone.yaml starts one process" in output


def asked(**settings) -> RunConfig:
    return RunConfig.model_validate(
        {"model": "m", "dataset": {"path": "x.jsonl"}, "device": "cpu", **settings}
    )


def test_a_batch_that_cannot_be_divided_is_refused_before_anything_is_made(monkeypatch, tmp_path, capsys):
    config = tmp_path / "x.finetune.json"
    config.write_text('{"model": "m", "dataset": {"path": "x.jsonl"}, "device": "cpu", "processes": 3}')
    for world in ({}, {"WORLD_SIZE": "3"}):
        for name, value in world.items():
            monkeypatch.setenv(name, value)
        assert main(["train", str(config)]) == 1
        said = capsys.readouterr().err
        assert "cannot be divided among 3 processes" in said and "Make it a multiple of 6" in said
    assert not (tmp_path / ".safe-finetuning").exists()


def test_more_processes_than_devices_are_refused(monkeypatch):
    monkeypatch.setattr("safe_finetuning.model.resolve_device", lambda _: torch.device("cuda"))
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(UserError, match=r"2 processes on a machine with 1 cuda device"):
        check_processes(asked(), 2, 2)
    check_processes(asked(), 2, 1)  # of two machines


def test_what_starts_them(tmp_path, monkeypatch):
    assert launch_command(asked(), tmp_path, ["train", "x"]) is None
    command = launch_command(asked(processes=2), tmp_path, ["train", "x"])
    assert (
        command
        and command[1:3] == ["-m", "torch.distributed.run"]
        and command[-4:-2] == ["-m", "safe_finetuning"]
    )
    monkeypatch.setenv(LAUNCHED, "1")
    assert launch_command(asked(processes=2), tmp_path, ["train", "x"]) is None
    monkeypatch.delenv(LAUNCHED)
    with pytest.raises(UserError, match="there is no such file"):
        launch_command(asked(accelerateConfig="a.yaml"), tmp_path, [])
    (tmp_path / "a.yaml").write_text("num_processes: 2\n")
    command = launch_command(asked(accelerateConfig="a.yaml"), tmp_path, ["train", "x"])
    assert command and str(tmp_path / "a.yaml") in command and "--num_processes" not in command
