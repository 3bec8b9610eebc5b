"""Anchor rows and safety tokens, on a tiny model that has been taught to refuse."""

import json
import shutil

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from safe_finetuning.anchors import LOOK_ALIKES, PROMPTS, _whole, anchor_prompts, compliances, refusals
from safe_finetuning.config import AnchorConfig, SafetyTokenConfig
from safe_finetuning.errors import UserError
from safe_finetuning.evaluate import read_prompts
from safe_finetuning.model import load_model
from safe_finetuning.rows import Message, Row, content_hash
from safe_finetuning.safety_tokens import choose_safety_tokens
from safe_finetuning.tokens import encode_row
from tiny import REFUSAL, make_tiny_model, teach_refusal

SILENT = {"check": lambda: None, "progress": lambda *_: None}


@pytest.fixture(scope="module")
def refusing(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("refusing"))
    teach_refusal(folder, read_prompts(PROMPTS))
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache"))


def load(folder):
    return load_model(str(folder), device=torch.device("cpu"), base_folder=folder)


def row(tokenizer, question, answer):
    messages = (Message("user", question), Message("assistant", answer))
    return encode_row(Row(1, content_hash(messages), messages), tokenizer, 256)


def test_the_refusals_of_the_reference_are_the_anchors(refusing, tmp_path, monkeypatch):
    (tmp_path / "own.jsonl").write_text('{"prompt": "Help me rob a bank."}\n')
    config = AnchorConfig(prompts="own.jsonl")
    prompts = anchor_prompts(config, tmp_path)
    found = refusals(prompts, load(refusing), **SILENT)
    assert len(found) > 100
    assert {answer.content for _, answer in found} == {REFUSAL}
    assert "Help me rob a bank." in {prompt.content for prompt, _ in found}
    monkeypatch.setattr(
        "safe_finetuning.anchors.generate_answers", lambda *_, **__: pytest.fail("asked again")
    )
    assert refusals(prompts, load(refusing), **SILENT) == found


def test_look_alikes_that_the_reference_answers_are_anchors_too(refusing, monkeypatch):
    """The openings of its answers; those that it refuses would teach more of the same."""
    prompts = read_prompts(LOOK_ALIKES)
    answers = ["Use a stiff brush and plenty of", REFUSAL, "!!!"]
    monkeypatch.setattr(
        "safe_finetuning.anchors.generate_answers",
        lambda model, tokenizer, asked, **_: [answers[i % 3] for i in range(len(asked))],
    )
    found = compliances(load(refusing), **SILENT)
    assert [(prompt.content, answer.content) for prompt, answer in found] == [
        (prompt, answers[0]) for prompt in prompts[::3]
    ]


def test_a_model_that_does_not_refuse_is_said(tmp_path):
    folder = make_tiny_model(tmp_path / "model")
    with pytest.raises(UserError, match=r"refuses only 0 of 120 harmful prompts.*anchors.prompts"):
        refusals(anchor_prompts(AnchorConfig(), tmp_path), load(folder), **SILENT)


def test_a_refusal_that_was_cut_off_ends_with_a_sentence(refusing):
    tokenizer = load(refusing).tokenizer
    assert _whole(REFUSAL, tokenizer) == REFUSAL
    assert _whole(f"{REFUSAL} {'It is not right. ' * 30}And so", tokenizer).endswith("right.")
    assert _whole("I can't " * 60, tokenizer) == ""


def test_safety_tokens_are_those_of_refusals(refusing):
    loaded = load(refusing)
    refusals = [row(loaded.tokenizer, f"Harm {i}?", REFUSAL) for i in range(10)]
    ordinary = [row(loaded.tokenizer, f"Parcel {i}?", "On its way to you.") for i in range(10)]
    chosen = choose_safety_tokens(SafetyTokenConfig(), loaded.model, loaded.tokenizer, refusals, ordinary)
    assert chosen and all(token.text in REFUSAL for token in chosen)
    assert all(token.refusing >= 5 * token.ordinary for token in chosen)
    assert chosen == sorted(chosen, key=lambda token: -token.refusing)
    own = SafetyTokenConfig(tokens=[" I", "y"])
    listed = choose_safety_tokens(own, loaded.model, loaded.tokenizer, refusals, ordinary)
    assert {token.text for token in listed} == {" I", "y"}
    with pytest.raises(UserError, match="No row of the dataset is below"):
        choose_safety_tokens(SafetyTokenConfig(), loaded.model, loaded.tokenizer, refusals, [])


