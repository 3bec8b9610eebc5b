"""Trains a risk probe for the user's own model and writes its card: the command `probe`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from .config import RunConfig
from .errors import LocatedError, UserError
from .evaluate import read_prompts
from .files import write_atomically
from .model import Loaded, load_model, resolve_device
from .risk.probe import Kind, Probe, out_of_fold, prompt_states, save_probe, train_probe

PROMPTS = Path(__file__).with_name("prompts")
THRESHOLD = 0.5
CALIBRATION_BINS = 5
ORDINARY_OF_A_KIND = 50  # prompts: their share that is flagged is known to 5 points or better


class Labelled(NamedTuple):
    prompts: list[str]
    harmful: list[bool]


def make_probe(config: RunConfig, base: Path, labelled: Path | None, kind: Kind, output: Path) -> str:
    """Trains a probe on the configuration's model, saves it with its card beside it; returns the card.

    `labelled` is JSON Lines with `prompt` and `harmful` each; by default prompts that ship with the trainer.
    """
    loaded = load_model(
        config.model, device=resolve_device(config.device), base_folder=base, quantisation=config.quantisation
    )
    data = read_labelled(labelled) if labelled else shipped()
    over_tokens = kind == "released-code"
    states = _states(loaded, data.prompts, over_tokens)
    trained = train_probe(states, data.harmful, kind, loaded.fingerprint)
    ordinary = _ordinary()
    alarms = int((trained.risk(_states(loaded, ordinary, over_tokens)) >= THRESHOLD).sum())
    probe = replace(trained, trained_on=_source(data, labelled), ordinary_flagged=alarms / len(ordinary))
    unseen = _shipped(["harmful"], ["benign"])
    card = _card(
        config,
        probe,
        (data, out_of_fold(states, data.harmful, kind)),
        (unseen, probe.risk(_states(loaded, unseen.prompts, over_tokens))),
        f"{alarms} of {len(ordinary)}",
    )
    save_probe(probe, output)
    write_atomically(output.with_suffix(".md"), card)
    return card


def shipped() -> Labelled:
    """The harmful anchor prompts and twice as many harmless ones, more than half of them look-alikes."""
    return _shipped(["anchors"], ["harmless", "look_alikes"])


def _ordinary() -> list[str]:
    """Prompts of ordinary rows of several kinds, written to measure judges and for nothing else."""
    files = sorted((PROMPTS / "ordinary").iterdir())
    return [prompt for file in files for prompt in read_prompts(file)[:ORDINARY_OF_A_KIND]]


def _shipped(harmful_files: list[str], harmless_files: list[str]) -> Labelled:
    harmful, harmless = (
        [prompt for name in files for prompt in read_prompts(PROMPTS / f"{name}.jsonl")]
        for files in (harmful_files, harmless_files)
    )
    return Labelled(harmful + harmless, [True] * len(harmful) + [False] * len(harmless))


def read_labelled(path: Path) -> Labelled:
    """Prompts and whether they are harmful.

    Raises:
        LocatedError: a line lacks `harmful`, or it is not true or false.
    """
    prompts = read_prompts(path)
    harmful = []
    for number, line in enumerate(path.read_text("utf-8-sig").split("\n"), start=1):
        if line.strip():
            value = json.loads(line).get("harmful")
            if not isinstance(value, bool):
                form = '{"prompt": "…", "harmful": true}'
                raise LocatedError(
                    f"`harmful` is not true or false. A line needs the form {form}.", str(path), number
                )
            harmful.append(value)
    if len({*harmful}) < 2:
        raise UserError(f"{path}: needs harmful and harmless prompts, and has only one of them.")
    return Labelled(prompts, harmful)


def _source(data: Labelled, labelled: Path | None) -> str:
    counts = f"{sum(data.harmful)} harmful and {data.harmful.count(False)} harmless prompts"
    return f"{counts} ({labelled.name if labelled else 'those that ship with the trainer'})"


def _states(loaded: Loaded, prompts: Sequence[str], over_tokens: bool) -> torch.Tensor:
    conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
    return prompt_states(loaded.model, loaded.tokenizer, conversations, over_tokens=over_tokens)


Judged = tuple[Labelled, torch.Tensor]


def _card(config: RunConfig, probe: Probe, trained: Judged, unseen: Judged, ordinary_flagged: str) -> str:
    from sklearn.metrics import brier_score_loss, roc_auc_score

    (data, risks), (others, other_risks) = trained, unseen
    layer = (
        f"layer {probe.layers[0]} of its hidden states" if len(probe.layers) == 1 else "all layers, averaged"
    )
    benign = [float(r) for r, bad in zip(other_risks, others.harmful, strict=True) if not bad]
    alarms = sum(r >= THRESHOLD for r in benign)
    lines = [
        "# Risk probe",
        "",
        f"An activation-based risk predictor (after Goel et al. 2026) of kind `{probe.kind}` for the model "
        f"`{config.model}` ({probe.fingerprint[:12]}): {layer}. It judges prompts, for this model alone.",
        "",
        f"Trained on {probe.trained_on}.",
        "",
        "| | |",
        "|---|---|",
        f"| AUROC, {len(data.prompts)} training prompts, each judged by a probe that has not seen it "
        f"| {roc_auc_score(data.harmful, risks):.3f} |",
        f"| AUROC, {len(others.prompts)} other prompts (harmful ones and harmless look-alikes) "
        f"| {roc_auc_score(others.harmful, other_risks):.3f} |",
        f"| ordinary prompts at {THRESHOLD} or above | {ordinary_flagged} |",
        f"| harmless look-alikes at {THRESHOLD} or above | {alarms} of {len(benign)} |",
        f"| Brier score of the training prompts, unseen (0 is perfect, 0.25 knows nothing) "
        f"| {brier_score_loss(data.harmful, risks):.3f} |",
        "",
        "Calibration on the training prompts, unseen:",
        "",
        "| risk said | prompts | harmful |",
        "|---|---|---|",
    ]
    for i in range(CALIBRATION_BINS):
        low, high = i / CALIBRATION_BINS, (i + 1) / CALIBRATION_BINS
        inside = [h for h, r in zip(data.harmful, risks, strict=True) if low <= r < high or r == high == 1]
        share = f"{sum(inside) / len(inside):.0%}" if inside else "–"
        lines.append(f"| {low:.1f}–{high:.1f} | {len(inside)} | {share} |")
    return "\n".join(lines) + "\n"
