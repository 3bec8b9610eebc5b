"""Loads the safe reference: a local folder, a name on the Hugging Face hub, or `example`."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from .cache import cache_folder
from .errors import Cancelled, UserError
from .files import sha256_of, write_atomically

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from .config import LoraConfig

EXAMPLE = "example"
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]  # no pickles, no code

Check = Callable[[], None]
Report = Callable[[str], None]
Downloaded = Callable[[int, int | None], None]
"""Told how many megabytes of a model are there, and of how many as far as is known."""


@dataclass(frozen=True)
class Loaded:
    """A model ready for training or generation, in evaluation mode, with its tokenizer.

    `fingerprint` names the weights and the configuration (64 hex digits) and is a key for caches;
    `source` is the folder that they were read from.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    fingerprint: str
    source: str

    @property
    def tokenizer_digest(self) -> str:
        """Names how text becomes tokens (64 hex digits): vocabulary, rules, chat template."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        rules = backend.to_str() if backend else json.dumps(self.tokenizer.get_vocab(), sort_keys=True)
        template = json.dumps(self.tokenizer.chat_template)
        return hashlib.sha256((rules + template).encode()).hexdigest()


def resolve_device(name: str) -> torch.device:
    """The device for `auto` (CUDA, then MPS, then the CPU), `cuda`, `mps` or `cpu`.

    Raises:
        UserError: the device asked for is not there.
    """
    import torch

    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, there in present.items() if there))
    if name not in present:
        raise UserError(f'`device`: "{name}" is not one of auto, {", ".join(present)}.')
    if not present[name]:
        reason = (
            "it was built without it" if name == "cuda" and torch.version.cuda is None else "it found none"
        )
        raise UserError(
            f'`device`: "{name}" was asked for, but PyTorch {torch.__version__} has no such device here '
            f'({reason}). Set `device` to "auto" or "cpu", or install the PyTorch build for it.'
        )
    return torch.device(name)


def load_model(
    name: str,
    *,
    device: torch.device,
    base_folder: Path,
    quantisation: Literal["none", "4bit"] = "none",
    fp32: bool = False,
    check: Check | None = None,
    progress: Report | None = None,
    downloaded: Downloaded | None = None,
) -> Loaded:
    """The model called `name`: `example`, a folder (relative to `base_folder`) or a hub name.

    Weights are fp32 on the CPU and on MPS, bf16 on CUDA where it is supported, unless `fp32` is asked for:
    weights that are trained themselves would lose small updates in bf16. With `4bit`, those of linear
    layers are NF4 with double quantisation (Dettmers et al. 2023, QLoRA). Code that comes with a
    model is never run, and pickled weights are not read. `check` is called between the stages and may
    raise to cancel; `progress` is told the stages, `downloaded` how far a download is.

    Raises:
        UserError: the model is missing, gated, cannot be reached or read, or has no chat template; or it
            cannot be quantised here.
    """
    import torch
    from transformers import AutoModelForCausalLM

    check = check or (lambda: None)
    source = _source(name, base_folder, check, progress, downloaded, weights=True)
    tokenizer = _tokenizer(name, source)
    check()
    bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported() and not fp32
    dtype = torch.bfloat16 if bf16 else torch.float32
    quantised = _nf4(dtype, device) if quantisation == "4bit" else {}
    with _explained(name, source):
        model = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **quantised,
        )
        check()
        if not quantised:  # those are where they belong already
            model.to(device)  # type: ignore[arg-type]
        model.eval()
    model.config.pad_token_id = tokenizer.pad_token_id
    fingerprint = _fingerprint(source) + ("-4bit" if quantised else "")
    return Loaded(model, tokenizer, fingerprint, str(source))


def _nf4(dtype: torch.dtype, device: torch.device) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    check_four_bits(device)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": nf4, "device_map": {"": device}}


def check_four_bits(device: torch.device) -> None:
    """Raises UserError where a base of four bits cannot be loaded."""
    from importlib.util import find_spec

    if device.type == "mps" or not find_spec("bitsandbytes"):
        reason = "is not there for MPS" if device.type == "mps" else "is not installed"
        raise UserError(
            f'`quantisation`: "4bit" needs bitsandbytes, which {reason}. Install it into the environment of '
            'the trainer (`pip install bitsandbytes`), or set `quantisation` to "none".'
        )


def load_tokenizer(name: str, *, base_folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of the model called `name`, without its weights; errors as in `load_model`."""
    return _tokenizer(name, _source(name, base_folder, weights=False))


