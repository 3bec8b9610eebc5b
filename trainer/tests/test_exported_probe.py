"""A probe as ONNX beside the probe in PyTorch: the same risks, or none at all."""

import json
import os
import re
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnxruntime
import pytest
import torch

from safe_finetuning.cli import Stderr, main
from safe_finetuning.errors import Cancelled, UserError
from safe_finetuning.model import load_model
from safe_finetuning.risk import exported_probe
from safe_finetuning.risk.exported_probe import TOLERANCE, export_probe, parameters_below
from safe_finetuning.risk.probe import Predictor, prompt_states, train_probe
from safe_finetuning.tokens import before_answer
from tiny import make_tiny_tokenizer

KINDS = ["layer", "pooled", "released-code"]
PROMPTS = ["How do I get in?", "Wo ist mein Paket? 📦", "word " * 40, "a", "Say <|im_end|> twice.\n"] * 6


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "probes"


def predictor(loaded, kind="layer"):
    conversations = [[{"role": "user", "content": prompt}] for prompt in PROMPTS]
    states = prompt_states(loaded.model, loaded.tokenizer, conversations, over_tokens=kind == "released-code")
    harmful = [prompt in (PROMPTS[0], PROMPTS[3]) for prompt in PROMPTS]
    probe = train_probe(states, harmful, kind, loaded.fingerprint)
    return Predictor(probe, loaded.model, loaded.tokenizer)


@pytest.mark.parametrize("kind", KINDS)
def test_judges_as_pytorch_does_alone_and_in_a_batch(loaded, cache, kind):
    judge = predictor(loaded, kind)
    exported = export_probe(judge, Stderr())
    assert exported.parent == cache and judge.judge_id in exported.name
    conversations = [[{"role": "user", "content": prompt}] for prompt in PROMPTS[:5]]
    expected = np.array(judge.risks(conversations))
    assert expected.max() - expected.min() > 0.3  # so that a mistake shows
    session = onnxruntime.InferenceSession(exported / "probe.onnx")

    def risks(texts):
        batch = loaded.tokenizer(
            texts, return_tensors="np", padding=True, padding_side="left", add_special_tokens=False
        )
        return session.run(["risk"], {name: batch[name] for name in exported_probe.INPUTS})[0]

    texts = [before_answer(x, loaded.tokenizer) for x in conversations]
    for found in (risks(texts), np.concatenate([risks([text]) for text in texts])):
        assert np.abs(found - expected).max() <= TOLERANCE
        assert ((found >= 0.5) == (expected >= 0.5)).all()


def test_holds_nothing_above_the_layer_that_is_read(loaded):
    import onnx

    judge = predictor(loaded)
    [layer] = judge.probe.layers
    graph = onnx.load(export_probe(judge, Stderr()) / "probe.onnx").graph
    weights = sum(int(np.prod(tensor.dims)) for tensor in graph.initializer if len(tensor.dims) == 2)
    below = parameters_below(loaded.model, layer)
    assert below - 1000 < weights <= below + 1000  # norms, and constants of the graph
    assert parameters_below(loaded.model, 2) == sum(p.numel() for p in loaded.model.base_model.parameters())


def test_is_made_once_and_anew_for_another_chat_template(loaded, model, monkeypatch):
    judge = predictor(loaded)
    first = export_probe(judge, Stderr())
    monkeypatch.setattr(exported_probe, "_write_onnx", None)
    assert export_probe(judge, Stderr()) == first
    again = load_model(str(model), device=torch.device("cpu"), base_folder=model)
    again.tokenizer.chat_template = again.tokenizer.chat_template.replace("assistant", "helper")
    assert Predictor(judge.probe, again.model, again.tokenizer).judge_id != judge.judge_id


def test_of_several_chat_templates_the_one_that_judged_is_exported(loaded, model):
    judge = predictor(loaded)
    again = load_model(str(model), device=torch.device("cpu"), base_folder=model)
    template = again.tokenizer.chat_template
    again.tokenizer.chat_template = {"tool_use": "{{ strftime_now('%Y') }}", "default": template}
    named = Predictor(judge.probe, again.model, again.tokenizer)
    assert named.judge_id == judge.judge_id
    about = json.loads((export_probe(named, Stderr()) / "probe.json").read_text("utf-8"))
    assert about["chatTemplate"] == template


def test_only_those_that_were_asked_for_last_are_kept(loaded, cache):
    cache.mkdir(parents=True)
    for age in range(1, 6):
        (cache / f"old-{age}").mkdir()
        os.utime(cache / f"old-{age}", (1e9 - age, 1e9 - age))
    exported = export_probe(predictor(loaded), Stderr())
    assert {folder.name for folder in cache.iterdir() if folder.is_dir()} == {
        exported.name,
        *(f"old-{age}" for age in range(1, exported_probe.MOST_KEPT)),
    }


