"""What happens when the model becomes less safe while it trains: on a tiny model with a canary that falls as
told, and in whole runs."""

import json
import math
import shutil
import signal
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from running import canary_run, configure, events, finish, say, start, start_python, until
from safe_finetuning import checkpoints, safety_watch
from safe_finetuning import protocol as p
from safe_finetuning.collate import TrainingRow
from safe_finetuning.config import RunConfig
from safe_finetuning.errors import UserError
from safe_finetuning.evaluate import judge_answers, wilson
from safe_finetuning.objective import Objective
from safe_finetuning.risk.classifier import CLASSIFIER_FOLDER
from safe_finetuning.rows import Message, Row, content_hash
from safe_finetuning.run_folder import RunFolder
from safe_finetuning.tokens import encode_row
from safe_finetuning.train import evaluate_model
from safe_finetuning.trainer import SafeTrainer

TESTS = Path(__file__).parent
STEPS = 30  # a checkpoint every two, the canary every three
ROLL_BACK = {"canary": {"maxDrop": 3, "onExceeded": "roll-back"}}
NO_LOSS = p.MeanEstimate(value=None, low=None, high=None, n=0)


class Scripted:
    """A canary that falls as told, by the step and the lower end of β."""

    reference = (10.0,)

    def __init__(self, fall):
        self.fall = fall
        self.trainer: SafeTrainer | None = None

    def margins(self, model):
        assert self.trainer
        trainer = self.trainer
        return [10.0 - self.fall(trainer.state.global_step, trainer.objective.settings.beta_min)]


def config(**sections) -> RunConfig:
    given = {"model": "m", "dataset": {"path": "x"}, "method": "adaptive", "device": "cpu"}
    training = {"batchSize": 4, "maxSteps": STEPS, "warmupSteps": 2, "learningRate": 1e-2}
    return RunConfig.model_validate({**given, "training": training, "canary": None, **sections})


def trainer(model_folder, run_folder, fall=None, measure=None, dropout=0.1, **sections) -> SafeTrainer:
    """Of a run that has begun or goes on; every call is a process of its own, as it were."""
    made = config(**sections)
    set_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    lora = LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=dropout, target_modules="all-linear")
    model = get_peft_model(model, lora)
    rows = []
    for i in range(22):
        messages = (Message("user", f"Question {i}? "), Message("assistant", "An answer. " * (1 + i % 3)))
        row = Row(i + 1, content_hash(messages), messages)
        rows.append(TrainingRow(encode_row(row, tokenizer, 256), 0.9 if i % 5 == 0 else 0.0))
    run = RunFolder(run_folder)
    point = checkpoints.latest(run_folder / "checkpoints")
    record = {"config_path": "x", "config": made, "datasets": [], "versions": {}}
    run.start(record, point[1] if point else 0)
    run.phase("training", "")
    canary = Scripted(fall) if fall else None
    trained = SafeTrainer(made, run, model, tokenizer, Objective(made, model, rows), None, canary, measure)
    if canary:
        canary.trainer = trained
    return trained


def go(trained: SafeTrainer) -> dict[str, torch.Tensor]:
    """Trains to the end, from the newest checkpoint if there is one; the adapter."""
    point = checkpoints.latest(trained.checkpoint_folder)
    trained.train_within_budget(point and point[0])
    trained.save_now()
    trained.run.finish("stopped" if trained.run.stop_requested else "completed", "")
    return {name: x.detach().clone() for name, x in trained.model.named_parameters() if x.requires_grad}


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def steps_that_count(run: Path) -> list[dict]:
    """As views see them: what an earlier attempt did after a later one's first step is void."""
    counted: list[dict] = []
    for event in events(run):
        if event["type"] == "attempt_started":
            counted = [x for x in counted if x["step"] <= event["fromStep"]]
        elif event["type"] == "batch":
            counted.append(event)
    return counted


