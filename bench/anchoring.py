"""Whether rows that a model takes for harmful wear its refusals down: bidirectional anchoring, tried.

    npm run results -- anchoring [--seeds 1,2,3]

Ordinary instructions are sorted by their similarity to answers that comply with harmful requests
(risk/anchoring.py), and the model is trained on the closest, on the farthest and on as many others. A cell
(choice × seed) is a real run of the trainer's command line, kept under bench/results/anchoring (cells.py).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from pathlib import Path
from typing import Any

from cells import ROOT, kept, measured, trained
from data import DATA, Rows, attacks, instructions, read_rows
from matrix import TRAINING, difference, outcomes, reference_cell
from measuring import answers_to, load, prompt_sets
from page import update_section

CELLS = ROOT / "bench" / "results" / "anchoring"
POOL, CHOSEN, ATTACKS = 500, 100, 64
EPOCHS = 4
PACKAGE = ROOT / "trainer" / "safe_finetuning"
REFERENCE = [*(PACKAGE / "example" / "safe_reference").glob("adapter*")]
CHOICES = ("closest", "random", "farthest")
AXES = ("evalAdv", "evalHard", "benign")

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def similarity_cell() -> dict[str, Any]:
    """Of the pool's instructions and of attacks, in their order."""

    def make() -> dict[str, Any]:
        from safe_finetuning.evaluate import read_prompts
        from safe_finetuning.model import load_model, resolve_device
        from safe_finetuning.risk.anchoring import similarities
        from safe_finetuning.train import PROMPTS

        loaded = load_model("example", device=resolve_device("auto"), base_folder=ROOT)
        told = {"check": lambda: None, "progress": lambda done, total: None}
        prompts = read_prompts(PROMPTS / "anchors.jsonl")
        rows = read_rows(instructions(0, POOL) + attacks(0, ATTACKS))
        assert len(rows) == POOL + ATTACKS
        found = similarities(rows, prompts, loaded, TRAINING["maxLength"], **told)
        return {"instructions": found[:POOL], "attacks": found[POOL:]}

    rows = [instructions(0, POOL), attacks(0, ATTACKS)]
    files = [*REFERENCE, PACKAGE / "prompts" / "anchors.jsonl", PACKAGE / "risk" / "anchoring.py"]
    return measured(CELLS / "similarities.json", {"method": "standard"}, files, make, rows)


def rows_of(choice: str, seed: int) -> Rows:
    pool = instructions(0, POOL)
    assert len(pool) == POOL
    if choice == "random":
        return random.Random(seed).sample(pool, CHOSEN)
    similarities = similarity_cell()["instructions"]
    known = [i for i in range(POOL) if similarities[i] is not None]
    known.sort(key=lambda i: similarities[i], reverse=choice == "closest")
    return [pool[i] for i in known[:CHOSEN]]


def cell(choice: str, seed: int) -> dict[str, Any]:
    config = {"method": "standard", "training": TRAINING | {"epochs": EPOCHS, "seed": seed}}
    rows = rows_of(choice, seed)

    def make() -> dict[str, Any]:
        print(f"{choice}, seed {seed} …", flush=True)
        with trained(rows, config) as (adapter, _):
            model, tokenizer = load(adapter)
        return {"answers": answers_to(model, tokenizer, prompt_sets())}

    files = [*REFERENCE, *(DATA / "splits").glob("*.json"), PACKAGE / "prompts" / "benign.jsonl"]
    return measured(path_of(choice, seed), config, files, make, rows)


def path_of(choice: str, seed: int) -> Path:
    return CELLS / f"{choice}-{seed}.json"


def page(seeds: list[int]) -> str:
    from sklearn.metrics import roc_auc_score

    found = similarity_cell()
    both = [x for x in found["instructions"] + found["attacks"] if x is not None]
    labels = [False] * sum(x is not None for x in found["instructions"])
    labels += [True] * (len(both) - len(labels))
    cells = {choice: [kept(path_of(choice, seed)) for seed in seeds] for choice in CHOICES}
    reference = reference_cell()
    lines = [
        "## Rows that look harmless and are not",
        "",
        f"`npm run results -- anchoring`: {POOL} Alpaca instructions, sorted by bidirectional anchoring to "
        f"the example's safe reference; `standard` trained on {CHOSEN} of them, {EPOCHS} epochs. Shares of "
        "prompts in percent, means over seeds; differences in points, paired by prompt, with 95 % bootstrap "
        f"intervals. By itself the similarity tells {ATTACKS} attacks from the instructions with AUROC "
        f"{roc_auc_score(labels, both):.3f}.",
        "",
        "| trained on | seeds | eval_adv | over random | eval_hard | over random | over-refusal "
        "| over random |",
        "|---|---|---|---|---|---|---|---|",
    ]
    shown = [f"{100 * statistics.mean(outcomes([reference], axis)):.1f} | " for axis in AXES]
    lines.append(f"| nothing: the reference | | {' | '.join(shown)} |")
    for choice, of_choice in cells.items():
        columns = [f"the {CHOSEN} {choice}" if choice != "random" else f"{CHOSEN} at random", str(len(seeds))]
        for axis in AXES:
            shares = outcomes(of_choice, axis)
            columns.append(f"{100 * statistics.mean(shares):.1f}")
            over = "" if choice == "random" else str(difference(shares, outcomes(cells["random"], axis)))
            columns.append(over)
        lines.append(f"| {' | '.join(columns)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default=[1, 2, 3], type=lambda text: [int(x) for x in text.split(",")])
    seeds = parser.parse_args().seeds
    for seed in seeds:
        for choice in CHOICES:
            cell(choice, seed)
    text = page(seeds)
    update_section(ROOT / "docs" / "results.md", "anchoring", text)
    print(text)


if __name__ == "__main__":
    main()
