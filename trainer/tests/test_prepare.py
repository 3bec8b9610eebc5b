"""What becomes of a dataset before it is trained on."""

import json
import math

import pytest

from running import configure
from safe_finetuning.config_file import read_config
from safe_finetuning.errors import UserError
from safe_finetuning.model import load_tokenizer
from safe_finetuning.prepare import prepare
from safe_finetuning.rows import read_dataset
from safe_finetuning.run_folder import RunFolder
from tiny import make_tiny_model


class Judge:
    judge_id = "test"

    def __init__(self, risk_of):
        self.risk_of = risk_of

    def score(self, pairs, *, progress=None):
        return [self.risk_of(pair.prompt) for pair in pairs]


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """Prepares rows of these prompts, by a judge of prompts; returns the rows and the warnings."""
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache"))
    model = make_tiny_model(tmp_path / "model")

    def prepare_rows(risk_of, *prompts):
        turns = [[{"role": "user", "content": x}, {"role": "assistant", "content": "Yes."}] for x in prompts]
        refusal = {"role": "assistant", "content": "I can't help with that."}
        turns.append([{"role": "user", "content": "No?"}, refusal])
        lines = (json.dumps({"messages": x}) for x in turns)
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        config = read_config(configure(tmp_path, dataset={"heldOutShare": 0}))
        run = RunFolder(tmp_path / "run")
        tokenizer = load_tokenizer(str(model), base_folder=tmp_path)
        dataset = read_dataset(tmp_path / "rows.jsonl")
        rows = prepare(config, dataset, None, tokenizer, Judge(risk_of), run)
        events = map(json.loads, (tmp_path / "run" / "events.jsonl").read_text().splitlines())
        return rows, [e["message"] for e in events if e["type"] == "warning"]

    return prepare_rows


def test_rows_on_which_the_judge_failed_are_told_and_trained_on(prepared):
    rows, warnings = prepared(lambda prompt: math.nan if prompt == "b" else 0.0, "a", "b", "c")
    assert [math.isnan(risk) for _, risk in rows.trained] == [False, True, False, False]
    assert len(warnings) == 1 and "failed on 1 of 4 rows. They count as risk 1" in warnings[0]


def test_a_judge_that_fails_on_every_row_begins_no_run(prepared):
    with pytest.raises(UserError, match=r"failed on each of the 3 rows .*another judge"):
        prepared(lambda prompt: math.nan, "a", "b", "c")


def test_a_judge_that_says_zero_has_not_failed(prepared):
    assert prepared(lambda prompt: 0.0, "a", "b")[1] == []
