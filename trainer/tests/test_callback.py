"""A plain transformers.Trainer that tells of itself: what its run folder says, and what it hears."""

import json
import os
import textwrap
import warnings

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from running import events, finish, say, start_python, until
from safe_finetuning import SafetyMonitorCallback
from safe_finetuning import protocol as p


class Between(TrainerCallback):
    """Does something after a step, as a user would from outside."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_step_end(self, args, state, control, **_):
        if state.global_step == self.step:
            self.act()


def plain_trainer(model, output, callback, kind=Trainer, **arguments) -> Trainer:
    tokenizer = AutoTokenizer.from_pretrained(model)
    given = {"max_steps": 4, "logging_steps": 1, "save_strategy": "no", **arguments}
    trainer = kind(
        model=AutoModelForCausalLM.from_pretrained(model),
        args=TrainingArguments(
            output_dir=str(output),
            per_device_train_batch_size=2,
            use_cpu=True,
            disable_tqdm=True,
            report_to="none",
            **given,
        ),
        train_dataset=[tokenizer(f"Where is parcel {i}?") for i in range(8)],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
    )
    trainer.add_callback(callback)
    return trainer


def record(run) -> p.RunRecord:
    return p.RunRecord.model_validate_json((run / "run.json").read_text("utf-8"))


def heard(run, name):
    """Says it to the run and waits until it is answered."""
    say(run, name)
    while not any(e["command"] == name for e in events(run, "command_acknowledged")):
        pass


def test_a_plain_script_tells_of_every_logged_step(model, workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(workspace / "cache"))
    callback = SafetyMonitorCallback(name="first try!", dataset="rows.jsonl")
    tokens = {"include_num_input_tokens_seen": "non_padding"}
    plain_trainer(model, workspace / "out", callback, save_strategy="steps", save_steps=2, **tokens).train()
    (run,) = (workspace / ".safe-finetuning" / "runs").iterdir()
    assert "-first-try-" in run.name
    said = record(run)
    assert (said.status, said.message) == ("completed", "Completed 4 steps.")
    assert (said.config, said.config_path) == (None, None)
    assert said.script and (said.script.name, said.script.model) == ("first try!", str(model))
    assert said.process.pid == os.getpid()
    assert [(d.path, d.rows) for d in said.datasets] == [(str(workspace / "rows.jsonl"), 22)]

    (judged,) = events(run, "dataset")
    assert (judged["rows"], judged["flagged"], judged["refusals"]) == (22, 1, 1)
    assert judged["trained"] is None
    batches = events(run, "batch")
    assert [e["step"] for e in batches] == [1, 2, 3, 4]
    assert all(e["total"] > 0 and e["learningRate"] > 0 and e["gradNorm"] > 0 for e in batches)
    assert all(e["tokensPerSecond"] > 0 and e["totalSteps"] == 4 for e in batches)
    assert {e[name] for e in batches for name in ("riskMean", "riskMax", "betaMean", "betaMax", "nll")} == {
        None
    }
    assert batches[0]["rows"]["hash"] == []
    assert batches[-1]["etaSeconds"] == 0
    saved = events(run, "checkpoint")
    assert [(e["step"], e["path"]) for e in saved] == [
        (step, str(workspace / "out" / f"checkpoint-{step}")) for step in (2, 4)
    ]
    assert all(e["bytes"] > 0 for e in saved)
    assert [e["type"] for e in events(run)][:: len(events(run)) - 1] == ["attempt_started", "finished"]


class Judging(Trainer):
    """Logs a risk of its own: that of a step in the middle of it, the highest one together with the loss."""

    def compute_loss(self, *args, **kwargs):
        self.log({"risk_mean": 0.1 * (self.state.global_step + 1)})
        return super().compute_loss(*args, **kwargs)

    def log(self, logs, *args, **kwargs):
        if "loss" in logs and self.state.global_step != 3:
            logs["risk_max"] = torch.tensor(0.75)
            logs["canary"] = float("nan") if self.state.global_step == 2 else 4.5
        super().log(logs, *args, **kwargs)


def test_the_risk_that_a_script_logs_is_told(model, tmp_path):
    plain_trainer(model, tmp_path, SafetyMonitorCallback(tmp_path / "run"), kind=Judging).train()
    batches = events(tmp_path / "run", "batch")
    assert [e["step"] for e in batches] == [1, 2, 3, 4]
    assert [e["riskMean"] for e in batches] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert [e["riskMax"] for e in batches] == [0.75, 0.75, None, 0.75]
    assert [e["canary"] for e in batches] == [4.5, None, None, 4.5]
    assert [e["notFinite"] for e in batches] == [[], ["canary"], [], []]
    assert {e["betaMax"] for e in batches} == {None}


def test_trls_trainer_tells_of_itself(model, tmp_path):
    trl = pytest.importorskip(
        "trl", reason="run by build/bench-env/bin/python, which `npm run bench` sets up"
    )
    from datasets import Dataset

    trainer = trl.SFTTrainer(
        model=str(model),
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "out"),
            max_steps=2,
            logging_steps=1,
            per_device_train_batch_size=2,
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=Dataset.from_list([{"text": f"Where is parcel {i}?"} for i in range(8)]),
        callbacks=[SafetyMonitorCallback(tmp_path / "run")],
    )
    trainer.train()
    batches = events(tmp_path / "run", "batch")
    assert [e["step"] for e in batches] == [1, 2]
    assert all(e["total"] > 0 and e["tokensPerSecond"] > 0 for e in batches)
    assert record(tmp_path / "run").status == "completed"


def test_what_is_logged_now_and_then_is_told_then(model, tmp_path):
    plain_trainer(
        model, tmp_path, SafetyMonitorCallback(tmp_path / "run"), logging_steps=3, max_steps=7
    ).train()
    batches = events(tmp_path / "run", "batch")
    assert [e["step"] for e in batches] == [3, 6]
    assert batches[0]["tokensPerSecond"] is None  # Trainer was not asked to count


@pytest.mark.parametrize("command", ["stop", "cancel"])
def test_it_stops_when_told_to(model, tmp_path, command):
    run, out = tmp_path / "run", tmp_path / "out"
    trainer = plain_trainer(model, out, SafetyMonitorCallback(run), max_steps=50)
    trainer.callback_handler.callbacks.insert(0, Between(3, lambda: heard(run, command)))
    trainer.train()
    assert trainer.state.global_step == 3
    assert record(run).status == {"stop": "stopped", "cancel": "cancelled"}[command]
    assert (out / "checkpoint-3" / "model.safetensors").exists() == (command == "stop")


def test_it_saves_when_told_to_and_refuses_what_is_not_its_own(model, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    trainer = plain_trainer(model, out, SafetyMonitorCallback(run), max_steps=5)

    def tell():
        say(run, "set", learningRate=0.1)
        say(run, "evaluate")
        heard(run, "checkpoint")

    trainer.callback_handler.callbacks.insert(0, Between(2, tell))
    trainer.train()
    assert trainer.state.global_step == 5
    assert [e["step"] for e in events(run, "checkpoint")] == [2]
    refused, unmeasured, saved = events(run, "command_acknowledged")
    assert (refused["command"], refused["accepted"]) == ("set", False)
    assert refused["message"] == "a training script has its settings itself"
    assert (unmeasured["accepted"], unmeasured["message"]) == (False, "a training script measures itself")
    assert saved["accepted"]


def test_it_waits_while_paused(model, tmp_path):
    run = tmp_path / "run"
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from safe_finetuning import SafetyMonitorCallback
        from test_callback import plain_trainer
        here = Path({str(tmp_path)!r})
        callback = SafetyMonitorCallback(here / "run")
        plain_trainer({str(model)!r}, here / "out", callback, max_steps=100_000).train()
        print("the script goes on")
        """)
    )
    process = start_python(tmp_path, str(script))
    until(lambda: events(run, "batch"), process)
    say(run, "pause")
    until(lambda: any(e["paused"] for e in events(run, "activity")), process)
    told = len(events(run, "batch"))
    say(run, "resume")
    until(lambda: len(events(run, "batch")) > told, process)
    assert record(run).script.path == str(script)
    say(run, "cancel")
    assert "the script goes on" in finish(process)
    assert process.returncode == 0
    assert record(run).status == "cancelled"


