"""SafeTrainer on a tiny PEFT model: whole optimiser steps, and what their events say."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from safe_finetuning import checkpoints, collate
from safe_finetuning.collate import Collator, TrainingRow
from safe_finetuning.config import RunConfig
from safe_finetuning.errors import UserError
from safe_finetuning.objective import Objective
from safe_finetuning.reference import reference_logits
from safe_finetuning.rows import Message, Row, content_hash
from safe_finetuning.run_folder import RunFolder
from safe_finetuning.supervised_logits import supervised_logits
from safe_finetuning.tokens import encode_row
from safe_finetuning.trainer import SafeTrainer
from tiny import make_tiny_model

RISKS = [0.0, 0.95, 0.05, 0.4, 0.0, float("nan")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def parts(folder):
    """A PEFT model in float64 whose adapter already moves it away from its reference; rows with risks."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    model = model.double()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    rows = []
    for i, risk in enumerate(RISKS):
        messages = (
            Message("user", f"Question {i}? " * (i + 1)),
            Message("assistant", "An answer. " * (6 - i)),
        )
        row = Row(i + 1, content_hash(messages), messages)
        rows.append(TrainingRow(encode_row(row, tokenizer, 256), risk))
    return model, tokenizer, rows


def config(method="adaptive", sections=None, **training) -> RunConfig:
    return RunConfig.model_validate(
        {
            "model": "tiny",
            "dataset": {"path": "x.jsonl"},
            "method": method,
            "training": {"batchSize": 6, "maxSteps": 1, "warmupSteps": 0, **training},
            "device": "cpu",
            **(sections or {}),
        }
    )


def trainer(parts, folder, anchors=(), **settings) -> SafeTrainer:
    model, tokenizer, rows = parts
    made = config(**settings)
    safety_tokens = (40, 77, 300) if made.safety_tokens else ()
    objective = Objective(made, model, rows, anchors if made.anchors else (), safety_tokens)
    return SafeTrainer(made, RunFolder(folder), model, tokenizer, objective)


def test_the_reference_has_neither_adapter_nor_dropout(parts, tmp_path):
    model, tokenizer, rows = parts
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    batch = Collator(tokenizer.pad_token_id)([(i, rows[i]) for i in range(6)])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    head = model.get_output_embeddings()
    model.train()
    during_training = reference_logits(model, inputs)
    assert model.training
    with model.disable_adapter(), torch.no_grad():
        plain = supervised_logits(model.eval(), head, inputs)
    torch.testing.assert_close(during_training, plain, rtol=0, atol=0)


def trainable(model) -> dict[str, torch.Tensor]:
    return {name: x.detach().clone() for name, x in model.named_parameters() if x.requires_grad}


SECTIONS = {
    "adaptive": {},
    "anchors": {"anchors": {"perStep": 3}},
    "safety tokens": {"safetyTokens": {}},
    "first safety tokens": {"safetyTokens": {"positions": "first", "firstTokens": 2}},
    "first tokens": {"regularisation": {"positions": "first", "firstTokens": 2}},
    "by batch": {"regularisation": {"granularity": "batch", "betaMin": 0.1, "movingAverage": 0.5}},
}


