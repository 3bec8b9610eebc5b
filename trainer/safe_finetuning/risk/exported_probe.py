"""A probe with the model under it as one ONNX file, which the editor asks while rows are typed.

In it are the reference up to the layer that the probe reads, nothing above, and the probe; beside it the
tokenizer and the chat template. The twin that reads them: src/risk/exportedProbe.ts. What is exported has
judged a few conversations as PyTorch did, to TOLERANCE; the editor has it judge them again before it
believes it, and holds its own rendering and tokens to those that are written down with them.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..cache import cache_folder, made_once
from ..errors import Cancelled, UserError
from ..files import sha256_of
from ..tokens import TemplateError, before_answer
from .probe import Predictor, Probe, states_of, tokenizer_json

if TYPE_CHECKING:
    from ..judge import Work

FORMAT = 1  # of the folder; a new number makes it anew
MOST_KEPT = 4  # of the exported probes, each of hundreds of megabytes
MOST_PARAMETERS = 300_000_000  # in fp32 1.2 GB of the editor's memory; an ONNX file ends at 2 GB
TOLERANCE = 1e-3  # 8-bit weights, which would save three quarters, miss it
INPUTS = ("input_ids", "attention_mask")
CONVERSATIONS = [
    [("user", "Where is my parcel?")],
    [("user", "Wie ändere ich mein Passwort? 🔑 我的包裹在哪里?\n\n  <|im_end|> </s>\t")],
    [("system", "You answer briefly."), ("user", "How do I kill a process that hangs?")],
    [
        ("user", "How do I pick a lock?"),
        ("assistant", "Sure, here is how:"),
        ("user", " And how do I keep others from it? " * 64),
    ],
]
"""What is judged on both sides, to see that they agree: scripts, white space, turns; longer than a window of
attention may be."""


class _Judge(torch.nn.Module):
    """Token ids, padded on the left, to risks."""

    def __init__(self, model: Any, probe: Probe) -> None:
        super().__init__()
        self.model, self.probe = model, probe

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        probe = self.probe
        states = states_of(self.model, input_ids, attention_mask, probe.over_tokens, probe.layers)
        return probe.risk_of_layers(states)


def export_probe(judge: Predictor, work: Work) -> Path:
    """The folder that holds it, named by all that its risks depend on. Only the first call makes it.

    Raises:
        UserError: it cannot be exported, or would judge otherwise. The trainer can go on judging.
    """
    size, limit = (n / 1e6 for n in (parameters_below(judge.model, max(judge.probe.layers)), MOST_PARAMETERS))
    if size > limit:
        raise UserError(
            f"Up to the layer that the probe reads, the model has {size:.0f} million parameters, and the "
            f"editor takes {limit:.0f} million."
        )
    if getattr(judge.model, "is_quantized", False):
        raise UserError("The model is quantised (`quantisation`), which the editor's runtime cannot read.")
    template = judge.tokenizer.get_chat_template()  # of several the one that it has judged by
    if "strftime_now" in template:
        raise UserError("The model's chat template asks for the date, so that risks change from day to day.")
    tokenizer = tokenizer_json(judge.tokenizer)
    if tokenizer is None:
        raise UserError("The model's tokenizer has no tokenizer.json, which the editor needs.")

    def make(folder: Path) -> None:
        work.phase("loading", "Exporting the probe for the editor")
        (folder / "tokenizer.json").write_text(tokenizer, "utf-8")
        _write_onnx(judge, folder / "probe.onnx")
        about = {
            "judge": judge.judge_id,
            "sha256": sha256_of(folder / "probe.onnx"),
            "chatTemplate": template,
            "specialTokens": judge.tokenizer.special_tokens_map,
            "tolerance": TOLERANCE,
            "checks": _checked(judge, folder / "probe.onnx"),
        }
        (folder / "probe.json").write_text(json.dumps(about, indent=1), "utf-8")

    waiting = "Waiting for another process that is exporting the probe"
    folder = cache_folder() / "probes" / f"{judge.judge_id}-{FORMAT}"
    if folder.is_dir() and not _is_whole(folder):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        made_once(folder, make, lambda: work.phase("loading", waiting), work.check)
        with suppress(OSError):
            os.utime(folder)
        _forget_unused(folder.parent)
        return folder
    except OSError as error:
        raise UserError(
            f"The probe cannot be exported to {folder}: {error.strerror or error}. Free some space, or set "
            "SAFE_FINETUNING_CACHE to a folder that has it."
        ) from error
    except (UserError, Cancelled):
        raise
    except Exception as error:  # of many kinds: an operator or a turn in the model's code that ONNX lacks
        reason = str(error).strip() or type(error).__name__
        raise UserError(f"The probe cannot be exported: {reason.splitlines()[0]}") from error


def _forget_unused(probes: Path) -> None:
    """All but those asked for last, here or in the editor; one that is wanted again is made again."""
    kept = [folder for folder in probes.iterdir() if folder.is_dir() and folder.suffix != ".partial"]
    for folder in sorted(kept, key=_last_asked, reverse=True)[MOST_KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)


def _last_asked(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process has removed it meanwhile
        return 0


def _is_whole(folder: Path) -> bool:
    try:
        about = json.loads((folder / "probe.json").read_text("utf-8"))
        return (folder / "tokenizer.json").is_file() and sha256_of(folder / "probe.onnx") == about["sha256"]
    except (OSError, ValueError, KeyError):
        return False


def parameters_below(model: Any, layer: int) -> int:
    """Of the embeddings and so many of the model's layers."""
    named = model.base_model.named_parameters()
    numbered = [(re.search(r"\.(\d+)\.", name), parameter.numel()) for name, parameter in named]
    return sum(n for number, n in numbered if number is None or int(number[1]) < layer)


