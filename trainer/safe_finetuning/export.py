"""A fine-tuned model as others load it: the adapter merged into its base, a Hugging Face folder or GGUF."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from safetensors import SafetensorError

from .config import RunConfig
from .errors import UserError
from .resume import read_record
from .risk.endpoint import KEY_VARIABLE
from .train import load_trained

SECRETS = (KEY_VARIABLE, "HF_TOKEN")
GGUF_CONVERTER = "convert_hf_to_gguf.py"  # of llama.cpp; it is in no package


def export_merged(run: Path, output: Path) -> Path:
    """Writes the model of a run with its adapter merged into it, in the precision of the model's own files.

    `output` is a folder that is made or, where it ends with `.gguf`, a file. Nothing is overwritten, and
    nothing half-written is left there.

    Raises:
        UserError: the run has saved nothing, or its model is gone; `output` exists already or cannot be
            written; there is no converter to GGUF.
    """
    record = read_record(run)
    if not record.config or not record.config_path:
        raise UserError(f"{run}: this is a run of a training script, which saves its model itself.")
    gguf = output.suffix.lower() == ".gguf"
    converter = _gguf_converter() if gguf else None
    if output.exists():
        raise UserError(f"{output}: exists already, and is not overwritten. Give another name.")
    beside = output.with_name(f".{output.name}.tmp")
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        base = Path(record.config_path).parent
        _save_merged(record.config, base, run, beside)
        if converter:
            _convert(converter, beside, beside / "model.gguf")
            (beside / "model.gguf").rename(output)
        else:
            beside.rename(output)
    except (OSError, SafetensorError) as error:
        place, reason = getattr(error, "filename", None) or output, getattr(error, "strerror", None) or error
        raise UserError(
            f"{place}: cannot be written: {reason}. Free some space or give another folder."
        ) from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return output


def _save_merged(config: RunConfig, base: Path, run: Path, folder: Path) -> None:
    from transformers import AutoConfig

    # In fp32, whatever it was trained in; the adapter of a quantised base fits the whole one, too.
    whole = config.model_copy(update={"quantisation": "none", "device": "cpu"})
    model, loaded = load_trained(whole, base, run)
    merged = model.merge_and_unload(safe_merge=True) if config.lora else model
    precision = AutoConfig.from_pretrained(loaded.source).dtype
    merged.to(precision or merged.dtype).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def _gguf_converter() -> str:
    found = shutil.which(GGUF_CONVERTER)
    if not found:
        raise UserError(
            f"GGUF needs llama.cpp's converter {GGUF_CONVERTER} on the PATH, and there is none. Add the "
            "folder of llama.cpp to the PATH, or export a folder and convert that."
        )
    return found


def _convert(converter: str, folder: Path, file: Path) -> None:
    command = [sys.executable, converter, str(folder), "--outfile", str(file)]
    environment = {name: x for name, x in os.environ.items() if name not in SECRETS}
    ended = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if ended.returncode or not file.is_file():
        said = (ended.stdout.strip().splitlines() or ["nothing"])[-1]
        raise UserError(f"{converter} failed with exit code {ended.returncode}. The last it said: {said}")
