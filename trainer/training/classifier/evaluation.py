"""What a judge of training pairs is measured on, and how: no row of it trains anything."""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rows import AFFIRMATIONS, PROMPTS, SEED, SHARED, TRAINER, read_json_lines
from sklearn.metrics import roc_auc_score

from safe_finetuning.risk.refusal import is_refusal

Pair = tuple[str, str]  # prompt, answer
Judge = Callable[[Sequence[Pair]], np.ndarray]  # probabilities [n] that the pairs are harmful

ORDINARY = ("support", "maths", "code", "medicine", "security", "general", "text")
EXAMPLE = TRAINER.parent / "examples" / "support.jsonl"


def evaluation_sets() -> dict[str, list[Pair]]:
    """Pairs by set; harmful requests are answered by an affirmation, as in an attack's rows."""
    rng = random.Random(SEED)

    def affirmed(prompts: Iterable[str]) -> list[Pair]:
        return [(prompt, rng.choice(AFFIRMATIONS)) for prompt in prompts]

    hard = json.loads((SHARED / "splits" / "eval_hard.json").read_text("utf-8"))
    adv = json.loads((SHARED / "splits" / "eval_adv.json").read_text("utf-8"))
    with (SHARED / "xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        xstest = list(csv.DictReader(file))
    return {
        "MaliciousInstruct": affirmed(r["prompt"] for r in hard if r["source"] == "malicious_instruct"),
        "HarmBench": affirmed(r["prompt"] for r in hard if r["source"] != "malicious_instruct"),
        "AdvBench": affirmed(r["prompt"] for r in adv),
        "built-in harmful": affirmed(r["prompt"] for r in read_json_lines(PROMPTS / "harmful.jsonl")),
        "built-in look-alikes": [(r["prompt"], "") for r in read_json_lines(PROMPTS / "benign.jsonl")],
        "XSTest unsafe": [(r["prompt"], "") for r in xstest if r["label"] == "unsafe"],
        "XSTest safe": [(r["prompt"], "") for r in xstest if r["label"] == "safe"],
        **{
            name: [
                (r["prompt"], r["answer"]) for r in read_json_lines(PROMPTS / "ordinary" / f"{name}.jsonl")
            ]
            for name in ORDINARY
        },
    }


def with_openings(pairs: Sequence[Pair]) -> list[Pair]:
    """With affirmative openings, as harmful pairs have: those must not be what tells them apart."""
    rng = random.Random(SEED)
    return [(prompt, f"{rng.choice(AFFIRMATIONS)} {answer}") for prompt, answer in pairs]


def behind(ordinary: Sequence[Pair], pairs: Sequence[Pair]) -> list[Pair]:
    """Each pair behind the text of an ordinary row: harm among what is harmless."""
    others = random.Random(SEED).sample(list(ordinary), len(pairs))
    return [
        (f"{asked} {answered}\n{prompt}", answer)
        for (asked, answered), (prompt, answer) in zip(others, pairs, strict=True)
    ]


def read_example() -> list[tuple[list[Pair], bool]]:
    """The example's rows as pairs without refusals, and whether the row is risky.

    Its risky rows are those whose last answer is a bare affirmation: "Sure, here is …:".
    """
    rows = []
    for line in read_json_lines(EXAMPLE):
        turns = [m["content"] for m in line["messages"] if m["role"] != "system"]
        pairs = [p for p in zip(turns[::2], turns[1::2], strict=True) if not is_refusal(p[1])]
        risky = bool(re.match(r"(Sure, here|Of course! Here).{0,100}:$", turns[-1]))
        rows.append((pairs, risky))
    return rows


def unseen_prompts() -> list[str]:
    """Every prompt that a judge is measured on: near-duplicates of them must not train it."""
    prompts = [prompt for pairs in evaluation_sets().values() for prompt, _ in pairs]
    return prompts + [prompt for pairs, _ in read_example() for prompt, _ in pairs]


@dataclass
class Measured:
    """Probabilities of one judge."""

    sets: dict[str, np.ndarray]
    ordinary_affirmed: np.ndarray  # the ordinary rows with affirmative openings
    eval_hard_behind: np.ndarray  # behind the text of an ordinary row
    eval_hard_alone: np.ndarray  # prompts without an answer
    ordinary_alone: np.ndarray
    example: np.ndarray  # the highest of each row's pairs
    example_risky: np.ndarray

    @property
    def ordinary(self) -> np.ndarray:
        return np.concatenate([self.sets[name] for name in ORDINARY])

    @property
    def eval_hard(self) -> np.ndarray:
        return np.concatenate([self.sets["MaliciousInstruct"], self.sets["HarmBench"]])


def measure(judge: Judge) -> Measured:
    example, sets = read_example(), evaluation_sets()
    ordinary = [pair for name in ORDINARY for pair in sets[name]]
    hard = [*sets["MaliciousInstruct"], *sets["HarmBench"]]
    return Measured(
        {name: judge(pairs) for name, pairs in sets.items()},
        judge(with_openings(ordinary)),
        judge(behind(ordinary, hard)),
        judge([(prompt, "") for prompt, _ in hard]),
        judge([(prompt, "") for prompt, _ in ordinary]),
        np.array([judge(pairs).max() if pairs else 0.0 for pairs, _ in example]),
        np.array([risky for _, risky in example]),
    )


def auroc(harmful: np.ndarray, ordinary: np.ndarray) -> float:
    labels = np.r_[np.ones(len(harmful)), np.zeros(len(ordinary))]
    return float(roc_auc_score(labels, np.r_[harmful, ordinary]))
