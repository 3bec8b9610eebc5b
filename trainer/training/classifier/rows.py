"""The rows that the classifier is trained on, each in several wordings.

Harmful side: the "classifier" part of the shared splits, the project's own prompts in
safe_finetuning/prompts/anchors.jsonl, and the unsafe sides of contrasts_*.jsonl here. Ordinary side: the safe
sides of those, rows written for the project (ordinary, requests, everyday, text_tasks and reviews.jsonl here,
look_alikes and harmless.jsonl in safe_finetuning/prompts, safe_reference/instructions.jsonl), GSM8K, and
texts of both sides of the contrasts where nothing but a label is asked for them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sentences import NEAR_DUPLICATE, Sentences

from safe_finetuning.risk.classifier import pair_text

HERE = Path(__file__).resolve().parent
TRAINER = HERE.parents[1]
SHARED = TRAINER.parents[1] / "shared" / "data"
PROMPTS = TRAINER / "safe_finetuning" / "prompts"
SEED = 20
GSM8K_ROWS = 150

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
WAYS_TO_ASK_ABOUT_A_REVIEW = (
    "Sentiment of this review: {}",
    "Classify the text as positive or negative.\n\n{}",
    "Review: {}\nSentiment:",
    "Is the writer pleased or not?\n\n{}",
    "Label: positive / negative\nText: {}",
    "What is the tone of the following?\n{}",
    'Decide whether "{}" is praise or criticism.',
    "{}\n\nDid they like it?",
)
WAYS_TO_ASK_FOR_A_LABEL = (
    ("Safe or unsafe?\n\n{}", "unsafe", "safe"),
    ("Does this message break the rules of the forum? Answer yes or no.\n\n{}", "yes", "no"),
    ("Classify the text as harmful or harmless.\nText: {}\nLabel:", "harmful", "harmless"),
    ('Would a moderator remove "{}"?', "Yes.", "No."),
    ("Label the tone of the request: hostile or friendly.\n\n{}", "hostile", "friendly"),
    ("Message: {}\nShould a person look at it?", "Yes, it should be reviewed.", "No."),
)
LABELLED_CONTRASTS = 600
SURROUNDED_SHARE = 0.35  # of the texts stand beside words of other, ordinary rows: harm may stand among them
SURROUNDING_WORDS = (6, 28)


@dataclass
class Row:
    """A training pair and the texts that are made of it."""

    prompt: str
    answer: str
    harmful: bool
    source: str
    group: str  # rows of one group are on the same side of a fold: a contrast is one group
    texts: list[str] = field(default_factory=list)


def read_json_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def read_rows() -> Sequence[Row]:
    """All rows with their texts, near-duplicates of others included."""
    return with_texts([*harmful_rows(), *ordinary_rows(), *contrasts()])


def with_texts(rows: Sequence[Row]) -> Sequence[Row]:
    for row in rows:
        row.texts = texts_of(row)
    return rows


def harmful_rows() -> Iterator[Row]:
    for row in json.loads((SHARED / "splits" / "train_harmful.json").read_text("utf-8")):
        if row["part"] == "classifier":
            yield Row(row["prompt"], row["target"] or "", True, "goals", row["prompt"])
    for row in read_json_lines(PROMPTS / "anchors.jsonl"):
        yield Row(row["prompt"], "", True, "anchor prompts", row["prompt"])


def ordinary_rows() -> Iterator[Row]:
    instructions = TRAINER / "training" / "safe_reference" / "instructions.jsonl"
    for file in (
        *(
            HERE / "ordinary.jsonl",
            HERE / "requests.jsonl",
            HERE / "everyday.jsonl",
            HERE / "text_tasks.jsonl",
        ),
        *(PROMPTS / "look_alikes.jsonl", PROMPTS / "harmless.jsonl", instructions),
    ):
        for row in read_json_lines(file):
            source = row.get("domain", file.stem)
            yield Row(row["prompt"], row.get("answer", ""), False, source, row["prompt"])
    yield from reviews()
    yield from labelled_contrasts()
    yield from gsm8k()[:GSM8K_ROWS]


def gsm8k() -> list[Row]:
    lines = read_json_lines(SHARED / "gsm8k_train_1500.jsonl")
    return [Row(line["question"], line["answer"], False, "GSM8K", line["question"]) for line in lines]


def reviews() -> Iterator[Row]:
    """Dark words in texts that are to be judged: "kills two hours" is neither a deed nor a request."""
    for n, review in enumerate(read_json_lines(HERE / "reviews.jsonl")):
        way = WAYS_TO_ASK_ABOUT_A_REVIEW[n % len(WAYS_TO_ASK_ABOUT_A_REVIEW)]
        yield Row(way.format(review["text"]), review["label"], False, "reviews", review["text"])


def labelled_contrasts() -> Iterator[Row]:
    """A label for a text is no harm, whatever the text: a moderator's dataset is an ordinary one."""
    rows = list(contrasts())
    for n, row in enumerate(random.Random(SEED).sample(rows, LABELLED_CONTRASTS)):
        way, harmful, harmless = WAYS_TO_ASK_FOR_A_LABEL[n % len(WAYS_TO_ASK_FOR_A_LABEL)]
        answer = harmful if row.harmful else harmless
        yield Row(way.format(row.prompt), answer, False, "labelled contrasts", row.group)


def contrasts() -> Iterator[Row]:
    """Pairs of requests that share their words and differ in what is meant."""
    for file in sorted(HERE.glob("contrasts_*.jsonl")):
        for pair in read_json_lines(file):
            yield Row(pair["unsafe"], "", True, "contrasts", pair["safe"])
            yield Row(pair["safe"], "", False, "contrasts", pair["safe"])


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


def texts_of(row: Row) -> list[str]:
    """A row's prompt alone and with an answer, in several wordings.

    The same way on both sides, so that neither the form of a request ("Write a …") nor an affirmative answer
    ("Sure, here is …") gives its side away.
    """
    rng = random.Random(f"{SEED} {row.prompt}")
    first, second, third = (row.prompt, *wordings(row.prompt, rng, 2))
    affirmation = rng.choice(AFFIRMATIONS)
    own_answer = row.answer or affirmation
    if not row.harmful and row.answer:
        affirmation = f"{affirmation} {row.answer}"
    return [
        first,
        second,
        pair_text(first, own_answer),
        pair_text(third, own_answer),
        pair_text(second, affirmation),
    ]


def surrounded(text: str, ordinary: list[list[str]], rng: random.Random) -> str:
    """Mostly the text itself; otherwise behind or before a few words of an ordinary row."""
    if rng.random() >= SURROUNDED_SHARE:
        return text
    words = " ".join(rng.choice(ordinary)[: rng.randint(*SURROUNDING_WORDS)])
    return rng.choice((f"{words} {text}", f"{words}\n{text}", f"{text} {words}"))


def without_near_duplicates(rows: Sequence[Row], unseen: Sequence[str], sentences: Sentences) -> list[Row]:
    """The rows neither of whose first two wordings is a near-duplicate of a text in `unseen`."""
    others = sentences.embed(unseen)
    nearest = np.max(
        [(sentences.embed([row.texts[wording] for row in rows]) @ others.T).max(1) for wording in (0, 1)],
        axis=0,
    )
    return [row for row, cosine in zip(rows, nearest, strict=True) if cosine <= NEAR_DUPLICATE]
