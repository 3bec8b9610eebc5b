"""Exported models: what others load says what the adapter on its base says."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from running import write_record
from safe_finetuning.cli import main
from safe_finetuning.config import RunConfig
from safe_finetuning.export import GGUF_CONVERTER
from tiny import make_tiny_model


@pytest.fixture
def trained(tmp_path: Path):
    """A run whose adapter moves its model; a text, and the logits of the two on it."""
    run = tmp_path / "run"
    run.mkdir()
    make_tiny_model(tmp_path / "model")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")).eval()
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    peft.save_pretrained(run / "adapter")
    config = RunConfig.model_validate({"model": "model", "dataset": {"path": "x.jsonl"}, "device": "cpu"})
    write_record(run, config)
    ids = AutoTokenizer.from_pretrained(tmp_path / "model")("Where is my parcel?", return_tensors="pt")
    with torch.no_grad():
        return run, ids, peft(**ids).logits


def export(run: Path, output: Path) -> int:
    return main(["export", str(run), "--output", str(output)])


def test_a_folder_that_transformers_loads_by_itself(trained, tmp_path, capsys):
    run, ids, expected = trained
    output = tmp_path / "new" / "merged"
    assert export(run, output) == 0
    assert f"saved: {output}" in capsys.readouterr().out
    model = AutoModelForCausalLM.from_pretrained(output)
    with torch.no_grad():
        torch.testing.assert_close(model(**ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained(output).chat_template
    assert [x.name for x in output.parent.iterdir()] == ["merged"]


def test_nothing_is_overwritten(trained, tmp_path, capsys):
    run, *_ = trained
    (tmp_path / "merged").mkdir()
    assert export(run, tmp_path / "merged") == 1
    assert "exists already" in capsys.readouterr().err
    assert not list((tmp_path / "merged").iterdir())


def test_a_run_without_an_adapter_leaves_nothing_behind(trained, tmp_path, capsys):
    run, *_ = trained
    shutil.rmtree(run / "adapter")
    assert export(run, tmp_path / "merged") == 1
    assert "not an adapter folder" in capsys.readouterr().err
    assert export(tmp_path, tmp_path / "merged") == 1
    assert "there is no run in this folder" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists() and not list(tmp_path.glob(".*tmp"))


def test_gguf_without_a_converter_says_what_to_do(trained, tmp_path, capsys, monkeypatch):
    run, *_ = trained
    monkeypatch.setenv("PATH", str(tmp_path))
    assert export(run, tmp_path / "model.gguf") == 1
    assert "llama.cpp" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="scripts on the PATH need an extension there")
@pytest.mark.parametrize("works", [True, False])
def test_gguf_by_the_converter_on_the_path(trained, tmp_path, capsys, monkeypatch, works):
    run, *_ = trained
    (tmp_path / "bin").mkdir()
    converter = tmp_path / "bin" / GGUF_CONVERTER
    body = "import sys, pathlib\nfolder, _, file = sys.argv[1:]\n"
    body += "assert (pathlib.Path(folder) / 'model.safetensors').exists()\n"
    body += "pathlib.Path(file).write_text('GGUF')\n" if works else "sys.exit('no such architecture')\n"
    converter.write_text(f"#!{sys.executable}\n{body}")
    converter.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert export(run, tmp_path / "model.gguf") == (0 if works else 1)
    assert (tmp_path / "model.gguf").exists() == works
    if not works:
        assert "no such architecture" in capsys.readouterr().err
    assert not list(tmp_path.glob(".*tmp"))
