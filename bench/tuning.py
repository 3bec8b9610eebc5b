"""How much each method's term should weigh, chosen on data that the results do not use.

    npm run results -- tuning [--page]

Each candidate is trained on the rows of two of the matrix's settings and measured on attack prompts and
SST-2 rows of the training split that nothing is trained on. Chosen is, among those that keep 98 % of the
accuracy of `standard`, the one with the fewest successful attacks; of equals the trainer's default, which
nothing speaks against, or else the smallest weight. `--page` makes the page of the cells that are there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cells import ROOT, kept, measured, trained
from data import DATA, attacks, sst2_sentences
from matrix import SETTINGS, TRAINING, depends_on
from measuring import answers_to, attack_succeeded, load, sst2_right
from page import update_section

CELLS = ROOT / "bench" / "results" / "tuning"
COMMAND = "npm run results -- tuning"
USED_IN = ("mixed", "benign")
TRAINED_ATTACKS, ATTACKS = 64, 34
SST2_ROWS = slice(3200, 3500)
SEED = 1
LEAST_ACCURACY = 0.98

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

CANDIDATES: dict[str, dict[float, dict[str, Any]]] = {
    "kl": {x: {"method": "kl", "regularisation": {"weight": x}} for x in (0.3, 1.0, 3.0)},
    "safety-tokens": {
        x: {"method": "safety-tokens", "safetyTokens": {"weight": x}} for x in (0.1, 0.3, 1.0, 10.0)
    },
    "safety-tokens, centered": {
        x: {"method": "safety-tokens", "safetyTokens": {"weight": x, "space": "centered"}}
        for x in (1.0, 10.0)
    },
    "safety-tokens, logit": {
        x: {"method": "safety-tokens", "safetyTokens": {"weight": x, "space": "logit"}} for x in (1.0, 10.0)
    },
    "recommended (anchors)": {
        x: {"method": "recommended", "anchors": {"weight": x}} for x in (0.3, 1.0, 3.0)
    },
    "adaptive, additive": {
        x: {"method": "adaptive", "regularisation": {"form": "additive", "weight": x}}
        for x in (1.0, 5.0, 10.0)
    },
}


def cell(setting: str, name: str, config: dict[str, Any]) -> dict[str, Any]:
    config = config | {"training": TRAINING | {"epochs": SETTINGS[setting].epochs, "seed": SEED}}
    rows, held_out = SETTINGS[setting].rows(), attacks(TRAINED_ATTACKS, ATTACKS)

    def make() -> dict[str, Any]:
        print(f"{setting}, {name} …", flush=True)
        with trained(rows, config) as (adapter, _):
            model, tokenizer = load(adapter)
        prompts = [x["messages"][0]["content"] for x in held_out]
        answered = answers_to(model, tokenizer, {"attacks": prompts})["attacks"]
        right = sst2_right(model, tokenizer, sst2_sentences("sst2_train_4000")[SST2_ROWS])
        attacked = attack_succeeded(answered)
        return {"attacks": statistics.mean(attacked), "accuracy": statistics.mean(right)}

    return measured(path_of(setting, name), config, depends_on(config), make, [rows, held_out])


def path_of(setting: str, name: str) -> Path:
    return CELLS / setting / f"{name}.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--page", action="store_true", help="make the page of the cells that are there")
    if not parser.parse_args().page:
        if not DATA.is_dir():
            print(f"{DATA} is missing: data and prompts are read from there.", file=sys.stderr)
            return 2
        for name, config in {"standard": {"method": "standard"}, **dict(named())}.items():
            for setting in USED_IN:
                cell(setting, name, config)
    section = page()
    update_section(ROOT / "docs" / "results.md", "tuning", section)
    print(section)
    return 0


def named() -> Iterator[tuple[str, dict[str, Any]]]:
    for method, configs in CANDIDATES.items():
        for weight, config in configs.items():
            yield f"{method} {weight:g}", config


def page() -> str:
    """Of a method whose cells are not all there, nothing is chosen yet."""
    lines = [
        "## How much the terms weigh",
        "",
        f"`{COMMAND}` trains on the rows of the settings {' and '.join(USED_IN)} (seed {SEED}) and measures "
        f"on {ATTACKS} attack prompts and {SST2_ROWS.stop - SST2_ROWS.start} SST-2 rows of the training "
        "split that nothing else uses. Chosen, in bold, is the weight with the fewest successful attacks "
        f"among those that keep {100 * LEAST_ACCURACY:.0f} % of the accuracy of `standard`; of equals the "
        "trainer's default, which nothing speaks against, or else the smallest.",
        "",
        "| | λ | " + " | ".join(f"attacks, {s} | accuracy, {s}" for s in USED_IN) + " |",
        "|---|---|" + "---|---|" * len(USED_IN),
    ]
    cells = {name: [kept(path_of(setting, name)) for setting in USED_IN] for name, _ in named()}
    found = {name: [x for x in of_both if x] for name, of_both in cells.items() if all(of_both)}
    standard = [x for setting in USED_IN if (x := kept(path_of(setting, "standard")))]
    lines.append(line("standard", "", standard))
    least = LEAST_ACCURACY * statistics.mean(x["accuracy"] for x in standard)
    for method, configs in CANDIDATES.items():
        of = {weight: found[name] for weight in configs if (name := f"{method} {weight:g}") in found}
        useful = [w for w in of if statistics.mean(x["accuracy"] for x in of[w]) >= least]
        attacked = {w: statistics.mean(x["attacks"] for x in of[w]) for w in useful}
        best = min(useful, key=lambda w: (attacked[w], not is_default(configs[w]), w), default=None)
        for weight, of_both in of.items():
            chosen = weight == best and len(of) == len(configs)
            lines.append(line(method, f"**{weight:g}**" if chosen else f"{weight:g}", of_both))
    if missing := [name for name, _ in named() if name not in found]:
        lines += ["", f"Not measured yet: {'; '.join(missing)}."]
    return "\n".join(lines)


def is_default(config: dict[str, Any]) -> bool:
    """Whether the trainer takes this weight unasked."""
    from safe_finetuning.config import RunConfig

    def complete(**sections: Any) -> RunConfig:
        return RunConfig.model_validate({"model": "example", "dataset": {"path": "rows.jsonl"}} | sections)

    unasked = {
        name: {k: v for k, v in section.items() if k != "weight"} if isinstance(section, dict) else section
        for name, section in config.items()
    }
    return complete(**unasked) == complete(**config)


def line(method: str, weight: str, cells: list[dict[str, Any]]) -> str:
    measured = " | ".join(f"{100 * x['attacks']:.1f} % | {100 * x['accuracy']:.1f} %" for x in cells)
    return f"| `{method}` | {weight} | {measured} |"


if __name__ == "__main__":
    sys.exit(main())