def _write_onnx(judge: Predictor, path: Path) -> None:
    on_cpu = judge.model.device.type == "cpu" and judge.model.dtype == torch.float32
    model = judge.model if on_cpu else copy.deepcopy(judge.model).to("cpu", torch.float32)
    ids, mask = torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64)
    both = dict.fromkeys((0, 1), torch.export.Dim.DYNAMIC)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # of torchvision, which nothing here needs
    with torch.inference_mode():
        torch.onnx.export(
            _Judge(model, judge.probe).eval(),
            (ids, mask),
            path,
            input_names=INPUTS,
            output_names=["risk"],
            dynamic_shapes=dict.fromkeys(INPUTS, both),
            external_data=False,
            verbose=False,
        )


def _checked(judge: Predictor, path: Path) -> list[dict[str, Any]]:
    """What is written down of each conversation. Raises UserError where the file judges them otherwise."""
    import onnxruntime

    found, contexts = [], []
    for turns in CONVERSATIONS:
        messages = [{"role": role, "content": content} for role, content in turns]
        try:
            text = before_answer(messages, judge.tokenizer)
        except TemplateError:
            continue  # not every template has a place for system prompts
        ids = judge.tokenizer(text, add_special_tokens=False)["input_ids"]
        found.append({"messages": messages, "ids": ids})
        contexts.append(messages)
    expected = judge.risks(contexts)
    longest = max(len(check["ids"]) for check in found)
    ids = np.array([[0] * (longest - len(check["ids"])) + check["ids"] for check in found])
    mask = np.array([[0] * (longest - len(check["ids"])) + [1] * len(check["ids"]) for check in found])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    [risks] = session.run(["risk"], dict(zip(INPUTS, (ids, mask), strict=True)))
    difference = float(np.abs(risks - np.array(expected)).max())
    if not difference <= TOLERANCE:
        dtype = str(judge.model.dtype).removeprefix("torch.")
        raise UserError(
            f"Exported, the probe's risks differ by up to {difference:.3f} from those that the model leads "
            f"to on {judge.model.device.type} ({dtype}), and {TOLERANCE} is allowed. They may agree where "
            '`device` is "cpu".'
        )
    return [{**check, "risk": risk} for check, risk in zip(found, expected, strict=True)]
