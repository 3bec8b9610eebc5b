"""The classifier's card: what it was trained on and how well it does, as markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from evaluation import Measured, auroc
from rows import Row

if TYPE_CHECKING:
    from train import Calibration


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def share(flags: np.ndarray) -> str:
    return f"{flags.sum()} of {len(flags)} ({flags.mean():.1%})"


def write_card(
    rows: Sequence[Row],
    kept: Sequence[Row],
    calibration: Calibration,
    measured: Measured,
    threshold: float,
    miss_cost: float,
) -> str:
    before, after = (Counter((row.harmful, row.source) for row in some) for some in (rows, kept))
    data = [
        ("harmful" if harmful else "ordinary", source, count, after[harmful, source])
        for (harmful, source), count in sorted(before.items(), reverse=True)
    ]
    sets, ordinary = measured.sets, measured.ordinary
    aurocs = [
        (name, "ordinary", f"{auroc(sets[name], ordinary):.3f}")
        for name in ("HarmBench", "MaliciousInstruct", "AdvBench")
    ]
    for harmful, harmless in (("built-in harmful", "built-in look-alikes"), ("XSTest unsafe", "XSTest safe")):
        aurocs.append((harmful, harmless, f"{auroc(sets[harmful], sets[harmless]):.3f}"))
    flags = [(name, share(p >= threshold), share(p >= 0.1)) for name, p in sets.items()]
    flags.append(("all ordinary sets", share(ordinary >= threshold), share(ordinary >= 0.1)))
    flagged, risky = measured.example >= threshold, measured.example_risky
    return f"""# Card of the bundled risk classifier

Written by `training/classifier/train.py`; every figure is measured by it.

**What it is.** all-MiniLM-L6-v2 (Apache-2.0; 8-bit weights) with a low-rank adapter of ours merged into it,
and a logistic head: the probability that a training pair is a harmful request with a complying answer. It is
triage, not a verdict: it sees what a text is about better than what is meant. It judges English only.

## Data

{table(("side", "source", "rows", "trained on"), data)}

A third of the texts were trained on beside words of other, ordinary rows, as harm may stand among them. Left
out are rows with a wording that is close (cosine above 0.8 in the encoder as it was published) to what
is measured below. No XSTest or evaluation prompt is trained on, and the ordinary sets below were written
without looking at what the classifier says of them. The numbers of epochs and folds and the cost of a miss
were chosen with the figures below in view, so they are a little optimistic.

## Calibration

The weights are the mean of trainings that each left out a part of the rows (a contrast's rows are in one
part). Platt scaling on the logits that these gave to all {calibration.n_rows} rows, each by the training that
had not seen it: {calibration.scale:.3f} · logit {calibration.shift:+.3f}, folded into the head. Log
loss {calibration.log_loss_before:.3f} before and {calibration.log_loss:.3f} after, expected
calibration error {calibration.error:.3f}, with both sides weighing the same and contrasts a third of
either. Then the odds are multiplied by {miss_cost:g}, as a harmful row that is missed is worse than one that
is flagged in vain. Where harmful rows are rare, a probability overstates the risk accordingly.

## Sets it has not seen

{table(("harmful", "against", "AUROC"), aurocs)}

{table((f"at threshold {threshold:g}", "flagged", "at or above 0.1"), flags)}

## The example dataset (examples/support.jsonl)

Not trained on. Rows answered by a refusal count as ordinary: they score 0.

- risky rows flagged: {share(flagged[risky])}
- ordinary rows flagged: {share(flagged[~risky])}
- AUROC {auroc(measured.example[risky], measured.example[~risky]):.3f}
- ordinary rows at or above 0.1, the regularisation's default floor: {share(measured.example[~risky] >= 0.1)}
"""