@pytest.mark.parametrize("sections", SECTIONS.values(), ids=SECTIONS)
def test_accumulation_changes_neither_loss_nor_gradient(parts, tmp_path, sections):
    """In two steps by plain gradient descent, as the first step of AdamW is the same however strong the
    gradient; the second step is the end of an epoch, of half the rows."""
    before = trainable(parts[0])
    anchors = [row.encoded for row in parts[2][:4]]
    values, weights = {}, {}
    for passes in (1, 2, 4):
        parts[0].load_state_dict(before, strict=False)
        folder = tmp_path / str(passes)
        settings = {"batchSize": 4, "microBatchSize": 4 // passes, "maxSteps": 2, "maxGradNorm": 1e9}
        made = trainer(parts, folder, anchors, sections=sections, **settings)
        made.optimizer = torch.optim.SGD([x for x in parts[0].parameters() if x.requires_grad], lr=0.1)
        made.train()
        events = [json.loads(line) for line in (folder / "events.jsonl").open()]
        values[passes] = [
            event[name]
            for event in events
            if event["type"] == "batch"
            for name in ("total", "gradNorm", "nll", "kl", "anchors", "safetyTokens")
            if event[name] is not None
        ]
        weights[passes] = trainable(parts[0])
    assert len(values[1]) >= 7 and not all(torch.equal(x, weights[1][name]) for name, x in before.items())
    for passes in (2, 4):
        assert values[passes] == pytest.approx(values[1], rel=1e-10)
        for name, whole in weights[1].items():
            torch.testing.assert_close(weights[passes][name], whole, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sections", SECTIONS.values(), ids=SECTIONS)
def test_parts_of_like_length_change_neither_loss_nor_weights(parts, tmp_path, monkeypatch, sections):
    before = trainable(parts[0])
    anchors = [row.encoded for row in parts[2][:4]]
    lengths = [len(row.encoded.ids) for row in parts[2]]
    found = {}
    for name, pass_tokens in (("whole", 10**6), ("parts", 0)):
        monkeypatch.setattr(collate, "PASS_TOKENS", pass_tokens)
        parts[0].load_state_dict(before, strict=False)
        made = trainer(parts, tmp_path / name, anchors, sections=sections, maxSteps=2, learningRate=1e-2)
        passes: list[int] = []
        made.model.register_forward_pre_hook(lambda *_, passes=passes: passes.append(1))
        made.train()
        events = map(json.loads, (tmp_path / name / "events.jsonl").open())
        totals = [event["total"] for event in events if event["type"] == "batch"]
        found[name] = trainable(parts[0]), totals, len(passes)
    assert len(set(lengths)) > 1 and found["parts"][2] > found["whole"][2]
    assert found["parts"][1] == pytest.approx(found["whole"][1], rel=1e-10)
    for name, whole in found["whole"][0].items():
        torch.testing.assert_close(found["parts"][0][name], whole, rtol=1e-9, atol=1e-9)


def test_the_event_of_a_step_says_what_was_minimised(parts, tmp_path):
    made = trainer(parts, tmp_path, microBatchSize=2)
    batch = Collator(parts[1].pad_token_id)(list(enumerate(parts[2])))
    expected = made.objective(made.model, batch, batch.pop("index")).loss.item()
    made.train()
    event = next(e for e in map(json.loads, (tmp_path / "events.jsonl").open()) if e["type"] == "batch")
    assert event["total"] == pytest.approx(expected, rel=1e-10)
    assert sorted(event["rows"]["line"]) == [1, 2, 3, 4, 5, 6]
    assert event["tokens"] == sum(row.encoded.n_supervised for row in parts[2])


def test_an_event_tells_each_row_and_no_text(parts, tmp_path):
    made = trainer(parts, tmp_path)
    made.train()
    text = (tmp_path / "events.jsonl").read_text()
    assert "Question" not in text and "answer" not in text
    event = next(e for e in map(json.loads, text.splitlines()) if e["type"] == "batch")
    rows = {
        line: (risk, beta, kl)
        for line, risk, beta, kl in zip(
            *(event["rows"][k] for k in ("line", "risk", "beta", "kl")), strict=True
        )
    }
    assert rows[1][0] == 0 and rows[1][1] == 0 and rows[1][2] is None
    assert rows[2][0] == pytest.approx(0.95) and rows[2][2] > 0
    assert rows[6][0] is None and rows[6][1] == 1.0
    assert event["riskMax"] == 1.0
    tokens = dict(zip(event["rows"]["line"], event["rows"]["tokens"], strict=True))
    assert tokens == {row.encoded.row.line: row.encoded.n_supervised for row in parts[2]}
    means = zip(event["rows"]["nll"], event["rows"]["tokens"], strict=True)
    assert sum(nll * n for nll, n in means) / event["tokens"] == pytest.approx(event["nll"])


def test_anchors_take_turns_whatever_the_micro_batches(parts, tmp_path):
    anchors = [row.encoded for row in parts[2][:5]]
    sections = {"anchors": {"perStep": 2}}
    seen = {}
    for micro_batch in (6, 2):
        made = trainer(
            parts,
            tmp_path / str(micro_batch),
            anchors,
            sections=sections,
            microBatchSize=micro_batch,
            maxSteps=5,
        )
        steps: list[list[int]] = []
        dealt = made._with_anchors

        def spy(batches, dealt=dealt, steps=steps):
            found = dealt(batches)
            steps.append(sorted(i for batch in found for i in batch["index"].tolist() if i >= 6))
            return found

        made._with_anchors = spy
        made.train()
        seen[micro_batch] = steps
    assert seen[6] == seen[2] and all(len(step) == 2 for step in seen[6])
    assert sorted(i for step in seen[6] for i in step) == sorted([*range(6, 11)] * 2)


def test_the_risk_of_a_step_is_that_of_all_its_rows(parts, tmp_path):
    settings = {"granularity": "batch", "betaMin": 0.1, "betaMax": 0.9, "movingAverage": 0.5}
    sections = {"regularisation": settings, "risk": {"floor": 0.0}}
    made = trainer(parts, tmp_path, sections=sections, microBatchSize=2, maxSteps=2)
    made.train()
    mean = (0.95 + 0.05 + 0.4 + 1.0) / 6
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").open()]
    for batch in (e for e in events if e["type"] == "batch"):
        assert [batch["betaMean"], batch["betaMax"]] == pytest.approx([0.1 + 0.8 * mean] * 2)


def test_a_resumed_run_goes_on_with_the_risk_of_its_steps(parts, tmp_path):
    settings = {"granularity": "batch", "betaMin": 0.1, "betaMax": 0.9, "movingAverage": 0.9}
    sections = {"regularisation": settings, "risk": {"floor": 0.0}, "checkpoints": {"atLeast": 5, "keep": 9}}
    training = {"batchSize": 2, "maxSteps": 6}
    before = trainable(parts[0])
    trainer(parts, tmp_path / "whole", sections=sections, **training).train()
    whole = trainable(parts[0])
    parts[0].load_state_dict(before, strict=False)
    resumed = trainer(parts, tmp_path / "resumed", sections=sections, **training)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoints" / "checkpoint-3"))
    again = trainable(parts[0])
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_a_step_that_a_stop_cuts_short_begins_anew_with_the_same_dropout(parts, tmp_path):
    training = {"batchSize": 6, "microBatchSize": 2, "maxSteps": 6, "learningRate": 1e-2}
    training["sections"] = {"checkpoints": {"atLeast": 1}}  # none of its own at step 2
    set_dropout(parts[0], 0.5)
    before = trainable(parts[0])
    torch.manual_seed(1)
    trainer(parts, tmp_path / "whole", **training).train()
    whole = trainable(parts[0])

    parts[0].load_state_dict(before, strict=False)
    torch.manual_seed(1)
    stopped = trainer(parts, tmp_path / "stopped", **training)
    passes = []

    def stop_in_the_third_step(*_):
        passes.append(stopped.state.global_step)
        stopped.run.stop_requested |= passes.count(2) == 2

    stopped.model.register_forward_pre_hook(stop_in_the_third_step)
    stopped.train()
    assert stopped.state.global_step == 2
    stopped.run.stop_requested = False
    stopped.save_now()
    parts[0].load_state_dict(before, strict=False)
    torch.manual_seed(7)
    resumed = trainer(parts, tmp_path / "stopped", **training)
    resumed.train(resume_from_checkpoint=str(tmp_path / "stopped" / "checkpoints" / "checkpoint-2"))
    again = trainable(parts[0])
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def set_dropout(model, probability: float) -> None:
    for layers in (module.lora_dropout for module in model.modules() if hasattr(module, "lora_dropout")):
        for name in layers:
            layers[name] = torch.nn.Dropout(probability)


def test_a_gradient_that_is_none_is_said_before_it_is_saved(parts, tmp_path):
    made = trainer(parts, tmp_path, maxSteps=4, learningRate=1e-2)
    weight = next(x for x in made.model.parameters() if x.requires_grad)
    weight.register_hook(lambda gradient: gradient * (float("nan") if made.state.global_step == 1 else 1))
    with pytest.raises(UserError, match=r"The gradient is not finite at step 2\. Look at the rows"):
        made.train()
    saved = sorted(x.name for x in (tmp_path / "checkpoints").glob("checkpoint-*"))
    assert saved == ["checkpoint-1"]


def test_a_loss_that_is_none_is_said_and_what_was_saved_is_kept(parts, tmp_path):
    made = trainer(parts, tmp_path, maxSteps=4, learningRate=1e-2)
    weight = next(x for x in made.model.parameters() if x.requires_grad)

    def spoil(*_):
        if made.state.global_step == 2:
            weight.data.fill_(float("nan"))

    made.model.register_forward_pre_hook(spoil)
    with pytest.raises(UserError, match=r"The loss is not finite at step 3\."):
        made.train()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").open()]
    assert [e["total"] for e in events if e["type"] == "batch"][2] is None
    assert checkpoints.latest(tmp_path / "checkpoints")[1] == 2
