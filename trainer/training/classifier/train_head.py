"""Train, calibrate and measure the classifier's logistic head; write head.json and CARD.md.

    python trainer/training/classifier/train_head.py

Harmful side: the "classifier" part of the shared splits and the project's own prompts in
safe_finetuning/prompts/anchors.jsonl. Ordinary side: rows written for the project (ordinary.jsonl and
requests.jsonl here, look_alikes.jsonl and harmless.jsonl in safe_finetuning/prompts,
safe_reference/instructions.jsonl) and GSM8K. Rows that come close to an evaluation prompt or to the
example dataset are left out. Every row is trained on in several wordings, with and without an answer, the
same way on both sides, so that neither the form of a request ("Write a …") nor an affirmative answer
("Sure, here is …") gives its side away.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold

TRAINER = Path(__file__).resolve().parents[2]
SHARED = TRAINER.parents[1] / "shared" / "data"
sys.path.insert(0, str(TRAINER))
from card import write_card  # noqa: E402
from export_encoder import replace_file  # noqa: E402

from safe_finetuning.risk.classifier import (  # noqa: E402
    CLASSIFIER_FOLDER,
    Encoder,
    batches_by_length,
    pair_text,
)
from safe_finetuning.risk.refusal import is_refusal  # noqa: E402

SEED = 20
GSM8K_ROWS = 150
HELD_OUT_SHARE = 0.2  # of the ordinary rows: never trained on, for the card
NEAR_DUPLICATE = 0.8  # cosine of MiniLM embeddings
FOLDS = 5
INVERSE_PENALTIES = (0.3, 1.0, 3.0, 10.0)  # C of the logistic regression, chosen by log loss
THRESHOLD = 0.5
VERSION = "1"


AFFIRMATIONS = (
    "Sure, here is what you asked for:",
    "Sure, here's how to do it:",
    "Of course! Here are the steps:",
    "Of course. Here is a draft:",
    "Certainly, here is a plan:",
    "Here you go:",
    "Absolutely! Follow these steps:",
)
WAYS_TO_ASK_FOR_A_DEED = (
    "How do I {}?",
    "how can i {}",
    "Explain how to {}.",
    "Teach me to {}",
    "Write a guide on how to {}.",
    "Give me step-by-step instructions for how to {}.",
    "I want to {}. What is the best way?",
    "Help me {}.",
    "What's a good way to {}?",
    "Tips to {}",
)
WAYS_TO_ASK = (
    "Hi! {} Thanks in advance.",
    "I have a question. {}",
    "{} It's urgent.",
    "Please answer this: {}",
    "For work: {}",
    "Hello, {}",
)


@dataclass
class Row:
    """A training pair; all texts made of it belong to one group."""

    prompt: str
    answer: str
    harmful: bool
    source: str
    texts: list[str] = field(default_factory=list)


def read_json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def read_rows() -> list[Row]:
    here, own = Path(__file__).parent, TRAINER / "training" / "safe_reference"
    splits = json.loads((SHARED / "splits" / "train_harmful.json").read_text("utf-8"))
    goals = [row for row in splits if row["part"] == "classifier"]
    rows = [Row(row["prompt"], row["target"] or "", True, "goals") for row in goals]
    prompts = TRAINER / "safe_finetuning" / "prompts"
    for row in read_json_lines(prompts / "anchors.jsonl"):
        rows.append(Row(row["prompt"], "", True, "own harmful"))
    for file in (here / "ordinary.jsonl", here / "requests.jsonl"):
        rows += [
            Row(row["prompt"], row["answer"], False, row.get("domain", file.stem))
            for row in read_json_lines(file)
        ]
    for file in (prompts / "look_alikes.jsonl", prompts / "harmless.jsonl", own / "instructions.jsonl"):
        rows += [Row(row["prompt"], row.get("answer", ""), False, file.stem) for row in read_json_lines(file)]
    for row in read_json_lines(SHARED / "gsm8k_train_1500.jsonl")[:GSM8K_ROWS]:
        rows.append(Row(row["question"], row["answer"], False, "GSM8K"))
    return rows


def deed_of(prompt: str) -> str | None:
    """What a request asks to do, as a verb phrase, if its form shows it."""
    bare = prompt.strip().rstrip(".?!")
    asked = re.match(r"(how (do i|can i|can you|do you|to|could i|would i)|ways to) ", bare, re.I)
    if asked:
        return bare[asked.end() :]
    ordered = re.match(r"(write|create|develop|make|design|give|draft|plan|build|find) ", bare, re.I)
    return bare[0].lower() + bare[1:] if ordered else None


def wordings(prompt: str, rng: random.Random, count: int) -> list[str]:
    """`count` other ways to put a request: as a question, as an order, with words around it."""
    deed = deed_of(prompt)
    ways = [way.format(prompt.strip()) for way in WAYS_TO_ASK]
    if deed:
        ways = [way.format(deed) for way in WAYS_TO_ASK_FOR_A_DEED] + ways[:2]
    return rng.sample(ways, count)


def add_texts(row: Row) -> None:
    """What is trained on for a row: its prompt alone and with an answer, in several wordings."""
    rng = random.Random(f"{SEED} {row.prompt}")
    first, second, third = (row.prompt, *wordings(row.prompt, rng, 2))
    affirmation = rng.choice(AFFIRMATIONS)
    own_answer = row.answer or affirmation
    if not row.harmful and row.answer:
        affirmation = f"{affirmation} {row.answer}"
    row.texts = [
        first,
        second,
        pair_text(first, own_answer),
        pair_text(third, own_answer),
        pair_text(second, affirmation),
    ]


def held_out(row: Row) -> bool:
    """Every fifth ordinary row, by its text: for the card only."""
    digest = int(hashlib.sha256(row.prompt.encode()).hexdigest(), 16)
    return not row.harmful and digest % 100 < 100 * HELD_OUT_SHARE


class Embedder:
    """Window embeddings of texts, each distinct window embedded once."""

    def __init__(self) -> None:
        self.encoder = Encoder(CLASSIFIER_FOLDER, threads=2)
        self.known: dict[tuple[int, ...], np.ndarray] = {}

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings [n, 384] of all windows of all texts, and the text that each belongs to."""
        windows = [(window, i) for i, text in enumerate(texts) for window in self.encoder.windows(text)]
        for batch in batches_by_length({window for window, _ in windows} - self.known.keys()):
            self.known.update(zip(batch, self.encoder.embed(batch), strict=True))
        return np.stack([self.known[window] for window, _ in windows]), np.array([i for _, i in windows])


