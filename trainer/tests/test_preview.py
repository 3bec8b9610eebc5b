"""What a preview says of rows and of a run: that it is what training does."""

import json

import pytest
from test_tokens import CONVERSATION, TEMPLATES

from safe_finetuning.cli import main
from safe_finetuning.collate import Collator, TrainingRow
from safe_finetuning.preview import preview, row_tokens
from safe_finetuning.rows import Message, Row
from safe_finetuning.supervised_logits import IGNORED
from safe_finetuning.tokens import encode_row
from tiny import make_tiny_tokenizer


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The command sets it for its own process, which is this one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def write(folder, model, rows, **settings):
    lines = (
        json.dumps({"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]})
        for a, b in rows
    )
    (folder / "rows.jsonl").write_text("\n".join(lines), "utf-8")
    config = {"model": str(model), "dataset": {"path": "rows.jsonl"}, "method": "adaptive", **settings}
    path = folder / "x.finetune.json"
    path.write_text(json.dumps(config))
    return path


ROWS = [(f"Where is parcel {i}?", "On its way. " * (i + 1)) for i in range(20)]


def flags(shown):
    return [piece.trained for piece in shown.pieces for _ in range(piece.tokens)]


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("limit", [512, 20])
def test_pieces_are_the_rendered_text_and_their_flags_the_labels(name, limit):
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = TEMPLATES[name]
    row = Row(7, "0" * 16, CONVERSATION)
    shown = row_tokens(row, tokenizer, limit)
    encoded = encode_row(row, tokenizer, limit)
    labels = Collator(0)([(0, TrainingRow(encoded, 0.0))])["labels"][0]
    assert flags(shown) == (labels != IGNORED).tolist()
    assert (shown.line, shown.trained, shown.truncated) == (7, encoded.n_supervised, limit == 20)
    text = "".join(piece.text for piece in shown.pieces)
    messages = [{"role": m.role, "content": m.content} for m in CONVERSATION]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    assert whole.startswith(text) and "\ufffd" not in text
    assert shown.truncated or text == whole


@pytest.mark.parametrize("limit", range(8, 40))
def test_a_cut_through_an_emoji_shows_no_half_of_it(limit):
    turns = (Message("user", "👩‍🚀?"), Message("assistant", "📦👍🏽 naïve 日本 \ufffd."))
    shown = row_tokens(Row(1, "0" * 16, turns), make_tiny_tokenizer(), limit)
    assert sum(piece.tokens for piece in shown.pieces) == min(limit, shown.tokens)
    rendered = (
        "<|im_start|>user\n👩‍🚀?<|im_end|>\n<|im_start|>assistant\n📦👍🏽 naïve 日本 \ufffd.<|im_end|>\n"
    )
    assert rendered.startswith("".join(piece.text for piece in shown.pieces))


def test_a_plain_text_is_trained_but_for_its_first_token():
    shown = row_tokens(Row(1, "0" * 16, (Message("text", "Once upon."),)), make_tiny_tokenizer(), 512)
    assert flags(shown) == [False, *[True] * (shown.tokens - 1)]


def test_a_row_that_is_not_trained_on_says_why(tmp_path, model):
    path = write(tmp_path, model, [("long " * 100, "Short."), *ROWS], training={"maxLength": 40})
    report = preview(path)
    assert "within the first 40 tokens" in report.rows[0].problem and len(report.rows) == 5
    assert report.rows[0].truncated and report.statistics.untrained > 0


def test_rows_are_named_by_line_or_hash(tmp_path, model):
    path = write(tmp_path, model, ROWS)
    first = preview(path, 1).rows[0]
    third = preview(path, chosen=["3"]).rows
    assert [row.line for row in third] == [3]
    assert preview(path, chosen=[third[0].hash, "1"]).rows == [third[0], first]


def test_the_figures_are_those_of_the_run(tmp_path, model):
    training = {"batchSize": 4, "epochs": 3, "maxLength": 64}
    path = write(tmp_path, model, ROWS, training=training, dataset={"path": "rows.jsonl", "heldOutShare": 0})
    report = preview(path, 20)
    found = report.statistics
    lengths = sorted(row.tokens for row in report.rows)
    assert (found.rows, found.looked_at, found.steps) == (20, 20, 15)
    assert (found.median, found.p95, found.longest) == (lengths[9], lengths[18], lengths[-1])
    assert found.truncated == sum(length > 64 for length in lengths) / 20 > 0
    assert found.trained_tokens == 3 * sum(row.trained for row in report.rows)


def test_a_large_dataset_is_sampled_and_counted_whole(tmp_path, model, monkeypatch):
    monkeypatch.setattr("safe_finetuning.preview.SAMPLE_ROWS", 10)
    path = write(tmp_path, model, ROWS, dataset={"path": "rows.jsonl", "heldOutShare": 0})
    found = preview(path).statistics
    assert (found.rows, found.looked_at, found.steps) == (20, 10, 6)


def test_an_estimate_says_what_it_rests_on(tmp_path, model):
    cost = preview(write(tmp_path, model, ROWS, device="cpu")).cost
    assert cost.seconds > 0 and not cost.measured and cost.basis.startswith("Computed")
    assert cost.memory_bytes == sum(cost.parts.model_dump().values())
    whole = preview(write(tmp_path, model, ROWS, device="cpu", lora=None, method="standard")).cost
    assert whole.parts.optimiser > cost.parts.optimiser


@pytest.mark.parametrize("settings", [{"method": "recommended"}, {"method": "standard", "lora": None}])
def test_a_measurement_makes_steps_and_leaves_nothing_behind(tmp_path, model, capsys, settings):
    training = {"batchSize": 4, "microBatchSize": 2}
    path = write(tmp_path, model, ROWS, device="cpu", training=training, **settings)
    before = sorted(tmp_path.iterdir())
    assert main(["preview", str(path), "--rows", "0", "--measure"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    assert report["cost"]["measured"] and report["cost"]["seconds"] > 0 and report["rows"] == []
    assert "3 of 3 steps" in said.err
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_wrong_is_said_as_before_a_run(tmp_path, model, capsys):
    path = write(tmp_path, "no/model", ROWS)
    assert main(["preview", str(path)]) == 1
    report = json.loads(capsys.readouterr().out)
    (check,) = [check for check in report["checks"] if check["status"] == "error"]
    assert check["id"] == "model" and "nothing is downloaded" in check["message"]
    assert report["rows"] == [] and report["cost"] is None
    config = preview(write(tmp_path, model, ROWS, lorra={})).checks
    assert [check.status for check in config] == ["error"]
