"""A run goes on with what it began with, or not at all."""

import hashlib
import json
from pathlib import Path

import pytest

from running import write_record
from safe_finetuning import checkpoints
from safe_finetuning import protocol as p
from safe_finetuning.config import RunConfig
from safe_finetuning.errors import UserError
from safe_finetuning.resume import hold_identity, resume_point

CONFIG = {
    "model": "m",
    "dataset": {"path": "rows.jsonl", "heldOutPath": "held.jsonl"},
    "method": "adaptive",
}


def config(**changes) -> RunConfig:
    return RunConfig.model_validate({**CONFIG, **changes})


@pytest.fixture
def run(tmp_path) -> Path:
    """A run with a checkpoint of step 2, beside its two datasets."""
    datasets = []
    for name in ("rows.jsonl", "held.jsonl"):
        (tmp_path / name).write_text(name)
        sha256 = hashlib.sha256(name.encode()).hexdigest()
        datasets.append(
            p.DatasetRecord(path=str(tmp_path / name), sha256=sha256, rows=1, names=None, reviewed=[])
        )
    run = tmp_path / "run"
    checkpoint(run, 2)
    write_record(run, config(), datasets=datasets, status="stopped")
    return run


def checkpoint(run: Path, step: int) -> Path:
    folder = run / "checkpoints" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "weights").write_text(f"weights of step {step}")
    checkpoints.complete(folder, step)
    return folder


def test_it_goes_on_from_its_checkpoint(run):
    point = resume_point(run, config(), run.parent)
    assert (point.checkpoint.name, point.step) == ("checkpoint-2", 2)


def test_it_falls_back_to_the_newest_checkpoint_that_is_whole(run):
    for step, damage in [(4, "weights"), (6, "manifest.json")]:
        (checkpoint(run, step) / damage).write_text("")
    (checkpoint(run, 8) / "weights").unlink()
    point = resume_point(run, config(), run.parent)
    assert point.step == 2
    assert sorted(x.name for x in point.damaged) == ["checkpoint-4", "checkpoint-6", "checkpoint-8"]

    (run / "checkpoints" / "checkpoint-2" / "weights").unlink()
    with pytest.raises(UserError, match=r"no complete checkpoint .*damaged: .*checkpoint-2\)"):
        resume_point(run, config(), run.parent)


def test_changed_settings_are_refused_and_named(run):
    changed = config(method="standard", training={"learningRate": 0.5, "microBatchSize": 1})
    with pytest.raises(UserError) as refusal:
        resume_point(run, changed, run.parent)
    message = str(refusal.value)
    assert '`method` (was "adaptive", is "standard")' in message
    assert "`training.learningRate` (was 0.0002, is 0.5)" in message
    assert "microBatchSize" not in message
    assert "Restore what was, or start a new run." in message and "\n" not in message


def test_settings_of_time_and_memory_may_change(run):
    changed = config(
        training={"microBatchSize": 2, "reportTo": ["tensorboard"]},
        evaluation={"batchSize": 1},
        checkpoints={"keep": 5, "everyMinutes": 1, "atLeast": 1},
        device="cpu",
        **{"$schema": "x"},
    )
    assert resume_point(run, changed, run.parent).step == 2


@pytest.mark.parametrize("name", ["rows.jsonl", "held.jsonl"])
def test_a_changed_dataset_is_refused(run, name):
    (run.parent / name).write_text("other")
    with pytest.raises(UserError, match=rf"{name}: the file has changed"):
        resume_point(run, config(), run.parent)


def test_without_a_record_or_a_checkpoint_there_is_nothing_to_resume(run):
    for manifest in run.glob("checkpoints/*/manifest.json"):
        manifest.unlink()
    with pytest.raises(UserError, match="no complete checkpoint"):
        resume_point(run, config(), run.parent)
    (run / "run.json").write_text("{")
    with pytest.raises(UserError, match=r"run\.json: cannot be read"):
        resume_point(run, config(), run.parent)
    (run / "run.json").unlink()
    with pytest.raises(UserError, match="no run in this folder"):
        resume_point(run, config(), run.parent)


def test_it_does_not_go_on_with_rows_that_were_reviewed_meanwhile(run):
    (run.parent / "held.reviewed.txt").write_text("# nothing yet\n")
    assert resume_point(run, config(), run.parent).step == 2
    (run.parent / "rows.reviewed.txt").write_text(f"{'0' * 16} line 1\n")
    with pytest.raises(UserError, match=r"rows\.reviewed\.txt: the file has changed since the run began"):
        resume_point(run, config(), run.parent)


def test_it_does_not_go_on_with_other_columns(run):
    entry = {"file_name": "rows.jsonl", "columns": {"prompt": "ask"}}
    (run.parent / "dataset_info.json").write_text(json.dumps({"rows": entry}))
    with pytest.raises(UserError, match=r"dataset_info\.json: the file has changed since the run began"):
        resume_point(run, config(), run.parent)


def test_it_goes_on_with_the_model_and_the_tokenizer_that_it_began_with(tmp_path):
    warned = []
    began = {"model": "a", "tokenizer": "b", "judge": "c"}
    for _ in range(2):
        hold_identity(tmp_path, lambda *told: warned.append(told), **began)
    assert not warned
    for name in ("model", "tokenizer"):
        with pytest.raises(UserError, match=rf"the {name} has changed since the run began.*start a new run"):
            hold_identity(tmp_path, lambda *told: warned.append(told), **{**began, name: "other"})
    hold_identity(tmp_path, lambda *told: warned.append(told), **{**began, "judge": "other"})
    ((code, said),) = warned
    assert code == "judge" and "began with the judge c and goes on with other" in said
