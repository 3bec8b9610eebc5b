"""What a run would train on, token by token, and what it would cost, before it is started.

Rows are encoded exactly as for training; of a large dataset, the figures rest on a sample. Nothing is
downloaded, and no weights are read unless a measurement is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from . import protocol as p
from .config import RunConfig
from .errors import UserError
from .judge import Work
from .preflight import CheckedModel, Found, attempt, look_at
from .prepare import held_out_by_hash
from .rows import Dataset, Row
from .tokens import EncodedRow, TemplateError, encode_whole

SAMPLE_ROWS = 2000  # that the figures rest on at most
REPLACED = "\ufffd"


def preview(
    config_path: Path, n_rows: int = 5, chosen: Sequence[str] = (), measured_by: Work | None = None
) -> p.PreviewReport:
    """The tokens of the rows that `chosen` names by line or content hash, otherwise of the first `n_rows`;
    the dataset's figures, and what the run will cost: computed, or with `measured_by`, which is told how far
    that is, from steps that are made. A part that rests on a failed check is left out.
    """
    checked = p.PreflightReport(checks=[], problems=[])
    report = p.PreviewReport(checks=[], rows=[])
    found = look_at(config_path, checked, local_only=True)
    if found and found.model is not None and found.dataset is not None:
        _look_into(found, found.model, found.dataset, n_rows, chosen, measured_by, checked, report)
    report.checks = checked.checks
    return report


def _look_into(
    found: Found,
    model: CheckedModel,
    dataset: Dataset,
    n_rows: int,
    chosen: Sequence[str],
    measured_by: Work | None,
    checked: p.PreflightReport,
    report: p.PreviewReport,
) -> None:
    """Fills the report in; what goes wrong is a check more."""
    config = found.config
    limit = config.training.max_length
    rows = _named(dataset.rows, chosen) if chosen else dataset.rows[:n_rows]
    report.rows = [row_tokens(row, model.tokenizer, limit) for row in rows]
    encoded = _sample(dataset.rows, model)
    usable = [e.cut(limit) for e in encoded if e and e.cut(limit).n_supervised]
    if not usable:
        reason = report.rows[0].problem if report.rows else None
        attempt(checked, "rows", "Trained tokens", lambda: _no_row(reason))
        return
    report.statistics = statistics(config, dataset, encoded)
    if found.has_device:
        attempt(
            checked,
            "device",
            "Time and memory",
            lambda: _cost(config, found.base, model, usable, report, measured_by),
        )


def _no_row(reason: str | None) -> Any:
    raise UserError(f"No row has a token to train on: {reason or 'none can be rendered'}.")


def _cost(
    config: RunConfig,
    base: Path,
    model: CheckedModel,
    rows: list[EncodedRow],
    report: p.PreviewReport,
    measured_by: Work | None,
) -> tuple[bool, str, str]:
    from .cost import estimate, measure

    assert report.statistics
    report.cost = estimate(config, model, rows, report.statistics)
    if measured_by:
        report.cost = measure(config, base, rows, report.cost, report.statistics.steps, measured_by)
    return True, "ok", report.cost.basis


def _named(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Raises UserError where there is no such row."""
    found = []
    for name in names:
        row = next((row for row in rows if name in (str(row.line), row.hash)), None)
        if row is None:
            raise UserError(f"No row begins at line {name} or has this hash.")
        found.append(row)
    return found


def row_tokens(row: Row, tokenizer: Any, max_length: int) -> p.RowTokens:
    """The row's tokens as text, up to where it is cut."""
    place = {"file": row.file, "line": row.line, "hash": row.hash}
    try:
        whole = encode_whole(row, tokenizer)
    except TemplateError as error:
        return p.RowTokens(**place, pieces=[], tokens=0, trained=0, truncated=False, problem=str(error))
    encoded = whole.cut(max_length)
    trained = [False, *encoded.supervised[1:]]  # nothing predicts the first one
    pieces = [
        p.TokenPiece(text=text, tokens=count, trained=trained[first])
        for text, first, count in _pieces(encoded.ids, trained, tokenizer)
    ]
    nothing = f"no token of an answer lies within the first {max_length} tokens (`training.maxLength`)"
    return p.RowTokens(
        **place,
        pieces=pieces,
        tokens=len(whole.ids),
        trained=encoded.n_supervised,
        truncated=encoded.truncated,
        problem=None if encoded.n_supervised else nothing,
    )


def _pieces(ids: list[int], trained: list[bool], tokenizer: Any) -> Iterator[tuple[str, int, int]]:
    """(text, place of the first token, number of tokens), the texts joining to that of `ids`.

    What a token says depends on the one before it (a space, half a character), so it is what a text grows by.
    A character that the cut has halved says nothing.
    """

    def text_of(some: list[int]) -> str:
        return str(tokenizer.decode(some, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    before, first = 0, 0  # tokens from `before` on are known to begin a character
    for end in range(1, len(ids) + 1):
        said, known = text_of(ids[before:end]), text_of(ids[before:first])
        last = end == len(ids)
        if said.endswith(REPLACED) and not last and trained[end] == trained[first]:
            continue
        yield said[len(known) :].rstrip(REPLACED) if last else said[len(known) :], first, end - first
        before, first = first, end


def _sample(rows: Sequence[Row], model: CheckedModel) -> list[EncodedRow | None]:
    """Rows at equal distances over the dataset, encoded; None for what the template cannot render."""
    chosen = rows[:: max(1, math.ceil(len(rows) / SAMPLE_ROWS))]
    return [_encoded(row, model.tokenizer) for row in chosen]


def _encoded(row: Row, tokenizer: Any) -> EncodedRow | None:
    try:
        return encode_whole(row, tokenizer)
    except TemplateError:
        return None


def statistics(
    config: RunConfig, dataset: Dataset, encoded: Sequence[EncodedRow | None]
) -> p.TokenStatistics:
    """The dataset's figures, from rows that stand for all of it. No row counts as risky: none is judged."""
    training = config.training
    rendered = [e for e in encoded if e]
    lengths = sorted(len(e.ids) for e in rendered)
    cut = [e.cut(training.max_length) for e in rendered]
    usable = [e for e in cut if e.n_supervised]
    share = 0.0 if config.dataset.held_out_path else config.dataset.held_out_share
    trained = [e for e in usable if not held_out_by_hash(e, share)] or usable
    scale = len(dataset.rows) / len(encoded)
    n_trained = max(1, round(len(trained) * scale))
    steps = training.max_steps or math.ceil(math.ceil(n_trained / training.batch_size) * training.epochs)
    tokens_of_a_row = sum(e.n_supervised for e in trained) / len(trained)
    rows_seen = steps * training.batch_size if training.max_steps else n_trained * training.epochs
    return p.TokenStatistics(
        rows=len(dataset.rows),
        looked_at=len(encoded),
        median=_quantile(lengths, 0.5),
        p95=_quantile(lengths, 0.95),
        longest=lengths[-1],
        truncated=sum(e.truncated for e in cut) / len(encoded),
        untrained=1 - len(usable) / len(encoded),
        trained_tokens=round(tokens_of_a_row * rows_seen),
        steps=steps,
    )


def _quantile(sorted_values: list[int], share: float) -> int:
    """The smallest value that so large a share does not exceed."""
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]
