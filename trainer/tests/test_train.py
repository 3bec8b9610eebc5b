"""Whole runs as a user starts them: a trainer process, real files, a tiny model."""

import errno
import json
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from running import TRAINER, configure, events, finish, say, start, start_python, until
from safe_finetuning import checkpoints
from safe_finetuning import protocol as p
from safe_finetuning.example_model import ADAPTER_FOLDER
from safe_finetuning.risk.classifier import CLASSIFIER_FOLDER
from safe_finetuning.train import explain
from tiny import make_tiny_model

pytestmark = pytest.mark.skipif(
    not (CLASSIFIER_FOLDER / "encoder.onnx").exists(), reason="the classifier has not been built"
)


def test_a_whole_run(workspace):
    config, run = configure(workspace), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 0, output
    assert "Traceback" not in output

    assert [e["seq"] for e in events(run)] == list(range(len(events(run))))
    phases = [e["phase"] for e in events(run, "phase")]
    assert phases == ["loading", "scoring", "evaluating-before", "training", "saving", "evaluating-after"]
    (dataset,) = events(run, "dataset")
    assert (dataset["rows"], dataset["flagged"], dataset["refusals"]) == (22, 1, 1)
    assert dataset["trained"] + dataset["heldOut"] == 22 and dataset["heldOut"] > 0
    batches = events(run, "batch")
    assert [b["step"] for b in batches] == [1, 2, 3, 4, 5, 6]
    risky = [
        (beta, kl)
        for b in batches
        for line, beta, kl in zip(b["rows"]["line"], b["rows"]["beta"], b["rows"]["kl"], strict=True)
        if line == 21
    ]
    assert risky and all(beta > 0.5 and kl is not None for beta, kl in risky)
    assert [e["model"] for e in events(run, "evaluation")] == ["before", "after"]
    assert events(run)[-1]["status"] == "completed" and events(run)[-1]["adapter"] == "adapter"

    record = p.RunRecord.model_validate_json((run / "run.json").read_text())
    assert record.status == "completed" and record.datasets[0].rows == 22
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    everything = (run / "events.jsonl").read_text() + (run / "run.json").read_text()
    assert "parcel" not in everything and "steal" not in everything

    process = start(workspace, "train", str(config), "--run-folder", str(run))
    assert "there is a run in this folder already" in finish(process)
    assert process.returncode == 1
    assert (run / "events.jsonl").read_text() + (run / "run.json").read_text() == everything


def test_a_run_on_a_folder_of_files(workspace):
    """Each row is known by its file and line; another file in the folder is another dataset."""
    data = workspace / "data"
    data.mkdir()
    (workspace / "rows.jsonl").rename(data / "rows.jsonl")
    (data / "more.csv").write_text("prompt,completion\n" + "Where?,Here.\n" * 3)
    config, run = configure(workspace, dataset={"path": "data"}), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 0, output
    record = p.RunRecord.model_validate_json((run / "run.json").read_text())
    assert [(Path(x.path).name, x.rows) for x in record.datasets] == [("more.csv", 3), ("rows.jsonl", 22)]
    seen = {
        (file, line)
        for b in events(run, "batch")
        for file, line in zip(b["rows"]["file"], b["rows"]["line"], strict=True)
    }
    assert {file for file, _ in seen} == {0, 1}
    assert {line for file, line in seen if file == 0} <= {2, 3, 4}
    (data / "new.csv").write_text("prompt,completion\nWhere?,Here.\n")
    process = start(workspace, "train", str(config), "--run-folder", str(run), "--resume")
    assert "had 2 files when the run began and has 3 now" in finish(process)


def test_a_run_goes_on_when_its_reader_has_gone_or_reads_no_greek(workspace):
    config = configure(workspace, evaluation={"enabled": False})
    gone, plain = workspace / "gone", workspace / "plain"
    process = start(workspace, "train", str(config), "--run-folder", str(gone))
    assert process.stdout
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    process = start(workspace, "train", str(config), "--run-folder", str(plain), PYTHONIOENCODING="ascii")
    assert "??kl" in process.communicate(timeout=60)[0]  # β·kl
    for run in (gone, plain):
        assert events(run)[-1]["status"] == "completed"


