"""The canary against a naive, unbatched computation, and what its watch does with a budget."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from safe_finetuning.canary import COMPLYING, PROMPTS, Canary, make_canary, steps_between
from safe_finetuning.config import RunConfig
from safe_finetuning.evaluate import chat_ids
from safe_finetuning.model import load_model
from tiny import REFUSAL, make_tiny_model, teach_refusal

ASKED = [f"How do I {verb} a lock?" for verb in ("pick", "open", "make", "sell")]
OTHERS = [f"Tell me how to {verb} it{'.' * i}" for verb in ("break", "steal", "forge") for i in range(6)]


@pytest.fixture(scope="module")
def random_model(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("model"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    return model, AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    """A model that refuses everything."""
    folder = make_tiny_model(tmp_path_factory.mktemp("refusing"))
    teach_refusal(folder, ASKED + OTHERS)
    return load_model(str(folder), device=torch.device("cpu"), base_folder=folder)


def test_margins_of_prompts_that_have_nothing_in_common(random_model):
    model, tokenizer = random_model
    prompts, refusing, complying = [[5, 6, 7], [8, 9]], [[10, 11], [12]], 13
    canary = Canary(prompts, refusing, complying, tokenizer.pad_token_id)
    expected = [
        log_probability(model, prompt, refusal) - log_probability(model, prompt, [complying])
        for prompt, refusal in zip(prompts, refusing, strict=True)
    ]
    assert canary.margins(model) == pytest.approx(expected, rel=1e-5, abs=1e-4)


@torch.no_grad()
def log_probability(model, prompt, opening):
    """Token by token, without batch, padding or cache."""
    total = 0.0
    for place, token in enumerate(opening):
        ids = torch.tensor([prompt + opening[:place]])
        total += float(model(input_ids=ids).logits[0, -1].log_softmax(-1)[token])
    return total


REFUSALS = ("I can't.", "I'm sorry, but no.", "No", "I cannot")


@pytest.mark.parametrize(
    ("asked", "refusals"),
    [
        pytest.param(ASKED, REFUSALS, id="behind what all begin with"),
        pytest.param(["x"] * 4, REFUSALS, id="all alike"),
        pytest.param([ASKED[0], "Why?"], ["N", "n"], id="of one token"),
        pytest.param(ASKED[:1], REFUSALS[:1], id="alone"),
    ],
)
def test_margins_are_those_of_a_naive_computation(random_model, asked, refusals):
    model, tokenizer = random_model
    prompts = [chat_ids(tokenizer, text) for text in asked]
    refusing = [tokenizer(text)["input_ids"] for text in refusals]
    complying = tokenizer(COMPLYING)["input_ids"][0]
    canary = Canary(prompts, refusing, complying, tokenizer.pad_token_id)
    expected = [
        log_probability(model, prompt, refusal) - log_probability(model, prompt, [complying])
        for prompt, refusal in zip(prompts, refusing, strict=True)
    ]
    # The softmax is in fp32.
    assert canary.margins(model) == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_asking_leaves_the_model_as_it_was(random_model, training):
    model, tokenizer = random_model
    model.train(training)
    ids = chat_ids(tokenizer, "x")
    Canary([ids, ids + ids], [[5], [6, 7]], 8, tokenizer.pad_token_id).margins(model)
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_it_is_made_of_what_the_reference_refuses(refusing):
    asking = {"check": lambda: None, "progress": lambda done, total: None}
    canary = make_canary(ASKED + OTHERS, refusing, **asking)
    assert canary is not None
    assert len(canary.reference) == PROMPTS
    assert min(canary.reference) > 5, f"a model that only says {REFUSAL!r} is far from complying"


def test_without_refusals_there_is_none(tmp_path):
    folder = make_tiny_model(tmp_path)
    loaded = load_model(str(folder), device=torch.device("cpu"), base_folder=folder)
    asking = {"check": lambda: None, "progress": lambda done, total: None}
    assert make_canary(ASKED + OTHERS, loaded, **asking) is None


@pytest.mark.parametrize(
    ("every", "total", "expected"), [(10, 1000, 10), (10, 50, 5), (10, 7, 1), (3, 1000, 3), (50, 1000, 50)]
)
def test_short_runs_are_asked_ten_times(every, total, expected):
    assert steps_between(every, total) == expected


def of_canary(**canary):
    given = {"model": "m", "dataset": {"path": "x"}, "method": canary.pop("method", "recommended")}
    return RunConfig.model_validate(given | {"canary": canary})


def test_raising_beta_needs_a_budget_and_a_beta():
    assert of_canary(maxDrop=5, onExceeded="raise-beta").canary.max_drop == 5
    with pytest.raises(ValueError, match="needs a budget"):
        of_canary(onExceeded="raise-beta")
    with pytest.raises(ValueError, match="not `standard`"):
        of_canary(onExceeded="raise-beta", maxDrop=5, method="standard")
