"""Trackers beside the run's folder: what they are given, and what is said of them beforehand."""

import math

import pytest

from running import configure, events, finish, start
from safe_finetuning.config import RunConfig
from safe_finetuning.errors import UserError
from safe_finetuning.preflight import preflight
from safe_finetuning.trackers import check_trackers


def config(*names: str) -> RunConfig:
    return RunConfig.model_validate(
        {"model": "m", "dataset": {"path": "x"}, "training": {"reportTo": list(names)}}
    )


def test_tensorboard_is_given_what_the_events_say(workspace):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path = configure(
        workspace, training={"reportTo": ["tensorboard", "tensorboard"]}, evaluation={"enabled": False}
    )
    run = workspace / "run"
    process = start(workspace, "train", str(path), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 0, output
    (file,) = (run / "tensorboard").iterdir()
    read = EventAccumulator(str(file))
    read.Reload()
    batches = events(run, "batch")
    names = ("nll", "kl", "riskMean", "riskMax", "betaMean", "betaMax", "tokensPerSecond", "learningRate")
    for name in names:
        tag = "train/" + "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
        told = {e["step"]: e[name] for e in batches if e[name] is not None}
        found = {x.step: x.value for x in read.Scalars(tag)}
        assert found.keys() == told.keys() and told
        assert all(math.isclose(found[step], told[step], rel_tol=1e-5, abs_tol=1e-9) for step in told), name
    assert "train/loss" in read.Tags()["scalars"] and "train/canary" not in read.Tags()["scalars"]
    assert "parcel" not in file.read_bytes().decode("latin-1")


def test_a_tracker_without_its_package_ends_the_run_before_its_first_step(workspace, monkeypatch):
    path, run = configure(workspace, training={"reportTo": ["trackio"]}), workspace / "run"
    process = start(workspace, "train", str(path), "--run-folder", str(run))
    assert "python -m pip install trackio" in finish(process)
    assert process.returncode == 1
    assert events(run)[-1]["status"] == "failed" and not events(run, "batch")
    monkeypatch.setattr("safe_finetuning.trackers.find_spec", lambda _: None)
    with pytest.raises(UserError, match="pip install wandb tensorboard"):
        check_trackers(config("wandb", "tensorboard"))


@pytest.mark.parametrize(
    ("names", "environ", "status", "said"),
    [
        (["wandb"], {}, "warning", "sent to https://api.wandb.ai"),
        (["wandb"], {"WANDB_MODE": "offline"}, "ok", "nothing leaves this machine"),
        (["trackio"], {}, "ok", "nothing leaves this machine"),
        (["trackio"], {"TRACKIO_SPACE_ID": "me/space"}, "warning", "sent to me/space"),
        ([], {}, None, None),
    ],
)
def test_the_checks_say_what_leaves_the_machine(workspace, monkeypatch, names, environ, status, said):
    for name in ("WANDB_MODE", "WANDB_BASE_URL", "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("safe_finetuning.trackers.find_spec", lambda _: object())
    report = preflight(configure(workspace, training={"reportTo": names}))
    found = [(check.status, check.message) for check in report.checks if check.id == "trackers"]
    assert bool(found) == bool(status)
    if status:
        assert found[0][0] == status and said in found[0][1]