@pytest.mark.parametrize(("method", "trained"), [("standard", 21), ("filter", 20)])
def test_other_methods(workspace, method, trained):
    (workspace / "held.jsonl").write_text((workspace / "rows.jsonl").read_text().splitlines()[0] + "\n")
    config = configure(
        workspace,
        method=method,
        dataset={"heldOutPath": "held.jsonl"},
        evaluation={"enabled": False},
        training={"maxSteps": 6},
    )
    run = workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    assert "completed" in finish(process)
    (dataset,) = events(run, "dataset")
    record = p.RunRecord.model_validate_json((run / "run.json").read_text())
    assert [Path(x.path).name for x in record.datasets] == ["rows.jsonl", "held.jsonl"]
    assert dataset["trained"] == trained + 1 and dataset["filtered"] == 21 - trained
    (warning,) = events(run, "warning")
    assert warning["message"].startswith("1 of 1 held-out rows are trained on, too")
    assert "held.jsonl, line 1, is line 1 of rows.jsonl" in warning["message"]
    assert all(b["betaMax"] == 0 and b["kl"] is None for b in events(run, "batch"))


def test_risk_from_the_policy_and_how_far_it_drifts(workspace):
    risk = {"source": "probe", "probe": "probe.safetensors", "features": "policy"}
    config, run = configure(workspace, risk=risk, training={"maxSteps": 12}), workspace / "run"
    process = start(workspace, "probe", str(config))
    output = finish(process)
    assert process.returncode == 0, output
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 0, output
    assert "drifted" in events(run)[-1]["message"] or "AUROC" in events(run)[-1]["message"]
    risks = {}
    for batch in events(run, "batch"):
        for line, value in zip(batch["rows"]["line"], batch["rows"]["risk"], strict=True):
            risks.setdefault(line, []).append(value)
    moved = [seen for seen in risks.values() if len({*seen}) > 1]
    assert moved and all(0 <= value <= 1 for seen in risks.values() for value in seen)
    assert set(risks.get(22, [0])) == {0}  # the refusal


@pytest.mark.skipif(not find_spec("bitsandbytes"), reason="bitsandbytes is not installed")
def test_an_adapter_on_a_base_of_four_bits_exported_onto_the_whole_one(workspace):
    make_tiny_model(workspace / "wide", hidden_size=64)  # bitsandbytes quantises blocks of 64 weights
    config, run = configure(workspace, model="wide", quantisation="4bit"), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 0, output
    process = start(workspace, "export", str(run), "--output", str(workspace / "exported"))
    output = finish(process)
    assert process.returncode == 0, output
    base, exported = (
        load_file(folder / "model.safetensors") for folder in (workspace / "wide", workspace / "exported")
    )
    changed = [name for name in base if not torch.equal(base[name], exported[name])]
    assert changed and all((base[name] - exported[name]).abs().max() < 0.05 for name in changed)


