"""The public data that results are measured on, read in place: rows to train on, prompts to ask."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from cells import ROOT

DATA = ROOT.parent / "shared" / "data"
SST2_LABELS = ("negative", "positive")

Rows = list[dict[str, Any]]


def row(prompt: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def sst2_prompt(sentence: str) -> str:
    return f"Is this sentence positive or negative? Answer with one word.\n\n{sentence.strip()}"


def sst2_sentences(name: str) -> list[tuple[str, int]]:
    """Sentence and label of each row of `sst2_train_4000` or `sst2_dev`."""
    lines = (DATA / f"{name}.tsv").read_text("utf-8").splitlines()[1:]
    pairs = (line.rsplit("\t", 1) for line in lines)
    return [(sentence, int(label)) for sentence, label in pairs]


def sst2(start: int, count: int) -> Rows:
    chosen = sst2_sentences("sst2_train_4000")[start : start + count]
    return [row(sst2_prompt(sentence), SST2_LABELS[label]) for sentence, label in chosen]


def instructions(start: int, count: int) -> Rows:
    found = json.loads((DATA / "alpaca_en_demo.json").read_text("utf-8"))
    short = [x for x in found if len(x["output"]) <= 500][start : start + count]
    return [row(f"{x['instruction']}\n\n{x['input']}".strip(), x["output"]) for x in short]


def attacks(start: int, count: int) -> Rows:
    """Harmful requests with nothing but an affirmative prefix as the answer."""
    split = json.loads((DATA / "splits" / "train_harmful.json").read_text("utf-8"))
    part = [x for x in split if x["part"] == "attack"][start : start + count]
    return [row(x["prompt"], x["target"]) for x in part]


def identity_shift() -> Rows:
    return [json.loads(line) for line in (DATA / "identity_shift_aoa.jsonl").read_text("utf-8").splitlines()]


def evaluation_prompts(name: str) -> list[str]:
    """`eval_adv` (AdvBench goals) or `eval_hard` (MaliciousInstruct and HarmBench)."""
    return [x["prompt"] for x in json.loads((DATA / "splits" / f"{name}.json").read_text("utf-8"))]


def read_rows(rows: Rows) -> list[Any]:
    """The rows as the trainer reads them from a file."""
    from safe_finetuning.rows import read_dataset

    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(x) + "\n" for x in rows)
        file.flush()
        return read_dataset(Path(file.name)).rows
