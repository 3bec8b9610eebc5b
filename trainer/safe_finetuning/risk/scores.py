"""The safety critic's view of a dataset: one risk per row, judged once and kept."""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..cache import cache_folder
from ..rows import Pair, Row
from .classifier import Classifier, pair_text
from .refusal import is_refusal, patterns_digest

_log = logging.getLogger(__name__)

ROWS_AT_A_TIME = 1024  # then their risks are kept, whatever becomes of the rest


class Judge(Protocol):
    """Judges training pairs; NaN where it fails on one. `judge_id` names what its risks are exactly."""

    @property
    def judge_id(self) -> str: ...

    def score(
        self, pairs: Sequence[Pair], *, progress: Callable[[int, int], None] | None = None
    ) -> list[float]: ...


class Critic:
    """The bundled classifier as a judge of prompt and answer."""

    def __init__(self) -> None:
        self.classifier = Classifier()
        self.judge_id = self.classifier.judge_id

    def score(
        self, pairs: Sequence[Pair], *, progress: Callable[[int, int], None] | None = None
    ) -> list[float]:
        return self.classifier.score([pair_text(p.prompt, p.answer) for p in pairs], progress=progress)


@dataclass(frozen=True)
class RowRisk:
    """A row's risk in [0, 1], NaN where the judge failed, and whether every answer is a refusal.

    A row that was reviewed has the risk 0, like an ordinary one.
    """

    risk: float
    refusal: bool

    @property
    def unscored(self) -> bool:
        return math.isnan(self.risk)


class ScoreCache:
    """Risks by judge and content hash in one SQLite file, shared by all runs of the user."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=10)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS scores (judge TEXT, hash TEXT, risk REAL, PRIMARY KEY (judge, hash))"
        )

    def get(self, judge: str) -> dict[str, float]:
        return dict(self._db.execute("SELECT hash, risk FROM scores WHERE judge = ?", (judge,)))

    def put(self, judge: str, risks: dict[str, float]) -> None:
        try:
            with self._db:
                self._db.executemany(
                    "INSERT OR REPLACE INTO scores VALUES (?, ?, ?)",
                    [(judge, h, r) for h, r in risks.items()],
                )
        except sqlite3.Error as error:  # a full disk, a second process that holds it for long
            _log.warning("Scores cannot be kept (%s): rows are judged anew the next time.", error)

    def close(self) -> None:
        self._db.close()


def score_rows(
    rows: Sequence[Row],
    judge: Judge,
    *,
    cache: ScoreCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[RowRisk]:
    """The risk of each row: the highest over its training pairs.

    A pair whose answer is a refusal scores 0 whatever its prompt: it is safety data. Only rows that were not
    reviewed and that the cache does not know are judged; failures are not kept.
    """
    key = f"{judge.judge_id}+{patterns_digest()}"
    known = cache.get(key) if cache else {}
    unknown = list({row.hash: row for row in rows if row.hash not in known and not row.reviewed}.values())
    for start in range(0, len(unknown), ROWS_AT_A_TIME):
        judged = unknown[start : start + ROWS_AT_A_TIME]
        known |= _risks(judged, judge, _shifted(progress, start, len(unknown)))
        if cache:
            cache.put(key, {r.hash: known[r.hash] for r in judged if not math.isnan(known[r.hash])})
    return [
        RowRisk(
            0.0 if row.reviewed else known[row.hash], all(is_refusal(pair.answer) for pair in row.pairs())
        )
        for row in rows
    ]


def _risks(
    rows: Sequence[Row], judge: Judge, progress: Callable[[int, int], None] | None
) -> dict[str, float]:
    """The risk of each row by its hash."""
    risks = {row.hash: 0.0 for row in rows}
    asked = [(row.hash, pair) for row in rows for pair in row.pairs() if not is_refusal(pair.answer)]
    scores = judge.score([pair for _, pair in asked], progress=progress)
    for (owner, _), score in zip(asked, scores, strict=True):
        risks[owner] = math.nan if math.isnan(score) else max(risks[owner], score)  # NaN stays
    return risks


def _shifted(
    progress: Callable[[int, int], None] | None, start: int, total: int
) -> Callable[[int, int], None] | None:
    """Progress of a part, in rows, as that of the whole from `start` on."""
    if progress is None:
        return None
    return lambda done, of: progress(start + done * min(ROWS_AT_A_TIME, total - start) // max(of, 1), total)


def judge_rows(
    rows: Sequence[Row],
    judge: Judge | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[str, list[RowRisk]]:
    """The judge's identity and its risk of each row; by default the critic's. No row is judged twice."""
    judge = judge or Critic()
    file = cache_folder() / "scores.sqlite"
    try:
        cache = ScoreCache(file)
    except (sqlite3.Error, OSError) as error:  # it only saves time
        _log.warning("%s cannot be used (%s): rows are judged anew. Delete it to mend this.", file, error)
        return judge.judge_id, score_rows(rows, judge, progress=progress)
    try:
        return judge.judge_id, score_rows(rows, judge, cache=cache, progress=progress)
    finally:
        cache.close()