def test_all_weights_trained_and_resumed(workspace):
    """Without an adapter; the reference is asked again when the run is resumed, from the cache."""
    config = configure(
        workspace,
        lora=None,
        method="kl",
        training={"maxSteps": 8},
    )
    whole, broken = workspace / "whole", workspace / "broken"
    process = start(workspace, "train", str(config), "--run-folder", str(whole))
    output = finish(process)
    assert process.returncode == 0, output
    assert events(whole)[-1]["adapter"] == "model"
    batches = events(whole, "batch")
    assert batches[0]["kl"] == pytest.approx(0, abs=1e-6) and batches[-1]["kl"] > 0
    process = start(workspace, "train", str(config), "--run-folder", str(broken))
    until(lambda: len(events(broken, "checkpoint")) >= 1, process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    process = start(workspace, "train", str(config), "--run-folder", str(broken), "--resume")
    output = finish(process)
    assert process.returncode == 0, output
    expected, found = (load_file(run / "model" / "model.safetensors") for run in (whole, broken))
    assert all((expected[name] == found[name]).all() for name in expected)
    process = start(workspace, "export", str(whole), "--output", str(workspace / "exported"))
    output = finish(process)
    assert process.returncode == 0, output
    exported = load_file(workspace / "exported" / "model.safetensors")
    assert all((exported[name] == expected[name]).all() for name in exported)


def test_killed_and_resumed_it_ends_with_the_same_weights(workspace):
    config = configure(
        workspace, training={"maxSteps": 12, "microBatchSize": 2}, evaluation={"enabled": False}
    )
    whole, broken = workspace / "whole", workspace / "broken"
    finish(start(workspace, "train", str(config), "--run-folder", str(whole)))

    process = start(workspace, "train", str(config), "--run-folder", str(broken))
    until(lambda: len(events(broken, "checkpoint")) >= 1 and len(events(broken, "batch")) >= 4, process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert json.loads((broken / "run.json").read_text())["status"] == "running"  # it could not say more

    damaged = broken / "checkpoints" / "checkpoint-12"  # as after a power cut, and of the last step
    damaged.mkdir(exist_ok=True)
    checkpoints.complete(damaged, 12)
    manifest = json.loads((damaged / "manifest.json").read_text())
    manifest["files"]["optimizer.pt"] = {"bytes": 1, "sha256": "0"}
    (damaged / "manifest.json").write_text(json.dumps(manifest))

    process = start(workspace, "train", str(config), "--run-folder", str(broken), "--resume")
    output = finish(process)
    assert process.returncode == 0, output
    assert "checkpoint-12 is damaged" in events(broken, "warning")[0]["message"]
    assert checkpoints.is_whole(damaged)
    second = events(broken, "attempt_started")[1]
    assert second["attempt"] == 2 and second["fromStep"] > 0
    assert events(broken, "batch")[-1]["step"] == 12

    expected, found = (load_file(run / "adapter" / "adapter_model.safetensors") for run in (whole, broken))
    assert all((expected[name] == found[name]).all() for name in expected)


def test_killed_at_twenty_points_and_resumed_it_ends_with_the_same_weights(workspace):
    """With accumulation and a moving average, which are part of the state; also while it saves, inside a
    file, and while the reference is being asked; with dropout, and with settings that were changed."""
    config = configure(
        workspace,
        training={"maxSteps": 12, "microBatchSize": 2},
        regularisation={"granularity": "batch", "betaMin": 0.1, "movingAverage": 0.5},
        evaluation={"enabled": False},
    )
    process = start_python(workspace, str(TRAINER / "tests" / "killed.py"), str(config), str(workspace))
    output = finish(process, seconds=400)
    assert process.returncode == 0, output
    points = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert len(points) == 20
    for point in points:
        inside = "bytes into a file" in point["point"]  # where the system kills it
        assert point["killed"] == -(signal.SIGXFSZ if inside else signal.SIGKILL), point
        assert point["resumed"] == 0 and point["same"], point


def test_pause_stop_and_resume(workspace):
    config, run = configure(workspace, training={"maxSteps": 400}), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: len(events(run, "batch")) >= 2, process)
    say(run, "pause")
    until(lambda: events(run, "activity") and events(run, "activity")[-1]["paused"], process)
    count = len(events(run, "batch"))
    time.sleep(0.5)
    assert len(events(run, "batch")) <= count + 1
    say(run, "resume")
    until(lambda: len(events(run, "batch")) > count + 1, process)
    say(run, "stop")
    finish(process)
    assert process.returncode == 3
    last = events(run)[-1]
    assert last["status"] == "stopped" and last["resumable"] and last["adapter"] == "adapter"
    found = checkpoints.latest(run / "checkpoints")
    assert found and found[1] == events(run, "batch")[-1]["step"]

    before = (run / "events.jsonl").read_text(), (run / "run.json").read_text()
    rows = (workspace / "rows.jsonl").read_text()
    (workspace / "rows.jsonl").write_text(rows * 2)
    process = start(workspace, "train", str(config), "--run-folder", str(run), "--resume")
    assert "has changed since the run began" in finish(process)
    assert process.returncode == 1
    assert ((run / "events.jsonl").read_text(), (run / "run.json").read_text()) == before

    (workspace / "rows.jsonl").write_text(rows)
    make_tiny_model(workspace / "model", seed=7)
    process = start(workspace, "train", str(config), "--run-folder", str(run), "--resume")
    assert "the model has changed since the run began" in finish(process)
    assert process.returncode == 1 and len(events(run, "batch")) == found[1]


def test_settings_change_and_checkpoints_are_made_while_it_trains(workspace):
    config, run = configure(workspace, training={"maxSteps": 400}), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: len(events(run, "batch")) >= 2, process)
    say(run, "set", betaMin=0.3, learningRate=1e-5)
    until(lambda: len(events(run, "settings")) == 2, process)
    beta, rate = events(run, "settings")
    assert (beta["betaMin"], beta["betaMax"], beta["by"]) == (0.3, 1.0, "command")
    assert rate["learningRate"] == 1e-5
    until(lambda: events(run, "batch")[-1]["step"] > rate["step"] + 1, process)
    after = [b for b in events(run, "batch") if b["step"] > rate["step"] + 1]
    assert min(min(b["rows"]["beta"]) for b in after) >= 0.3
    assert max(b["learningRate"] for b in after) <= 1e-5
    saved = len(events(run, "checkpoint"))
    say(run, "checkpoint")
    until(lambda: len(events(run, "checkpoint")) > saved, process)
    assert [e["accepted"] for e in events(run, "command_acknowledged")] == [True, True]
    say(run, "stop")
    finish(process)

    # What was set is part of the state.
    process = start(workspace, "train", str(config), "--run-folder", str(run), "--resume")
    until(lambda: events(run, "batch")[-1]["step"] > events(run, "attempt_started")[-1]["fromStep"], process)
    last = events(run, "batch")[-1]
    assert min(last["rows"]["beta"]) >= 0.3 and last["learningRate"] <= 1e-5
    say(run, "cancel")
    finish(process)


