"""Loads the model that a run fine-tunes: a local folder, a name from the Hugging Face hub, or `example`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:
    import torch

EXAMPLE = "example"


@dataclass(frozen=True)
class Loaded:
    """A causal language model, its tokenizer, and where and what they are."""

    model: Any
    tokenizer: Any
    source: str
    fingerprint: str


def resolve_device(name: str) -> torch.device:
    """The device for `auto`, `cuda`, `mps` or `cpu`.

    Raises:
        UserError: this machine does not have the device that was asked for.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in available.items() if there)
    if not available[name]:
        raise UserError(
            f"`device` is `{name}`, but PyTorch {torch.__version__} finds no such device here. "
            "Set it to `auto`, or install the PyTorch build for your GPU with Set Up Environment."
        )
    return torch.device(name)


def load_tokenizer(name: str, *, base_folder: Path, check: Callable[[], None] = lambda: None) -> Any:
    """The model's tokenizer, with a chat template and a padding token.

    Raises:
        UserError: there is no such model, it cannot be reached, or it has no chat template.
    """
    from transformers import AutoTokenizer

    tokenizer = _from_pretrained(AutoTokenizer, name, base_folder, check)
    if not tokenizer.chat_template:
        raise UserError(
            f"`model`: {name} has no chat template, so conversations cannot be turned into text. "
            "Use an instruction-tuned model, or add a chat template to its tokenizer."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is masked, so that any token serves
    return tokenizer


def load_model(
    name: str, *, device: torch.device, base_folder: Path, check: Callable[[], None] = lambda: None
) -> Loaded:
    """The model in fp32 (bf16 on a GPU that has it) on `device`, with its tokenizer.

    Raises:
        UserError: as `load_tokenizer`.
    """
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(name, base_folder=base_folder, check=check)
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    model = _from_pretrained(
        AutoModelForCausalLM, name, base_folder, check, dtype=torch.bfloat16 if bf16 else torch.float32
    ).to(device)
    return Loaded(model, tokenizer, _source(name, base_folder, check), fingerprint(model))


def fingerprint(model: Any) -> str:
    """SHA-256 over the configuration and a sample of every parameter: tells weights apart, cheaply."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _source(name: str, base_folder: Path, check: Callable[[], None]) -> str:
    if name == EXAMPLE:
        from .example_model import example_model_folder

        return str(example_model_folder(check=check))
    local = base_folder / name
    if local.is_dir():
        return str(local)
    if name.startswith((".", "/", "~")) or "\\" in name:
        raise UserError(f"`model`: there is no folder {local}. Correct the path in the configuration.")
    return name


def _from_pretrained(
    kind: Any, name: str, base_folder: Path, check: Callable[[], None], **settings: Any
) -> Any:
    source = _source(name, base_folder, check)
    try:
        return kind.from_pretrained(source, trust_remote_code=False, **settings)
    except (OSError, ValueError) as error:
        raise UserError(_explain(name, error)) from None


def _explain(name: str, error: Exception) -> str:
    text = str(error)
    if "gated" in text.lower() or "401" in text or "403" in text:
        return (
            f"`model`: {name} is gated. Accept its terms on its Hugging Face page, then log in with "
            "`hf auth login` or set HF_TOKEN."
        )
    if "trust_remote_code" in text:
        return (
            f"`model`: {name} needs code of its own to be run, which is not allowed here. Use another model."
        )
    return (
        f"`model`: {name} cannot be loaded: {text.splitlines()[0] if text else type(error).__name__} "
        "Give a folder, a name from the Hugging Face hub or cache, or `example`."
    )