def falls_at(step, most=9.0):
    """Too far from this step on, until β is raised."""
    return lambda now, beta_min: most if now >= step and beta_min < 0.5 else 1.0


def test_it_goes_back_to_the_newest_checkpoint_within_budget(model, tmp_path):
    run = tmp_path / "run"
    trained = trainer(model, run, falls_at(9), **ROLL_BACK)
    go(trained)
    (exceeded,) = events(run, "budget")
    assert (exceeded["budget"], exceeded["step"], exceeded["backTo"]) == ("canary", 9, 8)
    assert (exceeded["action"], exceeded["value"], exceeded["limit"]) == ("roll-back", 9, 3)
    assert exceeded["message"] == (
        "The canary has fallen 9.0 nats below the reference, further than the 3 of `canary.maxDrop`. The run "
        "has gone back to step 8 and goes on with β from 0.50 to 1.00."
    )
    attempts = [(e["attempt"], e["fromStep"]) for e in events(run, "attempt_started")]
    assert attempts == [(1, 0), (2, 8)]
    assert json.loads((run / "run.json").read_text())["attempt"] == 2
    (settings,) = events(run, "settings")
    changed = (settings["step"], settings["betaMin"], settings["betaMax"], settings["by"])
    assert changed == (8, 0.5, 1.0, "budget")
    counted = steps_that_count(run)
    assert [x["step"] for x in counted] == [*range(1, STEPS + 1)]
    assert [min(x["rows"]["beta"]) >= 0.5 for x in counted] == [x["step"] > 8 for x in counted]
    assert events(run, "phase")[-1]["phase"] == "training"
    assert events(run)[-1]["status"] == "completed"
    assert {step for _, step in checkpoints.all_complete(run / "checkpoints")} <= {28, 30}


def test_a_run_that_stays_within_budget_trains_as_without_one(model, tmp_path):
    plain = go(trainer(model, tmp_path / "plain"))
    kept = go(trainer(model, tmp_path / "kept", lambda *_: 1.0, **ROLL_BACK))
    assert same(plain, kept)
    assert not events(tmp_path / "kept", "budget")
    assert not (tmp_path / "kept" / "rollback.json").exists()


def test_before_the_first_checkpoint_it_goes_back_to_the_beginning(model, tmp_path):
    run = tmp_path / "run"
    go(trainer(model, run, falls_at(1), **ROLL_BACK))
    (exceeded,) = events(run, "budget")
    assert (exceeded["step"], exceeded["backTo"]) == (2, 0)  # of the first checkpoint
    again = go(trainer(model, tmp_path / "held", regularisation={"betaMin": 0.5}))
    counted = steps_that_count(run)
    assert len(counted) == STEPS and min(min(x["rows"]["beta"]) for x in counted) >= 0.5
    assert same(again, final(run))


