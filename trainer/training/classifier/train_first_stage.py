"""Train the classifier's first stage on what its encoder says; write first_stage.json and .safetensors.

    python trainer/training/classifier/train_first_stage.py

A convolution over the encoder's own token embeddings, which stay as they are: what a token adds to a filter
is then a table, which export_encoder.py computes from the committed projection. A window is settled where its
logit lies below that of all but MISSED of the windows that the encoder flags; that bound comes from models
that had not seen the windows' rows.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

TRAINER = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TRAINER), str(TRAINER / "training")]
from evaluation import unseen_prompts  # noqa: E402
from export_encoder import FIRST_STAGE, replace_file  # noqa: E402
from rows import GSM8K_ROWS, SEED, Row, gsm8k, read_rows, surrounded, with_texts, without_near_duplicates  # noqa: E402
from sentences import Sentences, load_base  # noqa: E402

from safe_finetuning.risk.classifier import (  # noqa: E402
    CLASSIFIER_FOLDER,
    PAD_ID,
    Classifier,
    Window,
    batches_by_length,
)
from safe_finetuning.risk.first_stage import WIDTH  # noqa: E402

FILTERS = 48
DROPOUT = 0.3
FOLDS = 3
EPOCHS = 12
BATCH_WINDOWS = 64
SORTED_BATCHES = 20  # are sorted by length together, against padding
RATE = 2e-3
WEIGHT_DECAY = 0.01
FLAGGED_WEIGHT = 4.0  # of a window that is surely harmful, 1 of one that is surely not
MISSED = 0.0075  # share of the windows the encoder flags that the first stage may settle


class Convolution(torch.nn.Module):
    """Logits [batch] of padded windows [batch, tokens]: as FirstStage, before its table is rounded."""

    def __init__(self, embeddings: torch.Tensor) -> None:
        super().__init__()
        self.length = float(embeddings.norm(dim=1).mean())
        self.embeddings = embeddings / self.length
        self.projection = torch.nn.Linear(embeddings.shape[1], WIDTH * FILTERS, bias=False)
        self.biases = torch.nn.Parameter(torch.zeros(FILTERS))
        self.out = torch.nn.Linear(FILTERS, 1)
        self.dropout = torch.nn.Dropout(DROPOUT)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        present = (ids != PAD_ID)[..., None]
        added = self.projection(self.dropout(self.embeddings[ids])) * present
        before, own, behind = added.view(*ids.shape, WIDTH, FILTERS).unbind(2)
        sums = own.clone()
        sums[:, 1:] += before[:, :-1]
        sums[:, :-1] += behind[:, 1:]
        highest = sums.masked_fill(~present, -torch.inf).max(1).values
        return self.out(self.dropout(torch.relu(highest + self.biases))).squeeze(-1)


def padded(windows: Sequence[Window]) -> torch.Tensor:
    longest = max(map(len, windows))
    return torch.tensor([[*window, *[PAD_ID] * (longest - len(window))] for window in windows])


def fit(embeddings: torch.Tensor, windows: Sequence[Window], targets: np.ndarray) -> Convolution:
    """`targets` [n]: the probabilities that the encoder gives."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    model = Convolution(embeddings)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    n_steps = EPOCHS * -(-len(windows) // BATCH_WINDOWS)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / n_steps))
    for epoch in range(EPOCHS):
        losses = []
        for batch in batches(windows, rng):
            target = torch.tensor(targets[batch], dtype=torch.float32)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                model(padded([windows[i] for i in batch])), target, weight=1 + (FLAGGED_WEIGHT - 1) * target
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1} of {EPOCHS}: loss {np.mean(losses):.4f}", flush=True)
    return model.eval()


def batches(windows: Sequence[Window], rng: random.Random) -> list[list[int]]:
    order = rng.sample(range(len(windows)), len(windows))
    block = BATCH_WINDOWS * SORTED_BATCHES
    result = []
    for start in range(0, len(order), block):
        by_length = sorted(order[start : start + block], key=lambda i: len(windows[i]))
        result += [by_length[i : i + BATCH_WINDOWS] for i in range(0, len(by_length), BATCH_WINDOWS)]
    rng.shuffle(result)
    return result


def logits_of(model: Convolution, windows: Sequence[Window]) -> np.ndarray:
    result = np.empty(len(windows))
    by_length = sorted(range(len(windows)), key=lambda i: len(windows[i]))
    with torch.no_grad():
        for start in range(0, len(windows), 256):
            indices = by_length[start : start + 256]
            result[indices] = model(padded([windows[i] for i in indices])).numpy()
    return result


