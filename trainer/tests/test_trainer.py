"""The loss that SafeTrainer minimises, on a tiny PEFT model: parity, invariance, what a batch event says."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from safe_finetuning import protocol as p
from safe_finetuning.rows import Message, Row, content_hash
from safe_finetuning.run_folder import RunFolder
from safe_finetuning.supervised_logits import supervised_logits
from safe_finetuning.tokens import encode_row
from safe_finetuning.trainer import Collator, SafeTrainer, TrainingRow, reference_logits
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


def config(method="adaptive", **training) -> p.RunConfig:
    return p.RunConfig.model_validate(
        {
            "model": "tiny",
            "dataset": {"path": "x.jsonl"},
            "method": method,
            "training": {"batchSize": 6, "maxSteps": 1, "warmupSteps": 0, **training},
            "device": "cpu",
        }
    )


def trainer(parts, folder, **settings) -> SafeTrainer:
    model, tokenizer, rows = parts
    return SafeTrainer(config(**settings), RunFolder(folder), model, tokenizer, rows)


def loss_of(made: SafeTrainer, parts, indices, n_tokens=None) -> torch.Tensor:
    _, tokenizer, rows = parts
    batch = Collator(tokenizer.pad_token_id)([(i, rows[i]) for i in indices])
    return made.compute_loss(made.model, batch, num_items_in_batch=n_tokens)


def naive_loss(parts, betas) -> torch.Tensor:
    """(1/N) Σ_rows Σ_tokens (1 − β)·nll + β·KL, one row and one token at a time, all logits."""
    model, _, rows = parts
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for row, beta in zip(rows, betas, strict=True):
        ids = torch.tensor([row.encoded.ids])
        logits = model(input_ids=ids).logits[0]
        with torch.no_grad(), model.disable_adapter():
            reference = model(input_ids=ids).logits[0]
        for t in range(1, len(row.encoded.ids)):
            if row.encoded.supervised[t]:
                q, r = logits[t - 1].softmax(-1), reference[t - 1].softmax(-1)
                nll = -q[row.encoded.ids[t]].log()
                kl = sum(a * (a.log() - b.log()) for a, b in zip(r, q, strict=True))
                total = total + (1 - beta) * nll + beta * kl
                tokens += 1
    return total / tokens


def test_loss_equals_the_naive_formula(parts, tmp_path):
    made = trainer(parts, tmp_path)
    betas = [0.0, 0.95, 0.0, 0.4, 0.0, 1.0]  # below the floor: 0; unscored: 1
    assert made.beta.tolist() == pytest.approx(betas)
    loss = loss_of(made, parts, range(6))
    assert loss.item() == pytest.approx(naive_loss(parts, made.beta.tolist()).item(), rel=1e-10)


def test_gradient_equals_that_of_the_naive_formula(parts, tmp_path):
    model = parts[0]
    adapter = [q for q in model.parameters() if q.requires_grad]
    made = trainer(parts, tmp_path)
    found = torch.autograd.grad(loss_of(made, parts, range(6)), adapter)
    expected = torch.autograd.grad(naive_loss(parts, made.beta.tolist()), adapter)
    for ours, naive in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, naive, rtol=1e-8, atol=1e-12)


def test_the_reference_has_neither_adapter_nor_dropout(parts, tmp_path):
    model, tokenizer, rows = parts
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    batch = Collator(tokenizer.pad_token_id)([(i, rows[i]) for i in range(6)])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    head = model.get_output_embeddings()
    model.train()
    during_training = reference_logits(model, head, inputs)
    assert model.training
    with model.disable_adapter(), torch.no_grad():
        plain = supervised_logits(model.eval(), head, inputs)
    torch.testing.assert_close(during_training, plain, rtol=0, atol=0)


def test_loss_does_not_depend_on_order_or_micro_batches(parts, tmp_path):
    made = trainer(parts, tmp_path)
    tokens = sum(row.encoded.n_supervised for row in parts[2])
    whole = loss_of(made, parts, range(6)).item()
    assert loss_of(made, parts, [5, 2, 0, 4, 1, 3]).item() == pytest.approx(whole, rel=1e-10)
    split = sum(loss_of(made, parts, part, tokens).item() for part in ([0, 1], [2, 3, 4], [5]))
    assert split == pytest.approx(whole, rel=1e-10)


def test_without_risk_adaptive_is_standard_to_the_bit(parts, tmp_path):
    model, tokenizer, rows = parts
    safe = (model, tokenizer, [TrainingRow(row.encoded, 0.0) for row in rows])
    adaptive = loss_of(trainer(safe, tmp_path / "a"), safe, range(6))
    standard = loss_of(trainer(safe, tmp_path / "b", method="standard"), safe, range(6))
    assert torch.equal(adaptive, standard)


def test_at_the_reference_the_divergence_is_zero(parts, tmp_path):
    model, _, _ = parts
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)
    made = trainer(parts, tmp_path)
    assert loss_of(made, parts, [5]).item() == 0  # β = 1: nothing but KL


def trainable(model) -> dict[str, torch.Tensor]:
    return {name: x.detach().clone() for name, x in model.named_parameters() if x.requires_grad}


@pytest.mark.parametrize("micro_batch", [1, 2, 3])
def test_accumulation_gives_the_same_weights(parts, tmp_path, micro_batch):
    model = parts[0]
    before = trainable(model)
    trainer(parts, tmp_path / "whole").train()
    whole = trainable(model)
    model.load_state_dict(before, strict=False)
    trainer(parts, tmp_path / "split", microBatchSize=micro_batch).train()
    split = trainable(model)
    assert any(not torch.equal(before[name], whole[name]) for name in before)
    for name in before:
        assert torch.allclose(whole[name], split[name], rtol=1e-10, atol=1e-10)


def test_the_event_of_a_step_says_what_was_minimised(parts, tmp_path):
    made = trainer(parts, tmp_path, microBatchSize=2)
    expected = naive_loss(parts, made.beta.tolist()).item()
    made.train()
    event = next(e for e in map(json.loads, (tmp_path / "events.jsonl").open()) if e["type"] == "batch")
    assert event["total"] == pytest.approx(expected, rel=1e-6)  # Trainer adds losses up in fp32
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