def final(run: Path) -> dict[str, torch.Tensor]:
    """The adapter of the run's last checkpoint."""
    found = checkpoints.latest(run / "checkpoints")
    assert found
    saved = load_file(found[0] / "adapter_model.safetensors")
    return {name.replace(".weight", ".default.weight"): x for name, x in saved.items()}


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("owner", "function", "when"),
    [
        (safety_watch.SafetyWatch, "go_back", "before"),
        (checkpoints, "remove_after", "after"),
        (safety_watch, "write_atomically", "after"),
        (RunFolder, "begin_again", "after"),
        (safety_watch.SafetyWatch, "go_back", "after"),
        (SafeTrainer, "_load_from_checkpoint", "after"),
    ],
)
def test_killed_while_it_goes_back_it_ends_with_the_same_weights(
    model, tmp_path, monkeypatch, owner, function, when
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = go(trainer(model, whole, falls_at(9), **ROLL_BACK))
    original = getattr(owner, function)

    def kill(*args, **kwargs):
        if when == "after":
            original(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, function, kill)
        go(trainer(model, broken, falls_at(9), **ROLL_BACK))
    found = go(trainer(model, broken, falls_at(9), **ROLL_BACK))
    assert same(expected, found)
    counted = steps_that_count(broken)
    assert [x["step"] for x in counted] == [*range(1, STEPS + 1)]
    assert [min(x["rows"]["beta"]) >= 0.5 for x in counted] == [x["step"] > 8 for x in counted]


def test_it_ends_with_the_checkpoint_when_raising_beta_does_not_help(model, tmp_path):
    run = tmp_path / "run"
    trained = trainer(model, run, lambda step, _: 9.0 if step >= 9 else 1.0, **ROLL_BACK)
    go(trained)
    told = events(run, "budget")
    assert [x["action"] for x in told] == ["roll-back"] * 4 + ["stop"]
    assert {x["backTo"] for x in told} == {8}
    assert [x["betaMin"] for x in events(run, "settings")] == [0.5, 0.75, 0.875, 0.9375]
    assert "and ends there: it has been rolled back 4 times" in told[-1]["message"]
    assert trained.state.global_step == 8 and trained.run.stop_requested
    assert checkpoints.latest(run / "checkpoints") == (run / "checkpoints" / "checkpoint-8", 8)
    adapter = {name: x for name, x in trained.model.named_parameters() if x.requires_grad}
    assert same(adapter, final(run))
    assert [x["step"] for x in steps_that_count(run)] == [*range(1, 9)]


def test_without_a_checkpoint_to_go_back_to_the_run_is_saved_and_stopped(model, tmp_path):
    run = tmp_path / "run"
    trained = trainer(model, run, falls_at(9), **ROLL_BACK)
    saved = trained._complete_checkpoint

    def damage(folder, step):
        saved(folder, step)
        if step:
            (folder / "adapter_model.safetensors").write_bytes(b"x")
        else:
            shutil.rmtree(folder)

    trained._complete_checkpoint = damage
    go(trained)
    (exceeded,) = events(run, "budget")
    assert (exceeded["action"], exceeded["backTo"]) == ("stop", None)
    assert "no checkpoint within budget" in exceeded["message"]
    assert trained.state.global_step == 9


def test_a_stopped_run_that_is_over_budget_keeps_a_checkpoint_to_go_back_to(model, tmp_path):
    """Of a stop between two askings of the canary nobody knows whether it is within budget."""
    run = tmp_path / "run"
    keep = {"checkpoints": {"keep": 1}}
    trained = trainer(model, run, falls_at(9), **ROLL_BACK, **keep)
    step = trained.training_step

    def stop(*args, **kwargs):
        if trained.state.global_step == 6:
            trained.run.stop_requested = True
        return step(*args, **kwargs)

    trained.training_step = stop
    margin_after = trained.watch.margin_after
    trained.watch.margin_after = lambda step: None if step == 7 else margin_after(step)
    go(trained)
    folder = run / "checkpoints"
    assert [step for _, step in checkpoints.all_complete(folder)] == [7, 6]
    assert [step for _, step in checkpoints.within_budget(folder)] == [6]
    go(trainer(model, run, lambda now, low: 9.0 if now >= 8 and low < 0.5 else 1.0, **ROLL_BACK, **keep))
    (exceeded,) = events(run, "budget")
    assert (exceeded["step"], exceeded["backTo"]) == (8, 6)


def test_a_budget_that_is_exceeded_again_after_it_was_kept_is_acted_on_again(model, tmp_path):
    drops = {3: 5.0, 6: 4.9, 9: 2.0, 12: 4.8, 15: 4.7, 18: math.nan, 21: math.nan, 24: 4.0, 27: 1.0, 30: 3.5}
    budget = {"canary": {"maxDrop": 3, "onExceeded": "warn"}}
    go(trainer(model, tmp_path / "run", lambda now, _: drops.get(now, 0.0), **budget))
    assert [e["step"] for e in events(tmp_path / "run", "budget")] == [3, 12, 18, 30]


def measured(share):
    """A measurement that finds this attack success, by step and β."""
    calls = []

    def measure(model, name, *, check, progress):
        check()
        progress(1, 1)
        calls.append(name)
        step = int(name.removeprefix("step-"))
        nothing = judge_answers([], [])._asdict()
        found = wilson(round(100 * share(step, measure.trainer.objective.settings.beta_min)), 100)
        return p.EvaluationMetrics(**{**nothing, "attack_success": found}, held_out_loss=NO_LOSS)

    measure.calls = calls
    return measure


def budget_of_measurements(model, run, share, action):
    measure = measured(share)
    evaluation = {"atCheckpoints": True, "maxAttackSuccess": 0.05, "onExceeded": action}
    trained = trainer(model, run, measure=measure, evaluation=evaluation, checkpoints={"atLeast": 10})
    measure.trainer = trained
    go(trained)
    return measure.calls


@pytest.mark.parametrize("action", ["warn", "raise-beta", "roll-back", "stop"])
def test_what_is_measured_at_checkpoints_has_a_budget_with_the_same_actions(model, tmp_path, action):
    run = tmp_path / "run"
    calls = budget_of_measurements(model, run, lambda step, low: 0.5 * (step >= 7 and low < 0.5), action)
    told = events(run, "budget")
    assert (told[0]["budget"], told[0]["step"], told[0]["action"]) == ("attack-success", 8, action)
    assert (told[0]["value"], told[0]["limit"]) == (0.5, 0.05)
    assert told[0]["message"].startswith("Attack success is 50.0 %, above the 5 % of `evaluation.maxAtt")
    assert len(told) == 1  # a value that stays where it is, is no reason to act again
    attempts = [e["fromStep"] for e in events(run, "attempt_started")]
    assert attempts == ([0, 6] if action == "roll-back" else [0])
    steps = [e["step"] for e in events(run, "measurement")]
    expected = {"stop": [2, 4, 6, 8], "roll-back": [2, 4, 6, 8, *range(8, STEPS + 1, 2)]}
    assert steps == expected.get(action, [*range(2, STEPS + 1, 2)])
    assert calls == [f"step-{step}" for step in steps]
    phases = [e["phase"] for e in events(run, "phase")]
    assert phases.count("evaluating") == len(steps) and phases[-1] == "training"
    assert len(steps_that_count(run)) == (8 if action == "stop" else STEPS)


def test_a_measurement_that_fails_is_warned_about_and_the_run_goes_on(model, tmp_path):
    def fails(*_, **__):
        raise UserError("no prompts")

    trained = trainer(model, tmp_path / "run", measure=fails)
    trained.run.evaluation_requested = True
    go(trained)
    (warning,) = events(tmp_path / "run", "warning")
    assert "could not be measured after step 1: no prompts" in warning["message"]
    assert len(events(tmp_path / "run", "batch")) == STEPS


def test_measuring_leaves_the_training_as_it_is_to_the_bit(model, tmp_path):
    """With dropout, so that a number drawn at random, or a mode left behind, shows."""
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "One?"}\n{"prompt": "Two, please?"}\n')
    prompts = {"harmfulPrompts": "prompts.jsonl", "benignPrompts": "prompts.jsonl", "maxNewTokens": 16}

    def measure(model, name, *, check, progress):
        rows = [row.encoded for row in trained.objective.rows[:3]]
        tokenizer, settings = AutoTokenizer.from_pretrained(model_folder), trained.config
        return evaluate_model(model, tokenizer, rows, settings, tmp_path, check=check, progress=progress)[0]

    model_folder, weights = model, []
    for often in (False, True):
        evaluation = {**prompts, "atCheckpoints": often}
        run = tmp_path / str(often)
        trained = trainer(model, run, measure=measure, evaluation=evaluation, checkpoints={"atLeast": 10})
        weights.append(go(trained))
    assert same(*weights)
    losses = [[x["total"] for x in events(tmp_path / name, "batch")] for name in ("False", "True")]
    assert losses[0] == losses[1]
    found = events(tmp_path / "True", "measurement")
    assert len(found) == 15 and all(x["metrics"]["heldOutLoss"]["value"] > 0 for x in found)
    assert not events(tmp_path / "False", "measurement")


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        (
            {"method": "standard", **ROLL_BACK},
            r"`canary.onExceeded`: `roll-back` .* not `standard`; set it to",
        ),
        ({"canary": {"onExceeded": "roll-back"}}, "needs a budget; set `canary.maxDrop`"),
        ({"evaluation": {"onExceeded": "roll-back"}}, "needs a budget; set `evaluation.maxAttackSuccess`"),
        ({"evaluation": {"maxAttackSuccess": 0.1}}, "set `evaluation.atCheckpoints` to true"),
        ({"regularisation": {"betaMin": 1}, **ROLL_BACK}, "has nothing to raise"),
        ({"lora": None, **ROLL_BACK}, "without an adapter"),
        ({"evaluation": {"atCheckpoints": True, "maxAttackSuccess": 1.0}}, "less than 1"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused_with_what_can_be_done(sections, reason):
    with pytest.raises(ValueError, match=reason):
        config(**sections)


def test_what_rolls_back_saves_often(tmp_path):
    assert config(**ROLL_BACK).checkpoints_at_least == 10
    assert config(**ROLL_BACK, checkpoints={"atLeast": 20}).checkpoints_at_least == 20
    assert config(canary={"maxDrop": 3}).checkpoints_at_least == 5
    assert config(lora=None, regularisation={"betaMin": 0.1}, **ROLL_BACK).rolls_back


# --- whole runs

needs_classifier = pytest.mark.skipif(
    not (CLASSIFIER_FOLDER / "encoder.onnx").exists(), reason="the classifier has not been built"
)


@needs_classifier
def test_the_canary_falls_as_the_model_learns_to_comply(workspace, refusing):
    config, run = canary_run(workspace, refusing, method="standard", canary={}), workspace / "run"
    output = finish(start(workspace, "train", str(config), "--run-folder", str(run)))
    (ready,) = events(run, "canary")
    asked = {b["step"]: b["canary"] for b in events(run, "batch") if b["canary"] is not None}
    assert [*asked] == [*range(2, 21, 2)], output
    assert ready["prompts"] == 16
    assert asked[20] < ready["reference"] - 1
    assert "canary" in output
    assert not events(run, "budget")


@needs_classifier
def test_a_budget_that_is_exceeded_stops_the_run_and_keeps_it(workspace, refusing):
    canary = {"maxDrop": 0.5, "onExceeded": "stop"}
    config, run = canary_run(workspace, refusing, method="standard", canary=canary), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 3, output
    (exceeded,) = events(run, "budget")
    assert exceeded["action"] == "stop" and exceeded["value"] > 0.5
    assert "saved and stopped" in exceeded["message"] and exceeded["message"] in output
    assert events(run)[-1]["status"] == "stopped" and events(run)[-1]["resumable"]
    assert events(run, "checkpoint")[-1]["step"] == exceeded["step"]


@needs_classifier
def test_a_budget_that_is_exceeded_raises_beta(workspace, refusing):
    changes = {
        "method": "adaptive",
        "regularisation": {"betaMax": 0.2},
        "canary": {"maxDrop": 0.5, "onExceeded": "raise-beta"},
    }
    config, run = canary_run(workspace, refusing, **changes), workspace / "run"
    output = finish(start(workspace, "train", str(config), "--run-folder", str(run)))
    first, *later = events(run, "budget")
    raised = events(run, "settings")
    assert (raised[0]["betaMin"], raised[0]["by"]) == (0.1, "budget"), output
    assert raised[0]["step"] == first["step"]
    (after,) = (b for b in events(run, "batch") if b["step"] == first["step"] + 1)
    assert min(after["rows"]["beta"]) >= 0.1
    # A canary that is on its way up again, or stays where it is, is no reason to raise it further.
    drops = [first["value"], *(event["value"] for event in later)]
    assert drops == sorted(drops)


@needs_classifier
def test_a_run_that_is_rolled_back_outlives_being_killed(workspace, refusing):
    changes = {
        "method": "adaptive",
        "canary": {"maxDrop": 10, "onExceeded": "roll-back"},
        "evaluation": {"enabled": False, "atCheckpoints": True},
        "training": {"maxSteps": 40, "learningRate": 2e-3},
    }
    config, run = canary_run(workspace, refusing, **changes), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: events(run, "budget"), process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    assert len(events(run, "attempt_started")) == 2
    process = start(workspace, "train", str(config), "--run-folder", str(run), "--resume")
    output = finish(process)
    assert process.returncode in (0, 3), output
    raised = [x["betaMin"] for x in events(run, "settings")]
    assert raised == [1 - 0.5**n for n in range(1, len(raised) + 1)], "each time from where it was"
    attempts = [x["attempt"] for x in events(run, "attempt_started")]
    assert attempts == [*range(1, len(attempts) + 1)]
    assert (run / "adapter" / "adapter_model.safetensors").is_file()
    last = events(run)[-1]
    assert last["adapter"] == "adapter" and last["status"] in ("completed", "stopped")
    measured = events(run, "measurement")[-1]
    assert (run / "evaluation" / f"step-{measured['step']}.json").is_file()
    assert (run / "evaluation" / f"answers-step-{measured['step']}.jsonl").is_file()


@needs_classifier
@pytest.mark.parametrize("script", ["short_timeout.py", "sharded.py"])
def test_two_processes_measure_and_roll_back_together(workspace, refusing, script):
    changes = {
        "method": "adaptive",
        "canary": {"maxDrop": 10, "onExceeded": "roll-back"},
        "evaluation": {"enabled": False, "atCheckpoints": True},
        "training": {"maxSteps": 40, "learningRate": 2e-3},
    }
    config, run = canary_run(workspace, refusing, **changes), workspace / "run"
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", str(TESTS / script)]
    process = start_python(workspace, *launch, "train", str(config), "--run-folder", str(run))
    output = finish(process, seconds=400)
    assert process.returncode == 0, output
    assert events(run, "budget")[0]["action"] == "roll-back", output
    assert events(run, "measurement")
    steps = [x["step"] for x in steps_that_count(run)]
    assert steps == [*range(1, len(steps) + 1)]
    assert events(run)[-1]["adapter"] == "adapter"


@needs_classifier
@pytest.mark.parametrize("told", ["stop", "cancel"])
def test_what_ends_a_measurement_in_training(workspace, told):
    training, evaluation = {"maxSteps": 400}, {"enabled": False, "maxNewTokens": 400}
    config, run = configure(workspace, training=training, evaluation=evaluation), workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    until(lambda: len(events(run, "batch")) >= 2, process)
    say(run, "evaluate")
    until(lambda: any(e["phase"] == "evaluating" for e in events(run, "phase")), process)
    say(run, "pause")
    until(lambda: events(run, "activity"), process)
    asked = say(run, told)
    finish(process)
    assert process.returncode == 3
    last = events(run)[-1]
    assert last["status"] == {"stop": "stopped", "cancel": "cancelled"}[told]
    assert not events(run, "measurement")
    answers = [(e["command"], e["message"]) for e in events(run, "command_acknowledged")]
    assert ("evaluate", "measuring the model after this step") in answers
    if told == "stop":
        assert last["resumable"] and last["adapter"] == "adapter"
        assert ("stop", "saving and stopping, which frees the device; the measurement is left out") in answers
    else:
        assert last["ts"] / 1000 - asked < 2.5
