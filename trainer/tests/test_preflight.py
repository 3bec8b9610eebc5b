"""What the checks say of a configuration's judge, anchors and safety tokens, before anything is loaded."""

import json
from types import SimpleNamespace

import pytest
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from safe_finetuning.preflight import OTHER_BYTES, preflight


def checks(tmp_path, model, **settings):
    return {check.id: (check.status, check.message) for check in report(tmp_path, model, **settings).checks}


def report(tmp_path, model, **settings):
    turns = [{"role": "user", "content": "Parcel?"}, {"role": "assistant", "content": "On its way."}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    config = {"model": str(model), "dataset": {"path": "rows.jsonl"}, "method": "adaptive", **settings}
    (tmp_path / "x.finetune.json").write_text(json.dumps(config))
    return preflight(tmp_path / "x.finetune.json")


def test_a_good_configuration_passes(tmp_path, model):
    found = checks(tmp_path, model, anchors={}, safetyTokens={"tokens": [" I", "y"]})
    assert {status for status, _ in found.values()} <= {"ok", "warning"}
    assert found["configuration"] == ("ok", "method `adaptive`")


def test_a_judge_elsewhere_is_named(tmp_path, model):
    endpoint = {"url": "https://judge.example:8443/v1", "model": "m"}
    found = checks(tmp_path, model, risk={"judge": "endpoint", "endpoint": endpoint})
    status, said = found["configuration"]
    assert status == "warning" and "sent to https://judge.example:8443" in said


@pytest.mark.parametrize(("source", "asked"), [("critic", "https://judge.example"), ("probe", None)])
def test_only_a_server_that_rows_are_sent_to_is_asked_about(tmp_path, model, source, asked):
    endpoint = {"url": "https://judge.example/v1", "model": "m"}
    risk = {"source": source, "judge": "endpoint", "endpoint": endpoint, "probe": "p.safetensors"}
    found = report(tmp_path, model, risk=risk)
    assert (found.endpoint, found.judged_rows) == (asked, 1)


@pytest.mark.parametrize(
    ("settings", "check", "message"),
    [
        ({"risk": {"judge": "guard", "guard": "my/model"}}, "configuration", "of a known family"),
        ({"risk": {"judge": "endpoint"}}, "configuration", "needs `endpoint`"),
        ({"risk": {"source": "probe", "probe": "p.safetensors"}}, "dataset", "there is no such probe"),
        ({"anchors": {"prompts": "none.jsonl"}}, "dataset", "there is no such file"),
        ({"safetyTokens": {"tokens": ["Zebra"]}}, "model", "is not one token of this model"),
        ({"lora": {"targetModules": ["nowhere"]}}, "model", "`lora.targetModules`: "),
    ],
)
def test_what_could_not_run_is_said_beforehand(tmp_path, model, settings, check, message):
    status, said = checks(tmp_path, model, **settings)[check]
    assert status == "error" and message in said


@pytest.mark.parametrize("lora", [{"rank": 4}, None])
def test_the_disk_must_hold_what_the_run_writes(tmp_path, model, monkeypatch, lora):
    whole = AutoModelForCausalLM.from_pretrained(model)
    if lora:
        whole = get_peft_model(whole, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    trained_bytes = 4 * sum(x.numel() for x in whole.parameters() if x.requires_grad)
    needed = (3 * 3 + 1) * trained_bytes + OTHER_BYTES  # three checkpoints of weights and two moments
    for free, expected in ((needed, "ok"), (needed - 1, "error")):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr("safe_finetuning.preflight.shutil.disk_usage", lambda _, usage=usage: usage)
        status, said = checks(tmp_path, model, lora=lora)["disk"]
        assert status == expected
        assert f"needs up to {needed / 1e9:.1f} GB" in said


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({"method": "adaptive"}, "ok"),
        ({"method": "kl"}, "warning"),
        ({"method": "adaptive", "preset": "paper"}, "warning"),
        ({"method": "kl", "regularisation": {"reference": "exact"}}, "ok"),
        ({"method": "kl", "lora": None}, "error"),
    ],
)
def test_the_cache_must_hold_what_the_reference_says_of_every_row(
    tmp_path, model, monkeypatch, settings, status
):
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache" / "deep"))
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr(
        "safe_finetuning.preflight.shutil.disk_usage",
        lambda path: SimpleNamespace(free=1000 if path.name == "cache" else 10**12),
    )
    found, said = checks(tmp_path, model, **settings)["disk"]
    assert found == status
    assert ("only 0.0 GB are free; the reference's answers take up to" in said) == (status != "ok")