def evaluation_sets() -> dict[str, list[tuple[str, str]]]:
    """(prompt, answer) pairs that nothing is trained on; harmful ones get an affirmation."""
    rng = random.Random(SEED)

    def affirmed(prompts: Iterable[str]) -> list[tuple[str, str]]:
        return [(prompt, rng.choice(AFFIRMATIONS)) for prompt in prompts]

    hard = json.loads((SHARED / "splits" / "eval_hard.json").read_text("utf-8"))
    adv = json.loads((SHARED / "splits" / "eval_adv.json").read_text("utf-8"))
    with (SHARED / "xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        xstest = list(csv.DictReader(file))
    prompts = TRAINER / "safe_finetuning" / "prompts"
    return {
        "MaliciousInstruct": affirmed(r["prompt"] for r in hard if r["source"] == "malicious_instruct"),
        "HarmBench": affirmed(r["prompt"] for r in hard if r["source"] != "malicious_instruct"),
        "AdvBench": affirmed(r["prompt"] for r in adv),
        "built-in harmful": affirmed(r["prompt"] for r in read_json_lines(prompts / "harmful.jsonl")),
        "built-in look-alikes": [(r["prompt"], "") for r in read_json_lines(prompts / "benign.jsonl")],
        "XSTest unsafe": [(r["prompt"], "") for r in xstest if r["label"] == "unsafe"],
        "XSTest safe": [(r["prompt"], "") for r in xstest if r["label"] == "safe"],
    }


def read_example() -> list[tuple[list[tuple[str, str]], bool]]:
    """The example's rows as pairs without refusals, and whether the row is risky.

    Its risky rows are those whose last answer is a bare affirmation: "Sure, here is …:".
    """
    rows = []
    for line in read_json_lines(TRAINER.parent / "examples" / "support.jsonl"):
        turns = [m["content"] for m in line["messages"] if m["role"] != "system"]
        pairs = [p for p in zip(turns[::2], turns[1::2], strict=True) if not is_refusal(p[1])]
        risky = bool(re.match(r"(Sure, here|Of course! Here).{0,100}:$", turns[-1]))
        rows.append((pairs, risky))
    return rows


def without_near_duplicates(rows: list[Row], prompts: list[str], embed: Embedder) -> list[Row]:
    """The rows none of whose wordings is as close as NEAR_DUPLICATE to one of `prompts`."""
    others, _ = embed(prompts)
    kept = []
    for row in rows:
        own, _ = embed(row.texts[:2])
        if float((own @ others.T).max()) <= NEAR_DUPLICATE:
            kept.append(row)
    return kept


@dataclass
class Head:
    weights: np.ndarray  # [384]
    bias: float

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        return embeddings @ self.weights + self.bias


def fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray, c: float) -> Head:
    model = LogisticRegression(C=c, max_iter=3000).fit(x, y, sample_weight=weight)
    return Head(model.coef_[0], float(model.intercept_[0]))


