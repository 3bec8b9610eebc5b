"""Train, calibrate and measure the bundled classifier; write all of it that is committed.

    python trainer/training/classifier/train.py

A LoRA adapter on all-MiniLM-L6-v2 and a logistic head on its embeddings, trained together: a head alone knows
what a text is about, the adapter lets it see what is meant (XSTest, docs/classifier.md). Trained once without
each fold of the rows; the weights' mean is the classifier (Wortsman et al. 2022, arXiv 2203.05482), as one
training differs much from the next in what it makes of a text. It is calibrated on what each said of the rows
that it had not seen. The adapter is committed; export_encoder.py merges it when the project is built.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from tokenizers import Tokenizer

TRAINER = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TRAINER), str(TRAINER / "training")]
import card  # noqa: E402
import train_first_stage  # noqa: E402
from evaluation import unseen_prompts  # noqa: E402
from export_encoder import ADAPTER, LORA_ALPHA, LORA_RANK, replace_file  # noqa: E402
from rows import SEED, Row, read_rows, surrounded, without_near_duplicates  # noqa: E402
from sentences import Sentences, load_base, mean_embeddings  # noqa: E402

from safe_finetuning.risk.classifier import (  # noqa: E402
    CLASSIFIER_FOLDER,
    WINDOW_TOKENS,
)

FOLDS = 3
EPOCHS = 4  # more fit the training rows better, and XSTest and MaliciousInstruct worse
CONTRASTS_WEIGHT = 1 / 3  # of either side, in the calibration: hard cases are rarer in data than in the rows
TEXTS_PER_ROW = 1  # of a row's five, drawn anew in every epoch
BATCH_TEXTS = 32
SORTED_BATCHES = 16  # are sorted by length together, against padding
RATE = 5e-4
HEAD_RATE = 5e-3
LABEL_SMOOTHING = 0.02
WARM_UP = 0.1  # share of the steps
THRESHOLD = 0.5
MISS_COST = 1.5  # a harmful row that is missed is as bad as so many that are flagged in vain
VERSION = "3"


class Judge(torch.nn.Module):
    """Logits [batch] of token windows."""

    def __init__(self) -> None:
        super().__init__()
        config = LoraConfig(
            r=LORA_RANK,
            lora_alpha=LORA_ALPHA,
            lora_dropout=0.05,
            target_modules=["query", "key", "value", "dense"],
        )
        self.encoder: PeftModel = get_peft_model(load_base(), config)
        self.head = torch.nn.Linear(384, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)

    # The embedding has length 1, so the head's weights would have to grow far: a fixed factor spares it that.
    FACTOR = 10.0

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.head(self.FACTOR * mean_embeddings(self.encoder, ids, mask)).squeeze(-1)


@dataclass
class Example:
    text: str
    harmful: bool
    weight: float


def batches(examples: list[Example], rng: random.Random) -> list[list[Example]]:
    rng.shuffle(examples)
    step = BATCH_TEXTS * SORTED_BATCHES
    result = []
    for start in range(0, len(examples), step):
        block = sorted(examples[start : start + step], key=lambda e: len(e.text))
        result += [block[i : i + BATCH_TEXTS] for i in range(0, len(block), BATCH_TEXTS)]
    rng.shuffle(result)
    return result


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    encoded = tokenizer.encode_batch(list(texts))
    return torch.tensor([e.ids for e in encoded]), torch.tensor([e.attention_mask for e in encoded])


def window_tokenizer() -> Tokenizer:
    """The first window of a text, as the classifier cuts it."""
    tokenizer = Tokenizer.from_file(str(CLASSIFIER_FOLDER / "tokenizer.json"))
    tokenizer.enable_truncation(WINDOW_TOKENS)
    tokenizer.enable_padding()
    return tokenizer


def fit(rows: list[Row], tokenizer: Tokenizer) -> Judge:
    """Both sides weigh the same: a logit of 0 means that a text is as likely under either."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    judge = Judge()
    weight = {True: 0.5 / sum(r.harmful for r in rows), False: 0.5 / sum(not r.harmful for r in rows)}
    scale = len(rows)
    adapter = [p for p in judge.encoder.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": adapter, "lr": RATE}, {"params": judge.head.parameters(), "lr": HEAD_RATE}],
        weight_decay=0.01,
    )
    ordinary = [row.texts[2].split() for row in rows if not row.harmful]
    epochs = [
        batches(
            [
                Example(surrounded(text, ordinary, rng), row.harmful, weight[row.harmful] * scale)
                for row in rows
                for text in rng.sample(row.texts, TEXTS_PER_ROW)
            ],
            rng,
        )
        for _ in range(EPOCHS)
    ]
    n_steps = sum(map(len, epochs))
    n_warm = int(WARM_UP * n_steps)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / n_warm, (n_steps - step) / (n_steps - n_warm))
    )
    for epoch, in_epoch in enumerate(epochs):
        judge.train()
        losses = []
        for batch in in_epoch:
            logits = judge(*encode(tokenizer, [e.text for e in batch]))
            target = torch.tensor([1.0 - LABEL_SMOOTHING if e.harmful else LABEL_SMOOTHING for e in batch])
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits, target, weight=torch.tensor([e.weight for e in batch])
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)
    return judge.eval()


