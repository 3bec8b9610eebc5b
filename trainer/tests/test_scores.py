"""What the safety critic keeps of its judgements, and what it never asks the judge."""

import math
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from safe_finetuning.risk import scores
from safe_finetuning.risk.refusal import patterns_digest
from safe_finetuning.risk.scores import ScoreCache, score_rows
from safe_finetuning.rows import Message, Row, content_hash

REFUSAL = "I'm sorry, but I can't help with that."


class Judge:
    """Knows a few texts by heart; fails on all others."""

    judge_id = "by-heart@1"

    def __init__(self, **risks):
        self.risks = risks
        self.asked = []

    def score(self, pairs, *, progress=None):
        prompts = [pair.prompt for pair in pairs]
        self.asked += prompts
        return [next((r for word, r in self.risks.items() if word in p), math.nan) for p in prompts]


def row(*turns):
    roles = ("user", "assistant")
    messages = tuple(Message(roles[i % 2], text) for i, text in enumerate(turns))
    return Row(1, content_hash(messages), messages)


@pytest.fixture
def cache(tmp_path):
    opened = ScoreCache(tmp_path / "scores.sqlite")
    yield opened
    opened.close()


def test_a_conversation_is_as_risky_as_its_worst_pair():
    [risk] = score_rows([row("mild", "yes", "grave", "yes", "mild", "no")], Judge(mild=0.2, grave=0.9))
    assert (risk.risk, risk.refusal, risk.unscored) == (0.9, False, False)


def test_the_message_is_that_of_the_first_worst_pair_and_of_a_failure_before_all():
    judge = Judge(mild=0.2, grave=0.9)
    rows = [
        row("mild", "yes", "grave", "yes", "mild", "no"),
        row("grave", "yes", "grave", "no"),
        row("grave", REFUSAL, "mild", "yes"),
        row("grave", REFUSAL, "grave", REFUSAL),
        row("grave", "yes", "unknown", "yes", "grave", "no"),
        replace(row("mild", "yes", "grave", "yes"), reviewed=True),
    ]
    assert [risk.message for risk in score_rows(rows, judge)] == [3, 1, 3, 1, 3, None]
    messages = (Message("system", "Be kind."), Message("user", " "), Message("assistant", "grave"))
    [without_prompt] = score_rows([Row(1, content_hash(messages), messages)], Judge())
    assert without_prompt.message == 3


def test_of_what_was_kept_without_the_message_only_conversations_are_judged_again(tmp_path):
    single, several = row("mild", "yes"), row("mild", "yes", "grave", "yes")
    with closing(sqlite3.connect(tmp_path / "scores.sqlite")) as old, old:
        old.execute("CREATE TABLE scores (judge TEXT, hash TEXT, risk REAL, PRIMARY KEY (judge, hash))")
        key = f"{Judge.judge_id}+{patterns_digest()}"
        old.executemany("INSERT INTO scores VALUES (?, ?, 0.5)", [(key, single.hash), (key, several.hash)])
    judge = Judge(mild=0.2, grave=0.9)
    for _ in range(2):
        with closing(ScoreCache(tmp_path / "scores.sqlite")) as cache:
            found = score_rows([single, several], judge, cache=cache)
        assert [(risk.risk, risk.message) for risk in found] == [(0.5, 1), (0.9, 3)]
    assert judge.asked == ["mild", "grave"]


def test_a_pair_answered_by_a_refusal_is_never_judged():
    judge = Judge(mild=0.2)
    alone, mixed = score_rows([row("grave", REFUSAL), row("grave", REFUSAL, "mild", "yes")], judge)
    assert (alone.risk, alone.refusal) == (0.0, True)
    assert (mixed.risk, mixed.refusal) == (0.2, False)
    assert not any("grave" in text for text in judge.asked)


def test_each_content_is_judged_once(cache):
    rows = [row("mild", "yes"), row("mild", "yes"), row("grave", "yes")]
    first, second = Judge(mild=0.2, grave=0.9), Judge()
    assert [r.risk for r in score_rows(rows, first, cache=cache)] == [0.2, 0.2, 0.9]
    assert len(first.asked) == 2
    assert [r.risk for r in score_rows(rows, second, cache=cache)] == [0.2, 0.2, 0.9]
    assert second.asked == []


def test_a_failure_is_unscored_and_asked_again(cache):
    conversation = row("mild", "yes", "unknown", "yes")
    [failed] = score_rows([conversation], Judge(mild=0.2), cache=cache)
    assert failed.unscored
    [judged] = score_rows([conversation], Judge(mild=0.2, unknown=0.6), cache=cache)
    assert judged.risk == 0.6


def test_other_patterns_of_refusals_ask_anew(cache, monkeypatch):
    score_rows([row("grave", "yes")], Judge(grave=0.1), cache=cache)
    monkeypatch.setattr(scores, "patterns_digest", lambda: "other")
    [judged] = score_rows([row("grave", "yes")], Judge(grave=0.9), cache=cache)
    assert judged.risk == 0.9


def test_a_damaged_cache_costs_time_and_nothing_else(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path))
    monkeypatch.setattr(scores, "Critic", lambda: Judge(grave=0.9))
    (tmp_path / "scores.sqlite").write_bytes(b"this is no database, and longer than a header" * 40)
    _, [judged] = scores.judge_rows([row("grave", "yes")])
    assert judged.risk == 0.9
    assert "scores.sqlite" in caplog.text and "judged anew" in caplog.text


def test_a_cache_that_breaks_later_costs_no_more(cache, caplog):
    cache._db.execute("DROP TABLE scores")
    [judged] = score_rows([row("grave", "yes")], Judge(grave=0.9), cache=cache)
    assert judged.risk == 0.9
    assert "cannot be read" in caplog.text and "cannot be kept" in caplog.text