def test_one_that_another_process_removes_meanwhile_is_no_error(loaded, cache, monkeypatch):
    cache.mkdir(parents=True)
    gone = cache / "gone"
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: [*listed(folder), *[gone] * (folder == cache)])
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: path == gone or is_dir(path))
    assert export_probe(predictor(loaded), Stderr()).is_dir()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"MOST_PARAMETERS": 1000}, "Up to the layer that the probe reads, .* million parameters"),
        ({"TOLERANCE": -1}, r"differ by up to 0\.000 from those .* on cpu \(float32\)"),
        ({"torch": ZeroDivisionError("division by zero\n\nand much more")}, "exported: division by zero$"),
        ({"torch": NotImplementedError()}, "exported: NotImplementedError$"),
        ({"_write_onnx": lambda judge, path: path.write_bytes(b"no graph")}, "exported: .*probe.onnx failed"),
    ],
)
def test_what_cannot_be_exported_leaves_nothing_behind(loaded, cache, monkeypatch, changes, reason):
    judge = predictor(loaded)
    for name, value in changes.items():
        if name == "torch":
            monkeypatch.setattr(torch.onnx, "export", Mock(side_effect=value))
        else:
            monkeypatch.setattr(exported_probe, name, value)
    with pytest.raises(UserError, match=reason):
        export_probe(judge, Stderr())
    assert not cache.exists() or [path.name for path in cache.iterdir() if path.is_dir()] == []


def test_an_export_that_is_cancelled_is_no_failure(loaded, monkeypatch):
    monkeypatch.setattr(exported_probe, "_write_onnx", Mock(side_effect=Cancelled))
    with pytest.raises(Cancelled):
        export_probe(predictor(loaded), Stderr())


def test_the_command_says_where_it_is_or_why_it_is_not(model, tmp_path, monkeypatch, capsys):
    turns = [{"role": "user", "content": "How do I get in?"}, {"role": "assistant", "content": "Sure."}]
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": turns}) + "\n")
    config = {"model": str(model), "dataset": {"path": "rows.jsonl"}, "method": "adaptive", "device": "cpu"}
    file = tmp_path / "x.finetune.json"

    def report(risk):
        file.write_text(json.dumps(config | {"risk": risk}))
        capsys.readouterr()
        assert main(["score", str(file), "--format", "json", "--export-probe"]) == 0
        return json.loads(capsys.readouterr().out)

    assert report({})["probe"] is None
    by_probe = {"source": "probe", "probe": "probe.safetensors"}
    file.write_text(json.dumps(config))
    assert main(["probe", str(file)]) == 0
    found = report(by_probe)
    assert found["probe"]["notExported"] is None
    assert found["judge"] in found["probe"]["folder"]
    assert "those that ship with the trainer" in found["probe"]["trainedOn"]
    flagged, of = re.search(
        r"ordinary prompts at 0.5 or above \| (\d+) of (\d+) ", (tmp_path / "probe.md").read_text()
    ).groups()
    assert int(of) >= 300 and found["probe"]["ordinaryFlagged"] == int(flagged) / int(of)
    shutil.rmtree(found["probe"]["folder"])
    monkeypatch.setattr(exported_probe, "MOST_PARAMETERS", 1000)
    refused = report(by_probe)
    assert refused["probe"]["folder"] is None and "million parameters" in refused["probe"]["notExported"]
    assert refused["rows"] == found["rows"]


def test_what_was_cut_off_is_made_anew(loaded):
    judge = predictor(loaded)
    file = export_probe(judge, Stderr()) / "probe.onnx"
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    assert len((export_probe(judge, Stderr()) / "probe.onnx").read_bytes()) == len(whole)


def test_the_committed_one_is_read_and_judges_as_the_extension_is_held_to():
    """Files of write_probe_parity.py; test/unit/exportedProbe.test.ts holds the extension to them."""
    fixture = Path(__file__).parent / "fixtures" / "probe"
    parity = json.loads((fixture / "parity.json").read_text("utf-8"))
    tokenizer = make_tiny_tokenizer()
    session = onnxruntime.InferenceSession(fixture / "probe.onnx")
    for case in parity["cases"]:
        text = before_answer(case["messages"], tokenizer)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == case["ids"]
        inputs = (np.array([case["ids"]]), np.ones((1, len(case["ids"])), np.int64))
        [[risk]] = session.run(["risk"], dict(zip(exported_probe.INPUTS, inputs, strict=True)))
        assert abs(risk - case["risk"]) <= TOLERANCE
    spoken = [x["messages"] for x in parity["cases"] if x["messages"][0]["role"] == "user"]
    for template in parity["templates"]:
        tokenizer.chat_template = template["template"]
        assert [before_answer(x, tokenizer) for x in spoken] == template["texts"]