def logits_of(judge: Judge, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    result = np.empty(len(texts))
    by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    with torch.no_grad():
        for start in range(0, len(texts), 64):
            indices = by_length[start : start + 64]
            result[indices] = judge(*encode(tokenizer, [texts[i] for i in indices])).numpy()
    return result


@dataclass
class Calibration:
    """The scale and shift of the logits (Platt 1999), and what they were fitted on."""

    n_rows: int
    scale: float
    shift: float
    log_loss_before: float
    log_loss: float
    error: float

    @classmethod
    def of(cls, logits: np.ndarray, harmful: np.ndarray, weight: np.ndarray, n_rows: int) -> Calibration:
        platt = LogisticRegression(C=1e6).fit(logits[:, None], harmful, sample_weight=weight)
        scale, shift = float(platt.coef_[0, 0]), float(platt.intercept_[0])
        calibrated = expit(scale * logits + shift)
        return cls(
            n_rows,
            scale,
            shift,
            log_loss(harmful, expit(logits), sample_weight=weight),
            log_loss(harmful, calibrated, sample_weight=weight),
            calibration_error(calibrated, harmful, weight),
        )


def fit_folds(rows: list[Row], tokenizer: Tokenizer) -> tuple[list[Judge], Calibration]:
    """A judge trained without each fold, and their calibration on what they have not seen; a contrast's rows
    are in one fold."""
    groups = np.unique([row.group for row in rows], return_inverse=True)[1]
    judges, logits, unseen = [], [], []
    folds = GroupKFold(FOLDS, shuffle=True, random_state=SEED).split(rows, groups=groups)
    for number, (inside, outside) in enumerate(folds):
        print(f"fold {number + 1} of {FOLDS}: {len(inside)} rows to train on", flush=True)
        judges.append(fit([rows[i] for i in inside], tokenizer))
        texts = [(rows[i], text) for i in outside for text in rows[i].texts]
        logits.append(logits_of(judges[-1], tokenizer, [text for _, text in texts]))
        unseen += [row for row, _ in texts]
    harmful = np.array([row.harmful for row in unseen])
    contrast = np.array([row.source == "contrasts" for row in unseen])
    weight = np.empty(len(unseen))
    for side in (harmful, ~harmful):
        for kind, share in ((contrast, CONTRASTS_WEIGHT), (~contrast, 1 - CONTRASTS_WEIGHT)):
            weight[side & kind] = share / (side & kind).sum()
    return judges, Calibration.of(np.concatenate(logits), harmful, weight / weight.mean(), len(rows))


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


def write_adapter(judges: Sequence[Judge]) -> None:
    """The adapters' matrices as half floats: `NAME.A` [ranks, in] and `NAME.B` [out, ranks] of each weight,
    the judges' ranks side by side, so that B·A is the mean of theirs."""
    states = [get_peft_model_state_dict(judge.encoder) for judge in judges]
    tensors = {}
    for name in states[0]:
        axis = 0 if "lora_A" in name else 1
        joined = torch.cat([state[name] for state in states], axis)
        if axis:
            joined /= len(judges)
        short = name.removeprefix("base_model.model.").replace("lora_", "").removesuffix(".weight")
        tensors[short] = joined.half().contiguous()
    replace_file(ADAPTER, save(tensors))


def write_head(judges: Sequence[Judge], calibration: Calibration) -> None:
    fingerprint = (CLASSIFIER_FOLDER / "encoder-fingerprint.json").read_bytes()
    head = np.mean([judge.head.weight.detach().numpy()[0].astype(float) for judge in judges], axis=0)
    bias = float(np.mean([judge.head.bias.item() for judge in judges]))
    weights = head * Judge.FACTOR * calibration.scale
    content = {
        "name": "bundled-minilm",
        "version": VERSION,
        "encoderFingerprint": hashlib.sha256(fingerprint).hexdigest(),
        "threshold": THRESHOLD,
        "bias": round(bias * calibration.scale + calibration.shift + math.log(MISS_COST), 5),
        "weights": [round(float(w), 5) for w in weights],
        "calibration": {
            "rows": calibration.n_rows,
            "scale": round(calibration.scale, 4),
            "shift": round(calibration.shift, 4),
            "logLossBefore": round(calibration.log_loss_before, 4),
            "logLoss": round(calibration.log_loss, 4),
            "error": round(calibration.error, 4),
            "missCost": MISS_COST,
        },
    }
    replace_file(CLASSIFIER_FOLDER / "head.json", (json.dumps(content) + "\n").encode())


def main() -> None:
    rows = read_rows()
    kept = without_near_duplicates(rows, unseen_prompts(), Sentences())
    print(f"{len(kept)} of {len(rows)} rows are no near-duplicates of what is measured", flush=True)
    tokenizer = window_tokenizer()
    judges, calibration = fit_folds(kept, tokenizer)
    write_adapter(judges)
    export = [sys.executable, str(Path(__file__).with_name("export_encoder.py")), "--write-fingerprint"]
    subprocess.run(export, check=True)
    write_head(judges, calibration)
    train_first_stage.main()
    card.main()


if __name__ == "__main__":
    main()
