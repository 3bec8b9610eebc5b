"""The activation-based risk predictor, on a tiny model and on states of a known kind."""

import json

import pytest
import torch

from safe_finetuning.cli import main
from safe_finetuning.errors import LocatedError, UserError
from safe_finetuning.probing import read_labelled, shipped
from safe_finetuning.risk import probe as probe_module
from safe_finetuning.risk.probe import (
    Predictor,
    load_probe,
    out_of_fold,
    prompt_states,
    save_probe,
    train_probe,
)
from safe_finetuning.rows import Message, Row, content_hash

KINDS = ["layer", "pooled", "released-code"]


def states_of(n: int, seed: int, scales=(1.0, 10, 3, 100)) -> tuple[torch.Tensor, list[bool]]:
    """Four layers of noise of unlike scales; in the third, harmful prompts lie two deviations apart."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(n, 4, 8, generator=generator) * torch.tensor(scales)[None, :, None]
    harmful = [i % 3 == 0 for i in range(n)]
    states[torch.tensor(harmful), 2] += 6
    return states, harmful


@pytest.mark.parametrize("kind", KINDS)
def test_a_probe_finds_what_tells_harmful_prompts_apart(kind):
    alike = {"scales": (3, 3, 3, 3)} if kind == "released-code" else {}  # it takes layers as they are
    probe = train_probe(*states_of(120, 0, **alike), kind, "f")
    states, harmful = states_of(60, 1, **alike)
    risks = probe.risk(states)
    right = ((risks > 0.5) == torch.tensor(harmful)).double().mean()
    assert right > (0.95 if kind == "layer" else 0.8)
    assert probe.layers == ((2,) if kind == "layer" else (0, 1, 2, 3))
    assert ((risks == 0) | (risks == 1)).all() == (kind == "released-code")


def test_the_released_kind_is_the_released_network_on_the_plain_mean():
    """512 hidden units and the larger of two outputs, as released; here one, their difference."""
    states, harmful = states_of(60, 0)
    probe = train_probe(states, harmful, "released-code", "f")
    tensors = probe.tensors
    assert tensors["hidden_weight"].shape == (512, 8) and tensors["weight"].shape == (512,)
    hidden = torch.relu(states.double().mean(1) @ tensors["hidden_weight"].T + tensors["hidden_bias"])
    verdict = hidden @ tensors["weight"] + tensors["bias"] > 0
    assert torch.equal(probe.risk(states), verdict.double())


@pytest.mark.parametrize("kind", KINDS)
def test_risks_of_unseen_folds_are_those_of_other_probes(kind):
    noise = torch.randn(60, 4, 8, generator=torch.Generator().manual_seed(2))
    harmful = torch.tensor([i % 3 == 0 for i in range(60)])
    probe = train_probe(noise, harmful.tolist(), kind, "f")
    unseen = out_of_fold(noise, harmful.tolist(), kind)
    assert not torch.equal(unseen, probe.risk(noise))
    assert ((unseen > 0.5) == harmful).double().mean() < 0.85  # noise can be learnt by heart, not foreseen


def test_the_layer_is_not_chosen_by_the_prompts_that_are_judged(monkeypatch):
    """Of many layers of noise the one that happens to fit would look as if it knew something."""
    seen = []
    original = probe_module._cross_validated
    monkeypatch.setattr(
        probe_module,
        "_cross_validated",
        lambda states, *of: seen.append(len(states)) or original(states, *of),
    )
    out_of_fold(torch.randn(40, 3, 4), [i % 2 == 0 for i in range(40)], "layer")
    assert {*seen} == {32}


def test_as_few_prompts_as_are_asked_for_are_enough():
    states, _ = states_of(30, 0)
    harmful = [i < 10 for i in range(30)]
    assert train_probe(states, harmful, "layer", "f").layers
    assert len(out_of_fold(states, harmful, "layer")) == 30


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_probe_says_the_same(tmp_path, kind):
    probe = train_probe(*states_of(60, 0), kind, "f")
    save_probe(probe, tmp_path / "deep" / "probe.safetensors")
    again = load_probe(tmp_path / "deep" / "probe.safetensors", "f")
    assert again.judge_id == probe.judge_id
    states, _ = states_of(30, 1)
    assert torch.equal(again.risk(states), probe.risk(states))


def test_what_is_no_probe_for_this_model_is_said(tmp_path):
    save_probe(train_probe(*states_of(60, 0), "layer", "f"), tmp_path / "p")
    with pytest.raises(UserError, match="was trained on another model"):
        load_probe(tmp_path / "p", "g")
    with pytest.raises(UserError, match="there is no such probe"):
        load_probe(tmp_path / "none", "f")
    (tmp_path / "p").write_text("{}")
    with pytest.raises(UserError, match="is not a probe, or damaged"):
        load_probe(tmp_path / "p", "f")


def test_too_few_prompts_are_said():
    states, _ = states_of(30, 0)
    with pytest.raises(UserError, match="10 harmful and 10 harmless prompts or more; there are 3 and 27"):
        train_probe(states, [i < 3 for i in range(30)], "layer", "f")


@pytest.mark.parametrize("over_tokens", [False, True])
def test_states_do_not_depend_on_the_batch(loaded, over_tokens):
    prompts = [[{"role": "user", "content": "word " * n}] for n in (1, 9, 3, 30)]
    together = prompt_states(loaded.model, loaded.tokenizer, prompts, over_tokens=over_tokens)
    assert together.shape == (4, 3, 32)
    for i, prompt in enumerate(prompts):
        alone = prompt_states(loaded.model, loaded.tokenizer, [prompt], over_tokens=over_tokens)
        torch.testing.assert_close(together[i], alone[0], rtol=1e-4, atol=1e-5)


def test_states_are_those_before_the_answer(loaded):
    prompt = [{"role": "user", "content": "Hello?"}]
    text = loaded.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    ids = torch.tensor([loaded.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        hidden = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states
    found = prompt_states(loaded.model, loaded.tokenizer, [prompt])[0]
    torch.testing.assert_close(found, torch.stack([h[0, -1] for h in hidden]), rtol=1e-4, atol=1e-5)


def test_every_prompt_is_judged_in_its_context_and_the_answer_is_not(loaded):
    states = torch.randn(60, 3, 32, generator=torch.Generator().manual_seed(0))
    probe = train_probe(states, [i % 2 == 0 for i in range(60)], "layer", "f")
    predictor = Predictor(probe, loaded.model, loaded.tokenizer)

    def risks(*turns):
        messages = tuple(Message(("user", "assistant")[i % 2], text) for i, text in enumerate(turns))
        return predictor.score(Row(1, content_hash(messages), messages).pairs())

    first, second = risks("How?", "So.", "And then?", "Thus.")
    assert first != second
    assert risks("How?", "Otherwise.")[0] == pytest.approx(first, rel=1e-5)
    assert predictor.score([]) == []


def test_labelled_files(tmp_path):
    assert sum(shipped().harmful) >= 100 and shipped().harmful.count(False) >= 100
    file = tmp_path / "labelled.jsonl"
    file.write_text('{"prompt": "a", "harmful": true}\n\n{"prompt": "b", "harmful": false}\n')
    assert read_labelled(file) == (["a", "b"], [True, False])
    file.write_text('{"prompt": "a", "harmful": true}\n{"prompt": "b", "harmful": "no"}\n')
    with pytest.raises(LocatedError, match="`harmful` is not true or false") as caught:
        read_labelled(file)
    assert caught.value.line == 2
    file.write_text('{"prompt": "a", "harmful": true}\n')
    with pytest.raises(UserError, match="harmful and harmless"):
        read_labelled(file)


def test_a_probe_is_trained_by_command_and_judges_a_run(model, tmp_path, monkeypatch):
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache"))
    turns = [{"role": "user", "content": "How do I get in?"}, {"role": "assistant", "content": "Sure."}]
    (tmp_path / "rows.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 4)
    config = {
        "model": str(model),
        "dataset": {"path": "rows.jsonl", "heldOutShare": 0},
        "method": "adaptive",
        "risk": {"source": "probe", "probe": "probe.safetensors", "floor": 0},
        "training": {"maxSteps": 1, "batchSize": 4},
        "evaluation": {"enabled": False},
        "device": "cpu",
    }
    file = tmp_path / "x.finetune.json"
    file.write_text(json.dumps(config))

    def events(run):
        return [json.loads(line) for line in (tmp_path / run / "events.jsonl").read_text().splitlines()]

    assert main(["train", str(file), "--run-folder", str(tmp_path / "early")]) == 1
    message = events("early")[-1]["message"]
    assert "there is no such probe" in message and "safe_finetuning probe" in message
    assert main(["probe", str(file)]) == 0
    assert "AUROC" in (tmp_path / "probe.md").read_text()
    assert main(["train", str(file), "--run-folder", str(tmp_path / "run")]) == 0
    [risk] = {r for e in events("run") if e["type"] == "batch" for r in e["rows"]["risk"]}
    assert 0 < risk < 1
