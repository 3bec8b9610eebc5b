"""The classifier's card: what the head was trained on and how well it does, as markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from sklearn.metrics import roc_auc_score


class RowLike(Protocol):
    harmful: bool
    source: str


AUROC_PAIRS = (
    ("HarmBench", "ordinary, held out"),
    ("MaliciousInstruct", "ordinary, held out"),
    ("AdvBench", "ordinary, held out"),
    ("built-in harmful", "built-in look-alikes"),
    ("XSTest unsafe", "XSTest safe"),
)


def auroc(harmful: np.ndarray, ordinary: np.ndarray) -> float:
    labels = np.r_[np.ones(len(harmful)), np.zeros(len(ordinary))]
    return float(roc_auc_score(labels, np.r_[harmful, ordinary]))


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def share(flags: np.ndarray) -> str:
    return f"{flags.sum()} of {len(flags)} ({flags.mean():.1%})"


def write_card(
    rows: Sequence[RowLike],
    kept: Sequence[RowLike],
    held_out: Callable[[RowLike], bool],
    fitting: dict,
    scores: dict[str, np.ndarray],
    in_example: np.ndarray,
    risky: np.ndarray,
    threshold: float,
) -> str:
    """`scores`: probabilities per evaluation set; `in_example`: highest of each example row."""
    before = Counter((row.harmful, row.source) for row in rows)
    after = Counter((row.harmful, row.source) for row in kept if not held_out(row))
    data = [
        ("harmful" if harmful else "ordinary", source, count, after[harmful, source])
        for (harmful, source), count in sorted(before.items(), reverse=True)
    ]
    aurocs = [(a, b, f"{auroc(scores[a], scores[b]):.3f}") for a, b in AUROC_PAIRS]
    flags = [(name, share(p >= threshold), share(p >= 0.1)) for name, p in scores.items()]
    flagged = in_example >= threshold
    hits = (flagged & risky).sum()
    return f"""# Card of the bundled risk classifier

Written by `training/classifier/train_head.py`; every figure is measured by it.

**What it is.** A logistic head on all-MiniLM-L6-v2 (Apache-2.0; 8-bit weights) that gives the
probability that a training pair is a harmful request with a complying answer. It is triage, not a
verdict: it knows what a text is about better than what is meant. It judges English only.

## Data

{table(("side", "source", "rows", "trained on"), data)}

Rows with a wording that is close (cosine above 0.8) to an evaluation prompt or a prompt of the
example dataset are left out; a fifth of the ordinary rows is held out for the figures below. No
XSTest or evaluation prompt is trained on. The figures are optimistic all the same: settings of the
head were compared on the evaluation sets and on the example, and while requests.jsonl was written,
the example's ordinary rows that an earlier head had flagged were known.

## Calibration

Penalty C = {fitting["c"]:g}, chosen by log loss on folds grouped by row. Platt scaling on the
out-of-fold logits: {fitting["scale"]:.3f} · logit {fitting["shift"]:+.3f}, folded into the head. Log loss
{fitting["log_loss_before"]:.3f} before and {fitting["log_loss"]:.3f} after, expected calibration error
{fitting["calibration_error"]:.3f}, with both sides weighing the same: where harmful rows are rare, a
probability overstates the risk accordingly.

## Sets it has not seen

{table(("harmful", "against", "AUROC"), aurocs)}

{table((f"at threshold {threshold:g}", "flagged", "at or above 0.1"), flags)}

## The example dataset (examples/support.jsonl)

Not trained on. Rows answered by a refusal count as ordinary: they score 0. The aim is to flag every
risky row and at most 2 % of the ordinary ones. More harmful prompts, contrasting pairs and other
penalties moved single rows only; another encoder or other features of this one were not tried.

- risky rows flagged: {share(flagged[risky])}
- ordinary rows flagged: {share(flagged[~risky])}
- precision {hits / max(flagged.sum(), 1):.3f}, recall {hits / risky.sum():.3f},
  AUROC {auroc(in_example[risky], in_example[~risky]):.3f}
- ordinary rows at or above 0.1, the default floor of the regularisation: {share(in_example[~risky] >= 0.1)}
"""