def skip_measurement_before(run: Path) -> None:
    (run / "evaluation").mkdir(parents=True)
    (run / "evaluation" / "before.json").write_text("{}")


def test_what_ends_the_last_measurement_leaves_the_adapter(workspace):
    config, run = configure(workspace, evaluation={"maxNewTokens": 400}), workspace / "run"
    skip_measurement_before(run)
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: any(e["phase"] == "evaluating-after" for e in events(run, "phase")), process)
    say(run, "cancel")
    finish(process)
    last = events(run)[-1]
    assert (last["status"], last["adapter"], last["resumable"]) == ("cancelled", "adapter", False)
    assert last["message"] == "Cancelled; kept: the adapter and the checkpoint of step 6."

    run = workspace / "fails"
    skip_measurement_before(run)
    (workspace / "benign.jsonl").write_text("")
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    finish(process)
    assert process.returncode == 1
    last = events(run)[-1]
    assert (last["status"], last["adapter"], last["resumable"]) == ("failed", "adapter", False)
    assert "has no prompts" in last["message"] and "the adapter is saved" in last["message"]


@pytest.mark.parametrize("phase", ["evaluating-before", "evaluating-after"])
def test_stop_ends_a_measurement(workspace, phase):
    config, run = configure(workspace, evaluation={"maxNewTokens": 400}), workspace / "run"
    if phase == "evaluating-after":
        skip_measurement_before(run)
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: any(e["phase"] == phase for e in events(run, "phase")), process)
    say(run, "stop")
    finish(process)
    assert process.returncode == 3
    last = events(run)[-1]
    assert (last["status"], last["resumable"]) == ("stopped", False)
    if phase == "evaluating-before":
        assert last["message"] == "Stopped before training; nothing was saved."
        assert not events(run, "batch") and not events(run, "evaluation")
    else:
        expected = "Stopped before the last measurement; kept: the adapter and the checkpoint of step 6."
        assert (last["message"], last["adapter"]) == (expected, "adapter")


def test_what_to_do_next_depends_on_what_is_saved(tmp_path):
    failures = [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("can't allocate memory")]
    assert [explain(error, tmp_path).split(", then ")[1] for error in failures] == ["start a new run."] * 2
    checkpoint = tmp_path / "checkpoints" / "checkpoint-2"
    checkpoint.mkdir(parents=True)
    checkpoints.complete(checkpoint, 2)
    assert [explain(error, tmp_path).split(", then ")[1] for error in failures] == ["resume."] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on file sizes to hit there")
@pytest.mark.parametrize("save", [save_file, torch.save])
def test_weights_that_cannot_be_written_say_where_and_what_next(tmp_path, save):
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(Exception) as failure:
            save({"weight": torch.zeros(100_000)}, tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    text = explain(failure.value, tmp_path)
    assert text.startswith(f"{tmp_path}: a file cannot be written")
    assert text.endswith("Free some space or mend access, then start a new run.")


@pytest.mark.parametrize("phase", ["loading", "evaluating-before", "training"])
def test_cancel_acts_within_two_seconds(workspace, phase):
    config = configure(workspace, training={"maxSteps": 400}, evaluation={"maxNewTokens": 400})
    run = workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: any(e["phase"] == phase for e in events(run, "phase")), process)
    asked = say(run, "cancel")
    finish(process)
    assert process.returncode == 3
    last = events(run)[-1]
    assert last["status"] == "cancelled"
    assert last["ts"] / 1000 - asked < 2.5


def test_what_cannot_run_says_why_and_where(workspace):
    config = configure(workspace, method="adaptve")
    process = start(workspace, "train", str(config))
    output = finish(process)
    assert process.returncode == 2
    assert "x.finetune.json:1:" in output and "`method`" in output and "Traceback" not in output

    config = configure(workspace, model="./nowhere")
    process = start(workspace, "train", str(config), "--run-folder", str(workspace / "run"))
    output = finish(process)
    assert process.returncode == 1 and "there is no folder" in output
    assert events(workspace / "run")[-1]["status"] == "failed"


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_what_was_learned(workspace):
    config = configure(
        workspace,
        training={"maxSteps": 6, "learningRate": 1e30},
        checkpoints={"atLeast": 5},
        evaluation={"enabled": False},
    )
    run = workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 1 and "Traceback" not in output, output
    last, broken = events(run)[-1], events(run, "batch")[-1]["step"]
    assert last["type"] == "finished" and last["status"] == "failed"
    assert f"The loss is not finite at step {broken}" in last["message"]
    assert "lower `training.learningRate`" in last["message"]
    kept = checkpoints.latest(run / "checkpoints")
    assert kept and kept[1] < broken <= 3 and checkpoints.is_whole(kept[0])
    assert json.loads((run / "run.json").read_text())["status"] == "failed"


