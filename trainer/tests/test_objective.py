"""Each method against an independent formula: one row and one token at a time, all logits, in float64."""

from __future__ import annotations

import copy
import math
import os
import sqlite3
from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_tokens import THINKING
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from safe_finetuning.collate import Collator, TrainingRow
from safe_finetuning.config import RunConfig
from safe_finetuning.errors import UserError
from safe_finetuning.losses import TOP_K
from safe_finetuning.objective import Objective, StepRisk
from safe_finetuning.reference import ReferenceStore, row_key, store_path
from safe_finetuning.risk.probe import Predictor, Probe, prompt_states
from safe_finetuning.risk.scores import score_rows
from safe_finetuning.rows import Message, Row, content_hash
from safe_finetuning.tokens import EncodedRow, encode_row
from tiny import make_tiny_model, make_tiny_tokenizer

RISKS = [0.0, 0.95, 0.05, 0.4, 0.0, float("nan")]
N_ROWS, N_ANCHORS = len(RISKS), 3
SAFETY_TOKENS = (40, 77, 300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def model(folder):
    return away_from_its_reference(folder)


def away_from_its_reference(folder):
    """The model in float64, with an adapter that already moves it away."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    model = get_peft_model(
        model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    ).double()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def encoded(tokenizer, question: str, *answers: str) -> EncodedRow:
    messages = tuple(m for a in answers for m in (Message("user", question), Message("assistant", a)))
    return encode_row(Row(1, content_hash(messages), messages), tokenizer, 256)


@pytest.fixture(scope="module")
def rows(tokenizer) -> list[TrainingRow]:
    """Of several lengths, the fourth with two answers."""
    return [
        TrainingRow(
            encoded(
                tokenizer, f"Question {i}? " * (i + 1), *(["An answer. " * (6 - i)] * (2 if i == 3 else 1))
            ),
            risk,
        )
        for i, risk in enumerate(RISKS)
    ]


@pytest.fixture(scope="module")
def anchors(tokenizer) -> list[EncodedRow]:
    return [
        encoded(tokenizer, f"Harm {i}?" * (4 - i), "I'm sorry, but no." * (i + 1)) for i in range(N_ANCHORS)
    ]


def config(method: str, **sections) -> RunConfig:
    reference = {"reference": "exact", **sections.pop("regularisation", {})}
    return RunConfig.model_validate(
        {
            "model": "tiny",
            "dataset": {"path": "x.jsonl"},
            "method": method,
            "regularisation": reference,
            "device": "cpu",
            **sections,
        }
    )


CASES = {
    "standard": config("standard"),
    "filter": config("filter"),
    "adaptive": config("adaptive"),
    "adaptive, additive": config("adaptive", regularisation={"form": "additive", "weight": 3.0}),
    "adaptive, β from 0.1": config("adaptive", regularisation={"betaMin": 0.1, "betaMax": 0.7}),
    "recommended, first tokens": config(
        "recommended", regularisation={"positions": "first", "firstTokens": 3}
    ),
    "kl, first token": config("kl", regularisation={"weight": 0.7, "positions": "first", "firstTokens": 1}),
    "paper": config("adaptive", preset="paper"),
    "released-code": config("adaptive", preset="released-code"),
    "kl": config("kl", regularisation={"weight": 0.7}),
    "constrained": config("constrained"),
    "mix-safety": config("mix-safety", anchors={"weight": 0.5}),
    "safety-tokens": config("safety-tokens", safetyTokens={"weight": 2.0}),
    "safety-tokens, logit": config("safety-tokens", safetyTokens={"space": "logit"}),
    "safety-tokens, centered, first": config(
        "safety-tokens", safetyTokens={"space": "centered", "positions": "first", "firstTokens": 3}
    ),
    "adaptive with safety tokens": config("adaptive", safetyTokens={"weight": 2.0}),
    "recommended": config("recommended"),
    "standard with anchors": config("standard", anchors={"weight": 2.0}),
    "constrained with anchors and safety tokens": config("constrained", anchors={}, safetyTokens={}),
}
ANCHORED = {name for name, case in CASES.items() if case.anchors}


def objective(case: RunConfig, model, rows, anchors, fingerprint=None) -> Objective:
    safety_tokens = SAFETY_TOKENS if case.safety_tokens else ()
    made = Objective(case, model, rows, anchors if case.anchors else (), safety_tokens, fingerprint)
    if case.regularisation.granularity == "batch":
        risk = [1.0 if math.isnan(r) else r for r in RISKS]
        made.set_step_risk(sum(risk) / len(risk))
    return made


def terms(made: Objective, model, tokenizer, index, **totals):
    batch = Collator(tokenizer.pad_token_id)([(i, made.rows[i]) for i in index])
    return made(model, batch, batch.pop("index"), **totals)


def naive_weights(case: RunConfig, risk: float, mean: float) -> tuple[float, float]:
    """α and β as DESIGN writes them, in plain Python."""
    s = 1.0 if math.isnan(risk) else risk
    r = case.regularisation
    if case.method == "kl":
        return 1.0, r.weight
    if case.method not in ("adaptive", "recommended"):
        return 1.0, 0.0
    if case.preset == "paper":
        beta = 0.1 + 0.8 * mean
    elif case.preset == "released-code":
        beta = min(max(((1 + 4 * s) - 2) / 3, 0.1), 0.9)
    else:
        beta = r.beta_min + (r.beta_max - r.beta_min) * (s if s >= case.risk.floor else 0.0)
    return (1.0, r.weight * beta) if r.form == "additive" else (1 - beta, beta)


def naive_loss(case: RunConfig, model, rows, anchors, before=None) -> Tensor:
    """`before` is the reference; without one, that of a PEFT model."""
    mean = sum(1.0 if math.isnan(r) else r for r in RISKS) / N_ROWS
    total, squares = torch.zeros((), dtype=torch.float64), []
    n = sum(row.encoded.n_supervised for row in rows)
    weighted = [(row.encoded, *naive_weights(case, row.risk, mean), True) for row in rows]
    if case.anchors:
        w = case.anchors.weight
        weighted += [(a, *((w, 0.0) if case.method == "mix-safety" else (0.0, w)), False) for a in anchors]
    n_anchor = sum(row.n_supervised for row in anchors)
    for row, alpha, beta, of_dataset in weighted:
        ids = torch.tensor([row.ids])
        logits = model(input_ids=ids).logits[0]
        with torch.no_grad(), nullcontext() if before else model.disable_adapter():
            reference = (before or model)(input_ids=ids).logits[0]
        place = -1
        for t in range(1, len(row.ids)):
            if not row.supervised[t]:
                place = -1
                continue
            place += 1
            z, z_ref, target = logits[t - 1], reference[t - 1], row.ids[t]
            q, p = z.softmax(-1), z_ref.softmax(-1)
            data = -q[target].log()
            if case.method == "constrained":
                b = 0.5 if place == 0 else 2.0 if place < 5 else 0.1
                ratio = q[target].log() - p[target].log()
                data = -(2 / b) * torch.sigmoid(b * ratio).log()
            kl = (p * (p.log() - q.log())).sum()
            if of_dataset and case.regularisation.positions == "first":
                kl = kl * (place < case.regularisation.first_tokens)
            total = total + (alpha * data + beta * kl) / (n if of_dataset else n_anchor)
            if (s := case.safety_tokens) and of_dataset and (s.positions == "all" or place < s.first_tokens):
                shift = {
                    "logit": lambda x: 0.0,
                    "centered": Tensor.mean,
                    "logprob": lambda x: x.logsumexp(-1),
                }
                move = shift[s.space]
                squares += [(z[v] - move(z) - z_ref[v] + move(z_ref)) ** 2 for v in SAFETY_TOKENS]
    return total + case.safety_tokens.weight * sum(squares) / len(squares) if squares else total


@pytest.mark.parametrize("name", CASES)
def test_loss_and_gradient_equal_the_naive_formula(name, model, tokenizer, rows, anchors):
    case = CASES[name]
    made = objective(case, model, rows, anchors)
    found = terms(made, model, tokenizer, range(len(made.rows))).loss
    expected = naive_loss(case, model, rows, anchors)
    assert found.item() == pytest.approx(expected.item(), rel=1e-10)
    adapter = [q for q in model.parameters() if q.requires_grad]
    for ours, naive in zip(
        torch.autograd.grad(found, adapter), torch.autograd.grad(expected, adapter), strict=True
    ):
        torch.testing.assert_close(ours, naive, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_in_fp32_it_is_the_same_to_five_digits(name, model, tokenizer, rows, anchors):
    made = objective(CASES[name], model.float(), rows, anchors)
    found = terms(made, model, tokenizer, range(len(made.rows))).loss
    assert found.dtype == torch.float32
    with torch.no_grad():
        expected = naive_loss(CASES[name], model.double(), rows, anchors)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_neither_order_nor_micro_batches_matter(name, model, tokenizer, rows, anchors):
    made = objective(CASES[name], model, rows, anchors)
    everything = list(range(len(made.rows)))
    whole = terms(made, model, tokenizer, everything).loss.item()
    assert terms(made, model, tokenizer, everything[::-1]).loss.item() == pytest.approx(whole, rel=1e-10)
    totals = {
        "n_tokens": sum(row.encoded.n_supervised for row in rows),
        "n_anchor_tokens": sum(row.n_supervised for row in anchors),
    }
    if made.safety:
        batch = Collator(tokenizer.pad_token_id)([(i, made.rows[i]) for i in everything])
        positions = made.safety_positions(batch["labels"], batch["index"])
        totals["n_safety_positions"] = int(positions.sum())
    parts = (everything[:1], everything[1:4], everything[4:])
    split = sum(terms(made, model, tokenizer, part, **totals).loss.item() for part in parts)
    assert split == pytest.approx(whole, rel=1e-10)


def loss_and_gradient(made, model, tokenizer) -> list[Tensor]:
    loss = terms(made, model, tokenizer, range(N_ROWS)).loss
    return [loss.detach(), *torch.autograd.grad(loss, [q for q in model.parameters() if q.requires_grad])]


@pytest.mark.parametrize(
    "same",
    [
        config("adaptive", regularisation={"betaMax": 0.0}),
        config("adaptive", regularisation={"form": "additive", "weight": 0.0}),
        config("kl", regularisation={"weight": 0.0}),
        config("recommended", anchors={"weight": 0.0}, risk={"floor": 1.0}, regularisation={"betaMax": 0.0}),
        *(
            config("safety-tokens", safetyTokens={"weight": 0.0, "space": space})
            for space in ("logprob", "logit", "centered")
        ),
    ],
)
def test_without_weight_every_method_is_standard_to_the_bit(same, model, tokenizer, rows):
    standard = loss_and_gradient(objective(CASES["standard"], model, rows, ()), model, tokenizer)
    found = loss_and_gradient(objective(same, model, rows, ()), model, tokenizer)
    assert all(map(torch.equal, found, standard))


def test_equal_risks_are_the_same_by_batch_and_by_sample(model, tokenizer, rows):
    equal = [TrainingRow(row.encoded, 0.3) for row in rows]
    settings = {"betaMin": 0.1, "betaMax": 0.9}
    by_sample = objective(config("adaptive", regularisation=settings), model, equal, ())
    by_batch = Objective(config("adaptive", regularisation=settings | {"granularity": "batch"}), model, equal)
    by_batch.set_step_risk(0.3)
    sample, batch = (loss_and_gradient(x, model, tokenizer) for x in (by_sample, by_batch))
    for ours, theirs in zip(sample, batch, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def test_at_the_reference_nothing_pulls(model, tokenizer, rows, anchors):
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)
    made = objective(config("recommended", safetyTokens={}), model, rows, anchors)
    found = terms(made, model, tokenizer, range(len(made.rows)))
    assert found.kl.abs().max() == 0 and found.safety == 0
    plain = terms(objective(CASES["standard"], model, rows, ()), model, tokenizer, range(N_ROWS)).loss
    constrained = terms(
        objective(CASES["constrained"], model, rows, ()), model, tokenizer, range(N_ROWS)
    ).loss
    adapter = [q for q in model.parameters() if q.requires_grad]
    for ours, naive in zip(
        torch.autograd.grad(constrained, adapter), torch.autograd.grad(plain, adapter), strict=True
    ):  # at the reference its gradient is that of plain fine-tuning
        torch.testing.assert_close(ours, naive, rtol=1e-8, atol=1e-12)


def test_the_step_risk_follows_its_moving_average():
    plain, averaged = StepRisk(0.0), StepRisk(0.8)
    for made, expected in ((plain, [0.5, 0.1, 0.1]), (averaged, [0.5, 0.42, 0.356])):
        found = []
        for mean in (0.5, 0.1, 0.1):
            made = StepRisk(made.moving_average, made.after(mean))
            found.append(made.value)
        assert found == pytest.approx(expected)


# --- risk from the policy's own hidden states ---------------------------------------------------------


def random_probe(model, kind: str) -> Probe:
    layers, width = (1,) if kind == "layer" else (0, 1, 2), model.config.hidden_size
    draw = torch.Generator().manual_seed(2)
    tensors = {
        "mean": torch.zeros(len(layers), width, dtype=torch.float64),
        "scale": torch.rand(len(layers), width, generator=draw, dtype=torch.float64) + 0.5,
        "weight": 0.1 * torch.randn(width, generator=draw, dtype=torch.float64),
        "bias": torch.zeros(1, dtype=torch.float64),
    }
    return Probe(kind, layers, "f", tensors)


@pytest.mark.parametrize("kind", ["layer", "pooled"])
def test_rows_weigh_by_what_the_policy_thinks_of_their_prompts(kind, model, tokenizer, rows, anchors):
    """Against the probe as it judges whole prompts, one answer at a time; a refusal keeps its risk of 0."""
    probe = random_probe(model, kind)
    case = config(
        "recommended", risk={"source": "probe", "probe": "p.safetensors", "features": "policy", "floor": 0.0}
    )
    made = Objective(case, model, rows, anchors, probe=probe)
    found = terms(made, model, tokenizer, range(len(made.rows)))
    expected = []
    for row in rows:
        messages = [{"role": m.role, "content": m.content} for m in row.encoded.row.messages]
        prompts = [messages[:i] for i, m in enumerate(messages) if m["role"] == "assistant"]
        risks = probe.risk(prompt_states(model, tokenizer, prompts))
        expected.append(0.0 if row.risk == 0 else float(risks.max()))
    assert found.risk[:N_ROWS].tolist() == pytest.approx(expected, abs=1e-5)
    assert len({round(x, 3) for x in expected}) > 2
    judged = [
        TrainingRow(row.encoded, risk) for row, risk in zip(rows, found.risk[:N_ROWS].tolist(), strict=True)
    ]
    assert found.loss.item() == pytest.approx(naive_loss(case, model, judged, anchors).item(), rel=1e-6)


def policy_risks(model, tokenizer, probe, *conversations) -> list[float]:
    """Of rows, each the texts of its turns, whatever the reference thought of them."""
    risk = {"source": "probe", "probe": "p.safetensors", "features": "policy"}
    rows = []
    for texts in conversations:
        messages = tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(texts))
        rows.append(TrainingRow(encode_row(Row(1, content_hash(messages), messages), tokenizer, 256), 0.5))
    made = Objective(config("adaptive", risk=risk), model, rows, probe=probe)
    return terms(made, model, tokenizer, range(len(rows))).risk.tolist()


@pytest.mark.parametrize("thinking", THINKING)
def test_the_policy_is_read_where_the_probe_was_trained(thinking, model):
    """Also where the template puts empty thoughts before an answer."""
    tokenizer, probe = make_tiny_tokenizer(), random_probe(model, "layer")
    tokenizer.chat_template = THINKING[thinking]
    prompts = ["Where is it?", "How do I get in, and where is it?"]
    found = policy_risks(model, tokenizer, probe, *([prompt, "An answer."] for prompt in prompts))
    states = prompt_states(model, tokenizer, [[{"role": "user", "content": prompt}] for prompt in prompts])
    assert found == pytest.approx(probe.risk(states).tolist(), abs=1e-5)


def test_a_turn_that_is_refused_counts_with_the_policy_as_with_the_reference(model, tokenizer):
    probe, refusal = random_probe(model, "layer"), "I'm sorry, but I can't help with that."
    harmful, harmless = "Do harm. " * 3, "Where is my parcel?"
    asked = [harmful, "Sure.", harmless, "On its way."], [harmful, refusal, harmless, "On its way."]
    complied, refused = policy_risks(model, tokenizer, probe, *asked)
    of_turns = []
    for texts in asked:
        turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]
        of_turns.append(probe.risk(prompt_states(model, tokenizer, [turns[:1], turns[:3]])))
    assert complied == pytest.approx(float(of_turns[0].max()), abs=1e-5)
    assert refused == pytest.approx(float(of_turns[1][1]), abs=1e-5)
    assert of_turns[1][0] > of_turns[1][1] + 1e-3  # so that a mistake shows
    reference = Predictor(probe, model, tokenizer)
    messages = tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(asked[1]))
    with model.disable_adapter():
        [before] = score_rows([Row(1, content_hash(messages), messages)], reference)
        states = prompt_states(model, tokenizer, [turns[:3]])
    assert before.risk == pytest.approx(float(probe.risk(states)), abs=1e-5)


# --- without an adapter -------------------------------------------------------------------------------


@pytest.fixture
def whole(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


def moved(model) -> None:
    """As after training: every weight."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))


def asked_beforehand(name: str, model, tokenizer, rows, anchors) -> Objective:
    made = objective(cached(name), model, rows, anchors, fingerprint="f")
    made.ask_reference(tokenizer.pad_token_id, 2, lambda *_: None)
    return made


@pytest.mark.parametrize("name", ["standard", "recommended", "paper", "constrained", "safety-tokens"])
def test_all_weights_are_trained_without_a_second_model(name, whole, tokenizer, rows, anchors, monkeypatch):
    before = copy.deepcopy(whole)
    made = asked_beforehand(name, whole, tokenizer, rows, anchors)
    moved(whole)
    monkeypatch.setattr("safe_finetuning.reference.reference_logits", lambda *_: pytest.fail("it is gone"))
    found = terms(made, whole, tokenizer, range(len(made.rows))).loss
    expected = naive_loss(CASES[name], whole, rows, anchors, before)
    # The cache keeps 512 tokens of the tiny vocabulary: all of it, or nearly so.
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    found.backward()
    assert all(p.grad is not None for p in whole.parameters())


def test_a_reference_that_is_gone_cannot_be_asked(whole, tokenizer, rows, anchors):
    made = asked_beforehand("recommended", whole, tokenizer, rows, anchors)
    made.reference._store._db.execute("DELETE FROM said")
    with pytest.raises(UserError, match="Resume the run"):
        terms(made, whole, tokenizer, range(len(made.rows)))


def test_without_a_cache_nothing_begins(whole, tokenizer, rows, anchors, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="has to be kept there"):
        asked_beforehand("recommended", whole, tokenizer, rows, anchors)


def test_rows_that_the_reference_thought_harmless_are_held_once_the_policy_does_not(model, rows, tokenizer):
    risk = {"source": "probe", "probe": "p.safetensors", "features": "policy"}
    harmless = [TrainingRow(row.encoded, 0.001) for row in rows]
    made = Objective(config("adaptive", risk=risk), model, harmless, probe=random_probe(model, "layer"))
    found = terms(made, model, tokenizer, range(N_ROWS))
    assert (made.weights.beta == 0).all()
    assert (found.beta > 0).any() and (found.kl > 0).any()


def test_what_the_policy_cannot_tell_is_refused():
    for sections in (
        {"risk": {"features": "policy"}},
        {
            "risk": {"features": "policy", "source": "probe", "probe": "p"},
            "regularisation": {"granularity": "batch"},
        },
    ):
        with pytest.raises(ValueError, match="policy"):
            RunConfig.model_validate({"model": "m", "dataset": {"path": "x.jsonl"}, **sections})


@pytest.mark.parametrize("other", [{"regularisation": {"reference": "exact"}}, {"quantisation": "4bit"}])
def test_what_needs_an_adapter_says_so(other):
    with pytest.raises(ValueError, match="needs an adapter"):
        RunConfig.model_validate({"model": "m", "dataset": {"path": "x.jsonl"}, "lora": None, **other})


# --- the cache ----------------------------------------------------------------------------------------


def cached(case_name: str) -> RunConfig:
    case = CASES[case_name]
    return case.model_copy(
        update={"regularisation": case.regularisation.model_copy(update={"reference": "cached"})}
    )


@pytest.mark.parametrize("name", ["constrained", "safety-tokens"])
def test_what_is_kept_whole_is_exact_from_the_cache(name, model, tokenizer, rows, anchors):
    exact = terms(objective(CASES[name], model, rows, anchors), model, tokenizer, range(N_ROWS)).loss
    for _ in range(2):  # while it is filled, and from it
        made = objective(cached(name), model, rows, anchors, fingerprint="f")
        assert terms(made, model, tokenizer, range(N_ROWS)).loss.item() == pytest.approx(
            exact.item(), rel=1e-10
        )


def test_a_cached_row_costs_no_forward_pass_and_weighs_the_same(model, tokenizer, rows, anchors, monkeypatch):
    made = objective(cached("recommended"), model, rows, anchors, fingerprint="f")
    index = range(len(made.rows))
    first = terms(made, model, tokenizer, index).loss
    monkeypatch.setattr("safe_finetuning.reference.reference_logits", lambda *_: pytest.fail("asked again"))
    assert torch.equal(terms(made, model, tokenizer, index).loss, first)
    again = objective(cached("recommended"), model, rows, anchors, fingerprint="f")  # a later run
    assert torch.equal(terms(again, model, tokenizer, index).loss, first)


def test_another_reference_has_its_own_cache(model, tokenizer, rows, anchors):
    first = objective(cached("recommended"), model, rows, anchors, fingerprint="f")
    terms(first, model, tokenizer, range(N_ROWS))
    other = objective(cached("recommended"), model, rows, anchors, fingerprint="g")
    terms(other, model, tokenizer, range(1))
    key = row_key(rows[1].encoded)
    assert first.reference._store.get([key]) and not other.reference._store.get([key])


def damage(path, how):
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "garbage":
        path.write_bytes(b"no database" * 100)
    elif how == "record":
        with sqlite3.connect(path) as db:
            db.execute("UPDATE said SET record = ?", (b"{",))
        db.close()
    elif how == "folder":
        path.mkdir()


@pytest.mark.parametrize("how", ["garbage", "record", "folder"])
def test_a_cache_that_does_not_work_is_said_and_costs_time_only(how, model, tokenizer, rows, anchors):
    case = cached("recommended")
    first = objective(case, model, rows, anchors, fingerprint="f")
    index = range(len(first.rows))
    path = store_path("f", model.dtype, first.reference.needs)
    if how == "record":
        terms(first, model, tokenizer, index)
    damage(path, how)
    warnings = []
    made = Objective(case, model, rows, anchors, (), "f", warn=lambda *said: warnings.append(said))
    for _ in range(2):
        found = terms(made, model, tokenizer, index).loss.item()
    [(code, message)] = warnings
    assert code == "reference-cache" and str(path) in message
    whole = objective(case, model, rows, anchors, fingerprint="another")
    assert found == pytest.approx(terms(whole, model, tokenizer, index).loss.item(), rel=1e-12)


def test_the_cache_makes_room(tmp_path, monkeypatch):
    monkeypatch.setattr("safe_finetuning.reference.MOST_CACHE_BYTES", 20_000)
    for i in range(4):
        (tmp_path / f"{i}.sqlite").write_bytes(b"x" * 8_000)
        os.utime(tmp_path / f"{i}.sqlite", (i, i))
    ReferenceStore(tmp_path / "new.sqlite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2.sqlite", "3.sqlite", "new.sqlite"]


def test_the_cache_never_overestimates_the_divergence(tmp_path, tokenizer, rows, anchors):
    """Of a model with eight times as many tokens as the cache keeps."""
    model = away_from_its_reference(make_tiny_model(tmp_path, vocabulary=8 * TOP_K))
    exact, kept = (
        terms(objective(case, model, rows, anchors, "f"), model, tokenizer, range(N_ROWS)).kl
        for case in (CASES["kl"], cached("kl"))
    )
    assert (kept > 0).all() and (kept < exact).all()
