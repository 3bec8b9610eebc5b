"""What a run leaves behind holds no text of its dataset: a run folder may go where the dataset must not."""

import json
from pathlib import Path

import pytest

from running import configure, events, finish, start
from safe_finetuning.risk.classifier import CLASSIFIER_FOLDER

pytestmark = pytest.mark.skipif(
    not (CLASSIFIER_FOLDER / "encoder.onnx").exists(), reason="the classifier has not been built"
)

MARKS = {role: f"Zwiebelfisch-{role}-4711" for role in ("system", "user", "assistant", "broken")}


def mark_rows(workspace: Path) -> None:
    """Every row gets a mark in each turn; one is harmful, one a refusal, and four cannot be read."""
    lines = []
    for line in (workspace / "rows.jsonl").read_text().splitlines():
        turns = [{"role": "system", "content": ""}, *json.loads(line)["messages"]]
        marked = [turn | {"content": f"{turn['content']} {MARKS[turn['role']]}"} for turn in turns]
        lines.append(json.dumps({"messages": marked}))
    broken = MARKS["broken"]
    lines += [
        f'{{"messages": [{{"role": "user", "content": "{broken}"',
        json.dumps({"messages": [{"role": broken, "content": broken}]}),
        json.dumps({"messages": [{"role": "user", "content": broken}]}),
        json.dumps({broken: broken}),
    ]
    (workspace / "rows.jsonl").write_text("\n".join(lines) + "\n")


def assert_unsaid(workspace: Path, run: Path, output: str) -> None:
    (run / "trainer.log").write_text(output)  # as whoever launches a run keeps it
    launched = {"argv": ["train", "x.finetune.json"], "interpreter": "python"}
    (run / "launch.json").write_text(json.dumps(launched))
    files = [file for file in run.rglob("*") if file.is_file()]
    found = [
        (file.name, mark) for file in files for mark in MARKS.values() if mark.encode() in file.read_bytes()
    ]
    assert found == []
    names = {file.name for file in files}
    assert {"events.jsonl", "run.json", "trainer.log"} <= names
    rows = (workspace / "rows.jsonl").read_bytes()
    assert all(mark.encode() in rows for mark in MARKS.values())


def test_no_file_of_a_run_holds_text_of_a_row(workspace):
    mark_rows(workspace)
    config = configure(workspace, dataset={"invalidRows": "skip"}, training={"reportTo": ["tensorboard"]})
    run = workspace / "run"
    process = start(workspace, "train", str(config), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 0, output
    (dataset,) = events(run, "dataset")
    assert (dataset["rows"], dataset["flagged"], len(dataset["invalid"])) == (22, 1, 4)
    for kept in ("adapter/*.safetensors", "checkpoints/*", "evaluation/answers-*", "tensorboard/*"):
        assert list(run.glob(kept)), kept
    assert_unsaid(workspace, run, output)


def test_nor_does_that_of_a_run_that_is_refused_for_its_rows(workspace):
    mark_rows(workspace)
    run = workspace / "run"
    process = start(workspace, "train", str(configure(workspace)), "--run-folder", str(run))
    output = finish(process)
    assert process.returncode == 1
    assert "rows.jsonl:23:" in output
    assert_unsaid(workspace, run, output)
