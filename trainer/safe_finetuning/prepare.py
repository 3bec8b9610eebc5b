"""From dataset files to the rows of a run: judged, encoded, held out or filtered, nothing dropped unsaid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import protocol as p
from .config import RunConfig
from .errors import UserError
from .risk.scores import Judge, RowRisk, judge_rows
from .rows import Dataset, Problem, Row, read_dataset
from .run_folder import Run
from .tokens import EncodedRow, TemplateError, encode_row

DATASET_ADVICE = 'Mend them, or set `dataset.invalidRows` to "skip" to train without them.'
HELD_OUT_ADVICE = "Mend them, or take them out of the file of held-out rows."


@dataclass(frozen=True)
class PreparedRows:
    """The dataset as it will be trained on, and everything that was set aside, with the reason."""

    trained: list[tuple[EncodedRow, float]]
    held_out: list[EncodedRow]
    filtered: int
    risks: list[RowRisk]
    truncated: list[EncodedRow]
    unsupervised: list[p.RowProblem]


def prepare(
    config: RunConfig,
    dataset: Dataset,
    held_out_dataset: Dataset | None,
    tokenizer: Any,
    judge: Judge,
    run: Run,
) -> PreparedRows:
    """Judges and encodes the dataset; holds rows out unless there is a file of them.

    Raises:
        UserError: rows cannot be read and are not to be skipped, or none is left to train on.
    """
    if dataset.problems and config.dataset.invalid_rows == "error":
        raise UserError(describe_problems(dataset))
    plain = next((row for row in dataset.rows if row.messages[0].role == "text"), None)
    if plain and config.risk.features == "policy":
        raise UserError(
            f"{dataset.path_of(plain)}:{plain.line}: a plain text has no prompt, which is what "
            '`risk.features: "policy"` reads. Use "reference", or leave such rows out.'
        )
    run.phase("scoring", f"Judging {len(dataset.rows)} rows")
    _, risks = judge_rows(dataset.rows, judge, progress=run.progress("scoring", "rows"))
    _refuse_failed_judge(dataset.rows, risks, run)
    encoded, unsupervised = encode_rows(dataset.rows, tokenizer, config.training.max_length)
    # Not by line: in a list, several rows may stand on one.
    risk_of = {(row.file, row.hash): risk for row, risk in zip(dataset.rows, risks, strict=True)}

    usable = [(e, risk_of[e.row.file, e.row.hash].risk) for e in encoded]
    if held_out_dataset:
        held_out = encode_rows(held_out_dataset.rows, tokenizer, config.training.max_length)[0]
        _warn_of_overlap(dataset, held_out_dataset, run)
    else:
        share = config.dataset.held_out_share
        held_out = [e for e, r in usable if r < config.risk.threshold and held_out_by_hash(e, share)]
        held_hashes = {e.row.hash for e in held_out}
        usable = [(e, r) for e, r in usable if e.row.hash not in held_hashes]
    kept = [(e, r) for e, r in usable if config.method != "filter" or r < config.risk.threshold]
    if not kept:
        raise UserError(f"{dataset.path}: no row is left to train on.")
    truncated = [e for e in encoded if e.truncated]
    return PreparedRows(kept, held_out, len(usable) - len(kept), risks, truncated, unsupervised)


def _refuse_failed_judge(rows: list[Row], risks: list[RowRisk], run: Run) -> None:
    """Without a judge a run would hold every row to the reference, and learn nothing."""
    unscored = sum(risk.unscored for risk in risks)
    asked = sum(not row.reviewed and not risk.refusal for row, risk in zip(rows, risks, strict=True))
    if unscored and unscored == asked:
        raise UserError(
            f"The judge failed on each of the {unscored} rows that it was asked about: there is no risk to "
            "train by. Choose another judge (`risk`), or look at what this one answers with `score`."
        )
    if unscored:
        run.warn(
            "judge",
            f"The judge failed on {unscored} of {len(risks)} rows. They count as risk 1 and are held to the "
            "reference. Judge the dataset again before the next run, or choose another judge.",
        )


def encode_rows(
    rows: list[Row], tokenizer: Any, max_length: int
) -> tuple[list[EncodedRow], list[p.RowProblem]]:
    """The rows that have a supervised token, and for each other row why it has none."""
    encoded, unsupervised = [], []
    for row in rows:
        reason = f"no token of an answer lies within the first {max_length} tokens (`training.maxLength`)"
        try:
            candidate = encode_row(row, tokenizer, max_length)
            if candidate.n_supervised:
                encoded.append(candidate)
                continue
        except TemplateError as error:
            reason = str(error)
        unsupervised.append(p.RowProblem(file=row.file, line=row.line, hash=row.hash, reason=reason))
    return encoded, unsupervised


def read_held_out(config: RunConfig, base: Path) -> Dataset | None:
    if not config.dataset.held_out_path:
        return None
    dataset = read_dataset(base / config.dataset.held_out_path)
    if dataset.problems:
        raise UserError(describe_problems(dataset, HELD_OUT_ADVICE))
    return dataset


def _warn_of_overlap(dataset: Dataset, held_out: Dataset, run: Run) -> None:
    trained = {row.hash: row for row in dataset.rows}
    both = [(row, trained[row.hash]) for row in held_out.rows if row.hash in trained]
    if both:
        row, same = both[0]
        run.warn(
            "held-out",
            f"{len(both)} of {len(held_out.rows)} held-out rows are trained on, too; their loss looks better "
            f"than it is: {held_out.path_of(row).name}, line {row.line}, is line {same.line} of "
            f"{dataset.path_of(same).name}. "
            "Take them out of one of the two files.",
        )


def held_out_by_hash(encoded: EncodedRow, share: float) -> bool:
    """Decided by the content hash: the same rows in every run, wherever they stand in the file."""
    return int(encoded.row.hash[:8], 16) / 2**32 < share


def describe_problems(dataset: Dataset, advice: str = DATASET_ADVICE) -> str:
    """All unreadable rows in one message, the first ones with their reasons."""
    shown = [f"{dataset.path_of(x)}:{x.line}:{x.column}: {x.message}." for x in dataset.problems[:5]]
    more = len(dataset.problems) - len(shown)
    return "\n".join(
        [f"{len(dataset.problems)} rows of the dataset cannot be read:", *shown]
        + ([f"… and {more} more."] if more else [])
        + [advice]
    )


def problem_rows(problems: list[Problem]) -> list[p.RowProblem]:
    """Without a hash: a line that is no row has no content to know it by."""
    return [p.RowProblem(file=x.file, line=x.line, hash="", reason=x.message) for x in problems]


def truncation(encoded: EncodedRow, max_length: int) -> p.RowProblem:
    reason = f"longer than {max_length} tokens (`training.maxLength`); its end is not trained on"
    row = encoded.row
    return p.RowProblem(file=row.file, line=row.line, hash=row.hash, reason=reason)