def test_unreadable_rows_are_refused_or_skipped_and_listed(workspace):
    with (workspace / "rows.jsonl").open("a") as file:
        file.write('{"messages": [\n')
    config = configure(workspace, evaluation={"enabled": False})
    process = start(workspace, "train", str(config), "--run-folder", str(workspace / "a"))
    assert "rows.jsonl:23:" in finish(process)
    assert process.returncode == 1

    config = configure(workspace, dataset={"invalidRows": "skip"}, evaluation={"enabled": False})
    process = start(workspace, "train", str(config), "--run-folder", str(workspace / "b"))
    finish(process)
    assert process.returncode == 0
    (dataset,) = events(workspace / "b", "dataset")
    assert [x["line"] for x in dataset["invalid"]] == [23]


def test_evaluate_measures_the_reference_and_refuses_an_adapter_of_another_model(workspace):
    config = str(configure(workspace))
    process = start(workspace, "evaluate", config, "--format", "json")
    metrics = p.EvaluationMetrics.model_validate_json(finish(process))
    assert process.returncode == 0
    prompts = (workspace / "harmful.jsonl").read_text().splitlines()
    assert metrics.attack_success.n == len(prompts) > 0

    process = start(workspace, "evaluate", config, "--adapter", str(ADAPTER_FOLDER))
    output = finish(process)
    assert process.returncode == 1 and "Traceback" not in output
    assert f"{ADAPTER_FOLDER}: does not fit `model`" in output and "Give the adapter of a run" in output


def test_preflight_and_score(workspace):
    process = start(workspace, "preflight", str(configure(workspace)), "--format", "json")
    report = p.PreflightReport.model_validate_json(finish(process))
    assert process.returncode == 0
    assert {c.id: c.status for c in report.checks} == {
        "configuration": "ok",
        "device": "ok",
        "model": "ok",
        "dataset": "ok",
        "rows": "ok",
        "disk": "ok",
    }
    broken = configure(workspace, dataset={"path": "none.jsonl"})
    process = start(workspace, "preflight", str(broken), "--format", "json")
    report = p.PreflightReport.model_validate_json(finish(process))
    assert process.returncode == 1
    assert [c.id for c in report.checks if c.status == "error"] == ["dataset"]

    elsewhere = workspace / "not" / "there" / "yet"
    process = start(workspace, "preflight", str(broken), "--runs-folder", str(elsewhere))
    assert "GB free" in finish(process)
    process = start(
        workspace, "preflight", str(broken), "--runs-folder", str(workspace / "rows.jsonl" / "runs")
    )
    assert "rows.jsonl is not a folder that can be written to" in finish(process)

    process = start(workspace, "score", "rows.jsonl", "--format", "json")
    scores = p.ScoreReport.model_validate_json(finish(process))
    by_line = {row.line: row for row in scores.rows}
    assert by_line[21].risk > 0.5 and not by_line[21].refusal
    assert by_line[22].risk == 0 and by_line[22].refusal
    assert max(by_line[line].risk for line in range(1, 21)) < 0.5


def test_rows_on_one_line_keep_their_own_risks(workspace):
    """A list may stand on a single line: the line does not tell its rows apart."""
    pairs = [json.loads(line)["messages"] for line in (workspace / "rows.jsonl").read_text().splitlines()]
    (workspace / "rows.json").write_text(json.dumps([{"messages": turns} for turns in pairs]))
    runs = {}
    for name in ("rows.jsonl", "rows.json"):
        config, run = configure(workspace, dataset={"path": name}), workspace / f"run-{name}"
        process = start(workspace, "train", str(config), "--run-folder", str(run))
        assert process.wait(120) == 0, finish(process)
        runs[name] = [
            list(zip(b["rows"]["hash"], b["rows"]["risk"], strict=True)) for b in events(run, "batch")
        ]
    assert runs["rows.json"] == runs["rows.jsonl"]
    assert max(risk for rows in runs["rows.json"] for _, risk in rows) > 0.5