def test_of_two_processes_one_writes_and_both_stop(model, tmp_path):
    run = tmp_path / "run"
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(f"""
        from pathlib import Path
        from safe_finetuning import SafetyMonitorCallback
        from test_callback import plain_trainer
        here = Path({str(tmp_path)!r})
        callback = SafetyMonitorCallback(here / "run")
        trainer = plain_trainer(
            {str(model)!r}, here / "out", callback, max_steps=100_000, ddp_backend="gloo"
        )
        trainer.train()
        print("ended at", trainer.state.global_step)
        """)
    )
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    process = start_python(tmp_path, *launcher, str(script))
    until(lambda: events(run, "batch"), process)
    say(run, "pause")
    until(lambda: any(e["paused"] for e in events(run, "activity")), process)
    say(run, "stop")
    output = finish(process)
    assert process.returncode == 0, output
    assert len(events(run, "attempt_started")) == 1
    steps = [e["step"] for e in events(run, "batch")]
    assert steps == list(range(1, len(steps) + 1))
    assert output.count(f"ended at {steps[-1]}") == 2
    assert record(run).status == "stopped"


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("raise ValueError('too bad')", "failed", "ValueError: too bad"),
        ("raise KeyboardInterrupt", "cancelled", "Interrupted after step 2."),
        ("sys.exit(5)", "failed", "The script ended after step 2, before its training did."),
    ],
)
def test_a_training_that_breaks_off_is_told(model, tmp_path, line, status, message):
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from safe_finetuning import SafetyMonitorCallback
        from test_callback import Between, plain_trainer
        here = Path({str(tmp_path)!r})
        trainer = plain_trainer({str(model)!r}, here / "out", SafetyMonitorCallback(here / "run"))
        def act():
            {line}
        trainer.add_callback(Between(2, act))
        trainer.train()
        """)
    process = start_python(tmp_path, "-c", script)
    finish(process)
    assert process.returncode != 0
    said = record(tmp_path / "run")
    assert (said.status, said.message) == (status, message)
    assert events(tmp_path / "run")[-1]["type"] == "finished"


def test_a_disk_that_fails_is_warned_of_once_and_training_goes_on(model, tmp_path):
    callback = SafetyMonitorCallback(tmp_path / "run")
    trainer = plain_trainer(model, tmp_path / "out", callback)

    def fail(*_):
        raise OSError(28, "No space left on device")

    def break_disk():
        callback.run._events.write = fail

    trainer.callback_handler.callbacks.insert(0, Between(2, break_disk))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        trainer.train()
    assert trainer.state.global_step == 4
    assert ["No space left" in str(w.message) for w in found if "monitor" in str(w.message)] == [True]


def test_a_folder_that_has_a_run_is_not_written_over(model, tmp_path):
    run = tmp_path / "run"
    trainer = plain_trainer(
        model, tmp_path / "out", SafetyMonitorCallback(run), save_strategy="steps", save_steps=2
    )
    trainer.train()
    before = (run / "events.jsonl").read_bytes()
    with pytest.warns(UserWarning, match="there is a run in it already"):
        plain_trainer(model, tmp_path / "out", SafetyMonitorCallback(run)).train()
    assert (run / "events.jsonl").read_bytes() == before
    trainer.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    first, second = events(run, "attempt_started")
    assert (first["attempt"], second["attempt"], second["fromStep"]) == (1, 2, 2)
    assert [e["step"] for e in events(run, "batch")] == [1, 2, 3, 4, 3, 4]


def test_a_dataset_that_is_not_there_is_a_warning_of_the_run(model, tmp_path):
    plain_trainer(
        model, tmp_path / "out", SafetyMonitorCallback(tmp_path / "run", dataset="nowhere.jsonl")
    ).train()
    (warning,) = events(tmp_path / "run", "warning")
    assert "nowhere.jsonl" in warning["message"]
    assert record(tmp_path / "run").status == "completed"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["datasets"] == []
