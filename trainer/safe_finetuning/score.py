"""The risk of each row of a dataset file, for people, for programs, and for code review (SARIF 2.1.0).

None of it holds text of a row: a report may go where the dataset must not.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any
from urllib.parse import quote

from . import __version__
from . import protocol as p
from .config_file import read_config
from .errors import UserError
from .judge import Work, configured_judge, load_reference
from .prepare import problem_rows
from .risk.scores import Critic, Judge, judge_rows
from .rows import Dataset, read_dataset

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
CLOSEST_SHARE, LEAST_CLOSEST, MOST_CLOSEST = 0.01, 10, 100  # of rows, by anchoring: He et al. read 100
RULES = {
    "risky-row": "A row that is likely to wear down a model's refusals when it is trained on.",
    "unscored-row": "A row that could not be judged; training counts it as risky.",
    "unreadable-row": "A line that is no row; training stops at it, or leaves it out where that is allowed.",
}


def score_dataset(path: Path, threshold: float) -> p.ScoreReport:
    """By the bundled classifier. Raises UserError where the file cannot be read."""
    return _report(read_dataset(path), threshold, Critic(), None)


def score_configured(
    config_path: Path, threshold: float | None, work: Work, export: bool = False
) -> p.ScoreReport:
    """The dataset of a configuration by the judge that it names; what is judged is kept for its runs.

    `threshold` is by default the configuration's. With `export` a probe is made ready for the editor, too.
    Raises UserError.
    """
    config, base = read_config(config_path), config_path.resolve().parent
    dataset = read_dataset(base / config.dataset.path)
    judge = configured_judge(config, base, lambda: load_reference(config, base, work), work)
    work.phase("scoring", f"Judging {len(dataset.rows)} rows")
    limit = config.risk.threshold if threshold is None else threshold
    report = _report(dataset, limit, judge, work.progress("scoring", "rows"))
    return report.model_copy(update={"probe": _exported(judge, work)}) if export else report


def _exported(judge: Judge, work: Work) -> p.JudgingProbe | None:
    if isinstance(judge, Critic):  # PyTorch, which it does without, takes seconds to import
        return None
    from .risk.exported_probe import export_probe
    from .risk.probe import Predictor

    if not isinstance(judge, Predictor):
        return None
    probe = p.JudgingProbe(
        trained_on=judge.probe.trained_on,
        ordinary_flagged=judge.probe.ordinary_flagged,
        folder=None,
        not_exported=None,
    )
    try:
        return probe.model_copy(update={"folder": str(export_probe(judge, work))})
    except UserError as error:  # what was judged is told all the same
        return probe.model_copy(update={"not_exported": str(error)})


def _report(dataset: Dataset, threshold: float, judge_: Judge, progress: Any) -> p.ScoreReport:
    judge, risks = judge_rows(dataset.rows, judge_, progress=progress)
    rows = [
        p.RowScore(
            file=row.file,
            line=row.line,
            hash=row.hash,
            risk=None if risk.unscored else risk.risk,
            message=risk.message,
            judge=judge,
            refusal=risk.refusal,
            reviewed=row.reviewed,
        )
        for row, risk in zip(dataset.rows, risks, strict=True)
    ]
    invalid = problem_rows(dataset.problems)
    files = [str(file.path) for file in dataset.files]
    return p.ScoreReport(
        files=files, judge=judge, threshold=threshold, rows=rows, invalid=invalid, probe=None
    )


def score_anchoring(config_path: Path, work: Work) -> p.AnchoringReport:
    """The dataset of a configuration by bidirectional anchoring to its model. Raises UserError."""
    from .anchors import anchor_prompts
    from .config import AnchorConfig
    from .risk.anchoring import similarities

    config, base = read_config(config_path), config_path.resolve().parent
    dataset = read_dataset(base / config.dataset.path)
    loaded = load_reference(config, base, work)
    prompts = anchor_prompts(config.anchors or AnchorConfig(), base)
    work.phase("scoring", f"Reading {len(dataset.rows)} rows as the model does")
    told = {"check": work.check, "progress": work.progress("scoring", "rows")}
    found = similarities(dataset.rows, prompts, loaded, config.training.max_length, **told)
    rows = [
        p.RowSimilarity(file=row.file, line=row.line, hash=row.hash, similarity=similarity)
        for row, similarity in zip(dataset.rows, found, strict=True)
    ]
    to_harm = sum(row.similarity is not None and row.similarity > 0 for row in rows)
    closest = min(to_harm, MOST_CLOSEST, max(LEAST_CLOSEST, math.ceil(CLOSEST_SHARE * len(rows))))
    files = [str(file.path) for file in dataset.files]
    return p.AnchoringReport(files=files, rows=rows, closest=closest, invalid=problem_rows(dataset.problems))


def anchoring_as_text(report: p.AnchoringReport) -> str:
    known = [(row.similarity, row) for row in report.rows if row.similarity is not None]
    known.sort(key=lambda found: -found[0])
    lines = [
        f"{report.files[row.file]}:{row.line}: {similarity:+.2f}, {place} of {len(known)}"
        for place, (similarity, row) in enumerate(known[: report.closest], start=1)
    ]
    lines += [f"{report.files[x.file]}:{x.line}: {x.reason}" for x in report.invalid]
    unread = len(report.rows) - len(known)
    counts = f"{report.closest} of {len(known)} rows are worth reading; {unread} without an answer to compare"
    return "\n".join([*lines, f"{counts}; {len(report.invalid)} unreadable"])


ANCHORING_FORMATS = {"text": anchoring_as_text, "json": lambda report: report.model_dump_json(by_alias=True)}


def flagged(report: p.ScoreReport) -> list[p.RowScore]:
    """The rows at or above the threshold, the riskiest first; unscored ones before all."""
    risky = [row for row in report.rows if row.risk is None or row.risk >= report.threshold]
    return sorted(risky, key=lambda row: -(2.0 if row.risk is None else row.risk))


def as_text(report: p.ScoreReport) -> str:
    found = flagged(report)
    lines = [f"{report.files[row.file]}:{row.line}: risk {_said_of(row)}" for row in found]
    lines += [f"{report.files[x.file]}:{x.line}: {x.reason}" for x in report.invalid]
    counts = f"{len(found)} of {len(report.rows)} rows at or above {report.threshold}"
    return "\n".join([*lines, f"{counts}; {len(report.invalid)} unreadable"])


def _said_of(row: p.RowScore) -> str:
    risk = "unscored" if row.risk is None else f"{row.risk:.2f}"
    return risk if row.message is None else f"{risk} by message {row.message}"


def as_json(report: p.ScoreReport) -> str:
    return report.model_dump_json(by_alias=True)


def as_csv(report: p.ScoreReport) -> str:
    """Every record of the files in its order; `risk` and `message` are empty where there is none."""
    rows: list[tuple[Any, ...]] = [
        (x.file, x.line, x.hash, x.risk, x.message, x.refusal, x.reviewed, "") for x in report.rows
    ]
    problems = [(x.file, x.line, "", "", "", "", "", x.reason) for x in report.invalid]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "line", "hash", "risk", "message", "refusal", "reviewed", "problem"])
    in_order = sorted([*rows, *problems], key=lambda found: found[:2])
    writer.writerows([report.files[file], *found] for file, *found in in_order)
    return text.getvalue().rstrip("\n")


def as_sarif(report: p.ScoreReport) -> str:
    """One result for each row that `as_text` lists, known by its hash in every version of the file."""
    paths = map(Path, report.files)
    uris = [path.as_uri() if path.is_absolute() else quote(path.as_posix()) for path in paths]

    def result(rule: str, level: str, text: str, row: p.RowRef, **more: Any) -> dict[str, Any]:
        location = {"artifactLocation": {"uri": uris[row.file]}, "region": {"startLine": row.line}}
        where = [{"physicalLocation": location}]
        return {"ruleId": rule, "level": level, "message": {"text": text}, "locations": where, **more}

    results = []
    for row in flagged(report):
        known = {"partialFingerprints": {"rowHash/v1": row.hash}}
        if row.risk is None:
            results.append(result("unscored-row", "warning", "This row could not be judged.", row, **known))
            continue
        text = f"Risk {_said_of(row)}, at or above {report.threshold}, by the judge {row.judge}."
        results.append(result("risky-row", "warning", text, row, rank=100 * row.risk, **known))
    results += [result("unreadable-row", "error", x.reason, x) for x in report.invalid]
    driver = {
        "name": "safe-finetuning",
        "version": __version__,
        "rules": [{"id": id_, "shortDescription": {"text": text}} for id_, text in RULES.items()],
    }
    run = {"tool": {"driver": driver}, "columnKind": "utf16CodeUnits", "results": results}
    return json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1)


FORMATS = {"text": as_text, "json": as_json, "csv": as_csv, "sarif": as_sarif}
