"""The safety critic's view of a dataset: one risk per row, judged once and kept."""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ..cache import cache_folder
from ..rows import Pair, Row
from .classifier import Classifier, pair_text
from .refusal import is_refusal, patterns_digest

_log = logging.getLogger(__name__)

ROWS_AT_A_TIME = 1024  # then their risks are kept, whatever becomes of the rest


class Ended(Exception):
    """Judging has ended before its end, by `cause`; `risks` are those known by then, and NaN."""

    def __init__(self, risks: list[float], cause: BaseException) -> None:
        super().__init__(str(cause))
        self.risks, self.cause = risks, cause


class Judge(Protocol):
    """Judges training pairs; NaN where it fails on one. `judge_id` names what its risks are exactly.

    A judge that is paid for raises `Ended` instead of what ends it.
    """

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
    """A row's risk in [0, 1], NaN where the judge failed, whether every answer is a refusal, and the number,
    from 1, of the message that the risk is about.

    A row that was reviewed has the risk 0, like an ordinary one, and that is about no message.
    """

    risk: float
    refusal: bool
    message: int | None

    @property
    def unscored(self) -> bool:
        return math.isnan(self.risk)


class Judged(NamedTuple):
    """What a judge has said of a row, as in `RowRisk`; versions before this one did not keep the message."""

    risk: float
    message: int | None


class ScoreCache:
    """What judges have said, by content hash, in one SQLite file, shared by all runs of the user."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=10)
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS scores "
            "(judge TEXT, hash TEXT, risk REAL, message INTEGER, PRIMARY KEY (judge, hash))"
        )
        if not self._has_messages():
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")  # of several processes one adds them
                if not self._has_messages():
                    self._db.execute("ALTER TABLE scores ADD COLUMN message INTEGER")

    def _has_messages(self) -> bool:
        return any(name == "message" for _, name, *_ in self._db.execute("PRAGMA table_info(scores)"))

    def get(self, judge: str) -> dict[str, Judged]:
        try:
            found = self._db.execute("SELECT hash, risk, message FROM scores WHERE judge = ?", (judge,))
            return {hash_: Judged(risk, message) for hash_, risk, message in found}
        except sqlite3.Error as error:  # a damaged page, say
            _log.warning("Scores that were kept cannot be read (%s): rows are judged anew.", error)
            return {}

    def put(self, judge: str, rows: dict[str, Judged]) -> None:
        try:
            with self._db:
                self._db.executemany(
                    "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)",
                    [(judge, hash_, *judged) for hash_, judged in rows.items()],
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
    reviewed and that the cache does not know are judged, or of which it does not know which message is the
    worst of several; failures are not kept.
    """
    key = f"{judge.judge_id}+{patterns_digest()}"
    kept = cache.get(key) if cache else {}
    known = {row.hash: said for row in rows if (said := _completed(kept.get(row.hash), row))}
    unknown = list({row.hash: row for row in rows if row.hash not in known and not row.reviewed}.values())
    for start in range(0, len(unknown), ROWS_AT_A_TIME):
        judged, ended = _risks(
            unknown[start : start + ROWS_AT_A_TIME], judge, _shifted(progress, start, len(unknown))
        )
        if cache:
            cache.put(key, {hash_: said for hash_, said in judged.items() if not math.isnan(said.risk)})
        if ended:
            raise ended
        known |= judged
    reviewed = Judged(0.0, None)
    return [
        RowRisk(risk, all(is_refusal(pair.answer) for pair in row.pairs()), message)
        for row in rows
        for risk, message in [reviewed if row.reviewed else known[row.hash]]
    ]


def _completed(judged: Judged | None, row: Row) -> Judged | None:
    """With the message, where it can only be one."""
    if judged is None or judged.message is not None:
        return judged
    messages = {pair.message for pair in row.pairs()}
    return Judged(judged.risk, messages.pop()) if len(messages) == 1 else None


def _risks(
    rows: Sequence[Row], judge: Judge, progress: Callable[[int, int], None] | None
) -> tuple[dict[str, Judged], BaseException | None]:
    """What the judge says of each row, by its hash: of the first of its worst pairs; a failure is worst.
    And what has ended it, if it did not come to an end."""
    pairs = [(row.hash, pair, is_refusal(pair.answer)) for row in rows for pair in row.pairs()]
    ended = None
    try:
        risks = judge.score([pair for _, pair, refuses in pairs if not refuses], progress=progress)
    except Ended as early:
        risks, ended = early.risks, early.cause
    scores = iter(risks)
    found: dict[str, list[Judged]] = {}
    for owner, pair, refuses in pairs:
        found.setdefault(owner, []).append(Judged(0.0 if refuses else next(scores), pair.message))
    worst_of = {owner: max(said, key=lambda x: _gravity(x.risk)) for owner, said in found.items()}
    return worst_of, ended


def worst(risks: Iterable[float]) -> float:
    """The gravest of the risks of one and the same; NaN, a failure of its judge, is graver than any."""
    return max(risks, key=_gravity)


def _gravity(risk: float) -> float:
    return math.inf if math.isnan(risk) else risk


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