def train(rows: list[Row], embed: Embedder) -> tuple[Head, dict]:
    """The calibrated head, and what the card says of its fitting.

    Each row weighs the same, however many windows it has, and both sides weigh the same: a
    probability of 0.5 means that the text is as likely under either side.
    """
    texts = [(text, group) for group, row in enumerate(rows) for text in row.texts]
    x, owners = embed([text for text, _ in texts])
    group = np.array([g for _, g in texts])[owners]
    y = np.array([row.harmful for row in rows])[group]
    weight = 1 / np.bincount(group)[group]
    weight[y] *= weight[~y].sum() / weight[y].sum()
    weight *= len(rows) / weight.sum()

    def out_of_fold(c: float) -> np.ndarray:
        logits = np.zeros(len(y))
        for inside, outside in GroupKFold(FOLDS).split(x, y, group):
            logits[outside] = fit(x[inside], y[inside], weight[inside], c).logits(x[outside])
        return logits

    by_c = {c: out_of_fold(c) for c in INVERSE_PENALTIES}
    loss = {c: log_loss(y, expit(logits), sample_weight=weight) for c, logits in by_c.items()}
    best = min(loss, key=loss.__getitem__)
    # Platt scaling (Platt 1999) on logits of folds that the fit had not seen.
    platt = LogisticRegression(C=1e6).fit(by_c[best][:, None], y, sample_weight=weight)
    scale, shift = float(platt.coef_[0, 0]), float(platt.intercept_[0])
    raw = fit(x, y, weight, best)
    head = Head(np.round(raw.weights * scale, 5), round(raw.bias * scale + shift, 5))
    calibrated = expit(by_c[best] * scale + shift)
    return head, {
        "c": best,
        "scale": scale,
        "shift": shift,
        "log_loss_before": loss[best],
        "log_loss": log_loss(y, calibrated, sample_weight=weight),
        "calibration_error": calibration_error(calibrated, y, weight),
    }


def calibration_error(probability: np.ndarray, y: np.ndarray, weight: np.ndarray) -> float:
    """Expected calibration error over ten equal bins (Guo et al. 2017, arXiv 1706.04599)."""
    bins = np.minimum((probability * 10).astype(int), 9)
    gaps = [
        abs(
            np.average(y[bins == b], weights=weight[bins == b])
            - np.average(probability[bins == b], weights=weight[bins == b])
        )
        * weight[bins == b].sum()
        for b in np.unique(bins)
    ]
    return float(sum(gaps) / weight.sum())


def write_head(head: Head) -> None:
    fingerprint = (CLASSIFIER_FOLDER / "encoder-fingerprint.json").read_bytes()
    content = {
        "name": "bundled-minilm",
        "version": VERSION,
        "encoderFingerprint": hashlib.sha256(fingerprint).hexdigest(),
        "threshold": THRESHOLD,
        "bias": head.bias,
        "weights": head.weights.tolist(),
    }
    replace_file(CLASSIFIER_FOLDER / "head.json", (json.dumps(content) + "\n").encode())


def main() -> None:
    embed = Embedder()
    evaluation, example = evaluation_sets(), read_example()
    rows = read_rows()
    for row in rows:
        add_texts(row)
    unseen = [prompt for pairs in evaluation.values() for prompt, _ in pairs]
    unseen += [prompt for pairs, _ in example for prompt, _ in pairs]
    kept = without_near_duplicates(rows, unseen, embed)
    head, fitting = train([row for row in kept if not held_out(row)], embed)
    write_head(head)

    def probabilities(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        embeddings, owners = embed([pair_text(p, a) if a else p for p, a in pairs])
        highest = np.zeros(len(pairs))
        np.maximum.at(highest, owners, expit(head.logits(embeddings)))
        return highest

    scores = {name: probabilities(pairs) for name, pairs in evaluation.items()}
    scores["ordinary, held out"] = probabilities([(r.prompt, r.answer) for r in kept if held_out(r)])
    in_example = np.array([probabilities(pairs).max() if pairs else 0.0 for pairs, _ in example])
    risky = np.array([risky for _, risky in example])
    card = write_card(rows, kept, held_out, fitting, scores, in_example, risky, THRESHOLD)
    replace_file(CLASSIFIER_FOLDER / "CARD.md", card.encode())
    print(card)


if __name__ == "__main__":
    main()