def judged_windows(
    classifier: Classifier, rows: Sequence[Row]
) -> tuple[list[Window], np.ndarray, np.ndarray]:
    """Distinct windows of the rows' texts, the encoder's probabilities [n], and the rows' groups [n]."""
    rng = random.Random(SEED)
    ordinary = [row.texts[2].split() for row in rows if not row.harmful]
    groups: dict[Window, str] = {}
    for row in rows:
        for text in (*row.texts, surrounded(row.texts[2], ordinary, rng)):
            for window in classifier.encoder.windows(text):
                groups.setdefault(window, row.group)
    probabilities: dict[Window, float] = {}
    for batch in batches_by_length(groups):
        probabilities.update(zip(batch, classifier.judge(batch).tolist(), strict=True))
    windows = list(groups)
    group_numbers = np.unique(list(groups.values()), return_inverse=True)[1]
    return windows, np.array([probabilities[window] for window in windows]), group_numbers


def unseen_logits(
    embeddings: torch.Tensor, windows: Sequence[Window], targets: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Each window's logit by a model that has not seen its row."""
    logits = np.empty(len(windows))
    for inside, outside in GroupKFold(FOLDS, shuffle=True, random_state=SEED).split(windows, groups=groups):
        model = fit(embeddings, [windows[i] for i in inside], targets[inside])
        logits[outside] = logits_of(model, [windows[i] for i in outside])
    return logits


def calibrate(logits: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
    """Scale and shift of the logits (Platt 1999) to the encoder's probabilities."""
    sides = np.r_[np.ones(len(logits)), np.zeros(len(logits))]
    weight = np.r_[targets, 1 - targets]
    platt = LogisticRegression(C=1e6).fit(np.r_[logits, logits][:, None], sides, sample_weight=weight)
    return float(platt.coef_[0, 0]), float(platt.intercept_[0])


def write(
    model: Convolution, scale: float, shift: float, clear_below: float, unseen: dict[str, float]
) -> None:
    """The projection, from which the table is made, and the numbers that belong to the table."""
    projection = model.projection.weight.detach().T  # [384, WIDTH * FILTERS]
    added = (model.embeddings @ projection).view(-1, FILTERS)
    scales = [round(float(s), 9) for s in added.abs().max(0).values / 127]
    content = {
        "clearBelow": round(scale * clear_below + shift, 5),
        "bias": round(scale * model.out.bias.item() + shift, 5),
        "weights": [round(scale * float(w), 5) for w in model.out.weight.detach()[0]],
        "biases": [round(float(b), 5) for b in model.biases.detach()],
        "scales": scales,
        "unseen": unseen,
    }
    replace_file(FIRST_STAGE, save({"projection": (projection / model.length).half().contiguous()}))
    replace_file(CLASSIFIER_FOLDER / "first_stage.json", (json.dumps(content) + "\n").encode())


def main() -> None:
    rows = without_near_duplicates(
        [*read_rows(), *with_texts(gsm8k()[GSM8K_ROWS:])], unseen_prompts(), Sentences()
    )
    classifier = Classifier()
    windows, targets, groups = judged_windows(classifier, rows)
    flagged = targets >= classifier.threshold
    print(f"{len(windows)} windows, of which the encoder flags {flagged.sum()}", flush=True)
    embeddings = load_base().embeddings.word_embeddings.weight.detach()
    logits = unseen_logits(embeddings, windows, targets, groups)
    clear_below = float(np.quantile(logits[flagged], MISSED))
    scale, shift = calibrate(logits, targets)
    clear = logits < clear_below
    unseen = {
        "windows": len(windows),
        "settledUnflagged": round(float(clear[~flagged].mean()), 4),
        "flaggedPassed": round(float((~clear[flagged]).mean()), 4),
        "meanGiven": round(float((1 / (1 + np.exp(-(scale * logits[clear] + shift)))).mean()), 4),
        "meanOfEncoder": round(float(targets[clear].mean()), 4),
    }
    print(unseen, flush=True)
    write(fit(embeddings, windows, targets), scale, shift, clear_below, unseen)
    subprocess.run([sys.executable, str(Path(__file__).with_name("export_encoder.py"))], check=True)


if __name__ == "__main__":
    main()
