"""What is kept in run folders stays readable: nothing that is required of a message is ever added to it."""

import json

import pytest

from safe_finetuning import protocol as p
from safe_finetuning.schema import EVENTS

REQUIRED = {
    p.AttemptStarted: "attempt from_step pid host",
    p.PhaseStarted: "phase message",
    p.Progress: "phase done unit",
    p.DatasetRead: "rows trained held_out flagged refusals unscored filtered invalid truncated unsupervised "
    "total_steps",
    p.Batch: "step total_steps epoch nll kl total risk_mean risk_max beta_mean beta_max learning_rate "
    "grad_norm tokens tokens_per_second step_seconds memory_bytes eta_seconds rows",
    p.CheckpointSaved: "step path bytes",
    p.Evaluated: "model metrics seconds",
    p.Measured: "step metrics seconds",
    p.CanaryReady: "reference prompts",
    p.BudgetExceeded: "step budget value limit action message",
    p.SettingsChanged: "step by",
    p.CommandAcknowledged: "id command accepted message",
    p.ActivityChanged: "paused",
    p.Warned: "code message",
    p.Heartbeat: "",
    p.Finished: "status message resumable",
    p.RowColumns: "file line hash risk beta nll kl",
    p.RowProblem: "file line hash reason",
    p.EvaluationMetrics: "attack_success over_refusal degenerate held_out_loss",
    p.Proportion: "value low high count n",
    p.MeanEstimate: "value low high n",
    p.RunRecord: "id config_path config datasets versions process attempt status message",
    p.DatasetRecord: "path sha256 rows",
    p.ScriptRecord: "name path model",
    p.ProcessRecord: "pid start_time host",
    p.RunConfig: "model dataset",
    p.LaunchRecord: "id ts argv interpreter config_path",
}
"""What files of the first version have, and of the messages that came later, what they began with."""


@pytest.mark.parametrize("model", REQUIRED, ids=lambda model: model.__name__)
def test_a_field_that_is_added_has_a_default(model):
    envelope = ["seq", "ts"] if issubclass(model, p.Event) else []
    required = [name for name, field in model.model_fields.items() if field.is_required()]
    assert required == [*envelope, *REQUIRED[model].split()], (
        "An older file leaves out what has been added since: give it a default."
    )


def test_every_event_is_held_to_it():
    assert {model.__name__ for model in REQUIRED} >= set(EVENTS)


def test_a_number_that_is_none_is_null_and_named():
    rows = p.RowColumns(file=[], line=[], hash=[], risk=[], beta=[], nll=[], kl=[])
    missing = dict.fromkeys(("nll", "kl", "risk_mean", "risk_max", "beta_mean", "beta_max", "learning_rate"))
    given = {**missing, "tokens": 3, "tokens_per_second": 1.0, "step_seconds": 1.0, "memory_bytes": 1}
    step = {"seq": 1, "ts": 1.0, "step": 1, "total_steps": 2, "epoch": 0.5, "eta_seconds": None, "rows": rows}
    told = p.Batch(**given, **step, total=float("nan"), grad_norm=float("-inf"), canary=float("inf"))
    written = json.loads(told.model_dump_json(by_alias=True))
    assert (written["total"], written["gradNorm"], written["canary"]) == (None, None, None)
    assert written["notFinite"] == ["total", "gradNorm", "canary"]
    again = p.Batch.model_validate_json(told.model_dump_json(by_alias=True))
    assert again.not_finite == told.not_finite
    calm = p.Batch(**given, **step, total=1.0, grad_norm=None)
    assert (calm.not_finite, calm.canary) == ([], None)
