"""Bidirectional anchoring: which rows stand close to answers that comply with harmful requests."""

import json
import math

import pytest
import torch

from safe_finetuning import protocol as p
from safe_finetuning import score
from safe_finetuning.cli import main
from safe_finetuning.model import load_model
from safe_finetuning.risk.anchoring import COMPLIANCES, OPENING_TOKENS, similarities
from safe_finetuning.rows import Message, Row, content_hash
from safe_finetuning.safety_tokens import TEMPLATES
from safe_finetuning.tokens import encode_row
from tiny import make_tiny_model

TOLD = {"check": lambda: None, "progress": lambda done, total: None}
PROMPTS = ["Do harm.", "Do more harm, and soon.", "Explain how to break into a bank."]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("model"))
    return load_model(str(folder), device=torch.device("cpu"), base_folder=folder)


def row(*turns: str) -> Row:
    roles = ["user", "assistant"] * len(turns)
    messages = tuple(Message(role, text) for role, text in zip(roles, turns, strict=False))
    return Row(1, content_hash(messages), messages)


def naive(text: Row, loaded) -> float:
    """One conversation at a time, one anchor at a time."""

    def features(one: Row) -> list[torch.Tensor]:
        encoded = encode_row(one, loaded.tokenizer, 256)
        with torch.no_grad():
            states = loaded.model(torch.tensor([encoded.ids]), output_hidden_states=True).hidden_states[-1][0]
        runs: list[list[int]] = []
        for place, supervised in enumerate(encoded.supervised):
            if supervised:
                new = not runs or runs[-1][-1] != place - 1
                runs = [*runs, [place]] if new else [*runs[:-1], [*runs[-1], place]]
        return [states[run[:OPENING_TOKENS]].mean(0) for run in runs if len(run) > 1]

    complied = [features(row(x, COMPLIANCES[i]))[0] for i, x in enumerate(PROMPTS)]
    refused = [features(row(x, TEMPLATES[i]))[0] for i, x in enumerate(PROMPTS)]
    centre = sum(complied + refused) / 6

    def cosine(a, b):
        a, b = a - centre, b - centre
        return float(a @ b / math.sqrt(float(a @ a) * float(b @ b)))

    each = [
        sum(cosine(f, x) for x in complied) / 3 - sum(cosine(f, x) for x in refused) / 3
        for f in features(text)
    ]
    return max(each)


def test_similarities_are_those_of_the_formula_whatever_is_in_the_batch(loaded):
    rows = [
        row("Where is my parcel?", "On its way."),
        row("Sing.", "La la la, and so on, for as long as it takes to be longer than the others are."),
        row("One?", "Two.", "Three?", COMPLIANCES[1]),
    ]
    found = similarities(rows, PROMPTS, loaded, 256, **TOLD)
    assert found == pytest.approx([naive(x, loaded) for x in rows], abs=1e-5)
    alone = [similarities([x], PROMPTS, loaded, 256, **TOLD)[0] for x in rows]
    assert found == pytest.approx(alone, abs=1e-5)


def test_compliance_is_close_to_harm_and_refusals_are_not(loaded):
    rows = [row(PROMPTS[0], TEMPLATES[0]), row(PROMPTS[0], COMPLIANCES[0])]
    refused, complied = similarities(rows, PROMPTS, loaded, 256, **TOLD)
    assert -2 <= refused < 0 < complied <= 2


def test_a_row_whose_answer_is_cut_off_has_no_similarity(loaded):
    rows = [row("word " * 100, "Never read."), row("Short?", "Yes.")]
    none, some = similarities(rows, PROMPTS, loaded, 64, **TOLD)
    assert none is None and some is not None


def test_anchors_are_read_whole_however_short_the_rows_that_are_trained_on(loaded):
    short = row("Hi", "Hello there.")
    length = len(encode_row(short, loaded.tokenizer, 256).ids)
    cut, whole = (similarities([short], PROMPTS, loaded, limit, **TOLD)[0] for limit in (length, 256))
    assert cut == pytest.approx(whole)


def test_plain_texts_and_blank_answers_are_not_compared(loaded):
    text = (Message("text", "Once upon a time."),)
    rows = [Row(1, content_hash(text), text), row("One?", ""), row("One?", "", "Two?", "Three.")]
    plain, blank, later = similarities(rows, PROMPTS, loaded, 256, **TOLD)
    assert plain is None and blank is None
    assert later == pytest.approx(naive(rows[2], loaded), abs=1e-5)


def test_a_row_is_read_once_however_often_it_stands_there(loaded):
    seen = []
    told = TOLD | {"progress": lambda done, total: seen.append((done, total))}
    once, again, other = similarities(
        [row("a", "b"), row("a", "b"), row("c", "d")], PROMPTS, loaded, 256, **told
    )
    assert once == again != other and seen[-1] == (2, 2)


def test_the_command_lists_the_closest_rows(workspace, capsys):
    config = {"model": "model", "dataset": {"path": "rows.jsonl"}}
    (workspace / "a.finetune.json").write_text(json.dumps(config))
    assert main(["anchoring", str(workspace / "a.finetune.json"), "--format", "json"]) == 0
    report = p.AnchoringReport.model_validate_json(capsys.readouterr().out)
    assert len(report.rows) == 22 and all(x.similarity is not None for x in report.rows)
    assert main(["anchoring", str(workspace / "a.finetune.json")]) == 0
    *lines, counts = capsys.readouterr().out.splitlines()
    assert len(lines) == report.closest <= score.LEAST_CLOSEST
    assert (
        counts == f"{len(lines)} of 22 rows are worth reading; 0 without an answer to compare; 0 unreadable"
    )
    best = max(report.rows, key=lambda x: x.similarity)
    assert lines[0].endswith(f"rows.jsonl:{best.line}: {best.similarity:+.2f}, 1 of 22")