def load_outline(name: str, *, base_folder: Path) -> PreTrainedModel:
    """The model called `name` without weights (on the `meta` device); errors as in `load_model`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    source = _source(name, base_folder, weights=False)
    with _explained(name, source), torch.device("meta"):
        config = AutoConfig.from_pretrained(source, local_files_only=True, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config)


def require_local(name: str, *, base_folder: Path) -> None:
    """Raises UserError where loading the model called `name` would have to download it first."""
    from .example_model import example_model_is_here

    if name == EXAMPLE:
        here = example_model_is_here()
    elif (base_folder / Path(name).expanduser()).is_dir() or not _may_be_on_the_hub(name):
        return  # what is wrong with it, loading says
    else:
        from huggingface_hub import try_to_load_from_cache

        here = isinstance(try_to_load_from_cache(name, "config.json"), str)
    if not here:
        raise UserError(
            f'`model`: "{name}" is not on this machine yet, and nothing is downloaded for a preview. '
            "Checking the configuration or starting the run downloads it."
        )


def with_new_adapter(model: Any, lora: LoraConfig) -> PeftModel:
    """The model with low-rank weights to train (Hu et al. 2021); its own are frozen.

    Raises:
        UserError: the model has no layers of the names that `lora.targetModules` gives.
    """
    from peft import LoraConfig as PeftLoraConfig
    from peft import get_peft_model

    settings = PeftLoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # PEFT takes fractions, too
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
    )
    try:
        return get_peft_model(model, settings)  # type: ignore[return-value]
    except ValueError as error:
        raise UserError(f"`lora.targetModules`: {error}") from None


# --- finding ----------------------------------------------------------------------------------------


def _source(
    name: str,
    base_folder: Path,
    check: Check = lambda: None,
    progress: Report | None = None,
    downloaded: Downloaded | None = None,
    *,
    weights: bool,
) -> Path:
    """The folder that holds the model; a hub model is downloaded into the hub's cache first."""
    if name == EXAMPLE:
        from .example_model import example_model_folder

        return example_model_folder(progress, check)
    folder = (base_folder / Path(name).expanduser()).resolve()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            adapter = (folder / "adapter_config.json").is_file()
            found = (
                "an adapter, not a whole model; merge it into its base first" if adapter else "not a model"
            )
            raise UserError(
                f"`model`: {folder} is {found} (no config.json). "
                "Give a folder as written by `save_pretrained`, with config.json, weights and tokenizer."
            )
        return folder
    if not _may_be_on_the_hub(name):
        raise UserError(
            f'`model`: there is no folder {folder}, and "{name}" is not a name on the Hugging Face hub '
            f'("owner/model"). Correct the path, or use "{EXAMPLE}".'
        )
    if progress:
        progress(f"Looking for {name} in the cache and on the hub")
    return _hub_folder(name, folder, weights, _download_bar(check, downloaded))


def _may_be_on_the_hub(name: str) -> bool:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _download_bar(check: Check, downloaded: Downloaded | None) -> type:
    """A progress bar of `snapshot_download` that reports and checks instead of being drawn."""
    from huggingface_hub.utils import tqdm

    one_at_a_time = threading.Lock()  # files are downloaded by several threads

    class DownloadBar(tqdm):  # type: ignore[misc]
        n_bytes = 0

        def __init__(self, *args: Any, name: str | None = None, **given: Any) -> None:
            super().__init__(*args, name=name, **given | {"disable": True})
            self.of_all_files = given.get("unit") == "B" and name == "huggingface_hub.snapshot_download"

        def update(self, n: float | None = 1) -> None:
            with one_at_a_time:
                check()
                if self.of_all_files and downloaded:
                    self.n_bytes += int(n or 0)
                    downloaded(self.n_bytes // 1_000_000, (self.total or 0) // 1_000_000)

    return DownloadBar


def _hub_folder(name: str, folder: Path, weights: bool, bar: type) -> Path:
    from huggingface_hub import errors, snapshot_download

    files = HUB_FILES if weights else [pattern for pattern in HUB_FILES if pattern != "*.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=files, tqdm_class=bar))
    except errors.GatedRepoError:
        problem = (
            "is gated: its owner asks for an agreement. Accept it on the model's page on huggingface.co, "
            "then run `hf auth login` (in the editor: Set Key or Token…) and start again"
        )
    except errors.RepositoryNotFoundError:
        problem = (
            f"is neither a folder ({folder}) nor a public model on the Hugging Face hub. Check the spelling; "
            "for a private model, run `hf auth login` first (in the editor: Set Key or Token…)"
        )
    except errors.HfHubHTTPError as error:
        problem = f"cannot be downloaded: {error}. Try again later, or give the path of a local folder"
    except Cancelled:
        raise
    except Exception as error:  # the hub's HTTP library has errors of its own
        problem = (
            f"is not a folder ({folder}), is not in the cache, and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}). Check the network connection, or give the path of a local folder"
        )
    raise UserError(f'`model`: "{name}" {problem}.')


# --- reading ----------------------------------------------------------------------------------------


def _tokenizer(name: str, source: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    with _explained(name, source):
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise UserError(
            f'`model`: "{name}" has no chat template; use an instruction-tuned model or add one to the '
            "tokenizer (chat_template.jinja in the model's folder)."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


@contextmanager
def _explained(name: str, source: Path) -> Iterator[None]:
    """Turns what Transformers raises over a model's files into an error that the user can act on."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        text = str(error).strip()
        if "trust_remote_code" in text:
            problem = "needs code of its own, which is never run here. Use a model that Transformers knows"
        elif "out of memory" in text or "can't allocate memory" in text:
            problem = "does not fit into memory. Use a smaller model, or free some memory"
        else:
            first = text.splitlines()[0] if text else type(error).__name__
            problem = (
                f"cannot be read from {source}: {first} The folder needs config.json, the tokenizer's "
                "files and the weights as safetensors; if it was copied or downloaded, do so again"
            )
        raise UserError(f'`model`: "{name}" {problem}.') from error


def _fingerprint(source: Path) -> str:
    """SHA-256 over the configuration and the weights, whole: what is cached by it must be of these weights.

    A file's own digest is kept by its path, size and time of change, as reading a large model takes a while.
    """
    known_file = cache_folder() / "fingerprints.json"
    try:
        known = json.loads(known_file.read_text("utf-8"))
    except (OSError, ValueError):
        known = {}
    digest, found = hashlib.sha256((source / "config.json").read_bytes()), {}
    for file in sorted(source.glob("*.safetensors")):
        stat = file.stat()
        key = f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}"
        found[key] = known.get(key) or sha256_of(file)
        digest.update(f"\n{file.name} {found[key]}".encode())
    if not found.keys() <= known.keys():
        with suppress(OSError):
            known_file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(known_file, json.dumps(known | found))
    return digest.hexdigest()