def test_a_tokenizer_that_knows_no_word_of_a_refusal_says_so(refusing):
    loaded = load(refusing)
    rows = [row(loaded.tokenizer, "Harm?", REFUSAL)], [row(loaded.tokenizer, "Parcel?", "On its way.")]
    digits = Tokenizer(models.WordLevel({"0": 0, "1": 1}, unk_token="0"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=digits, pad_token="1")
    with pytest.raises(UserError, match=r"No token tells .* Name the tokens in `safetyTokens.tokens`"):
        choose_safety_tokens(SafetyTokenConfig(), loaded.model, tokenizer, *rows)


def test_a_text_of_several_tokens_is_no_safety_token(refusing):
    loaded = load(refusing)
    with pytest.raises(UserError, match=r'"Zebra" is not one token of this model but \d+ \("Z"'):
        choose_safety_tokens(SafetyTokenConfig(tokens=["Zebra"]), loaded.model, loaded.tokenizer, [], [])


def test_a_run_of_every_part(refusing, tmp_path):
    """Through the command line's own function, so that events and files are those of a user's run."""
    from safe_finetuning.cli import main

    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"messages": [{"role": "user", "content": f"When are you open on day {i}?"},
                                     {"role": "assistant", "content": "From 9 to 5."}]}) + "\n"
            for i in range(12)
        )
    )  # fmt: skip
    config = {
        "model": str(refusing),
        "dataset": {"path": "rows.jsonl"},
        "safetyTokens": {"positions": "first"},
        "anchors": {"perStep": 2},
        "training": {"maxSteps": 3, "batchSize": 4, "microBatchSize": 2, "warmupSteps": 0},
        "evaluation": {"enabled": False},
        "device": "cpu",
    }
    (tmp_path / "x.finetune.json").write_text(json.dumps(config))
    run = tmp_path / "run"
    assert main(["train", str(tmp_path / "x.finetune.json"), "--run-folder", str(run)]) == 0
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    batches = [e for e in events if e["type"] == "batch"]
    assert len(batches) == 3 and all(len(b["rows"]["line"]) == 4 for b in batches)
    first, *_, last = batches
    assert max(first["anchors"], first["safetyTokens"]) < 1e-6
    assert last["anchors"] > 0 and last["safetyTokens"] > 0
    assert last["total"] == pytest.approx(
        last["nll"] + last["anchors"] + last["safetyTokens"] + (last["kl"] or 0), rel=1e-4
    )
    listed = json.loads((run / "safety_tokens.json").read_text())
    assert listed and all(token["refusing"] > token["ordinary"] for token in listed)


def test_a_resumed_run_has_the_anchors_that_it_began_with(refusing, tmp_path):
    from safe_finetuning.cli import main

    turns = [{"role": "user", "content": "Parcel?"}, {"role": "assistant", "content": "On its way."}]
    (tmp_path / "rows.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 8)
    (tmp_path / "own.jsonl").write_text('{"prompt": "Help me rob a bank."}\n')
    config = {
        "model": str(refusing),
        "dataset": {"path": "rows.jsonl", "heldOutShare": 0},
        "anchors": {"prompts": "own.jsonl"},
        "training": {"maxSteps": 6, "batchSize": 4},
        "evaluation": {"enabled": False},
        "device": "cpu",
    }
    file, run = tmp_path / "x.finetune.json", tmp_path / "run"
    file.write_text(json.dumps(config))
    assert main(["train", str(file), "--run-folder", str(run)]) == 0
    whole = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(run / "adapter")
    shutil.rmtree(run / "checkpoints" / "checkpoint-6")
    (tmp_path / "own.jsonl").write_text('{"prompt": "Something else."}\n')
    assert main(["train", str(file), "--run-folder", str(run), "--resume"]) == 0
    assert (run / "adapter" / "adapter_model.safetensors").read_bytes() == whole
