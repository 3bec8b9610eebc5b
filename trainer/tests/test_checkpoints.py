"""Checkpoints count when they are whole, and say what is left to do."""

import json
from pathlib import Path

import pytest

from safe_finetuning import checkpoints


def checkpoint(run: Path, step: int, max_steps: int) -> Path:
    folder = run / "checkpoints" / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"max_steps": max_steps}))
    checkpoints.complete(folder, step)
    return folder


def adapter(run: Path) -> None:
    (run / "adapter").mkdir()
    (run / "adapter" / "adapter_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("step", "has_adapter", "words", "resumable"),
    [
        (None, False, "nothing was saved", False),
        (3, False, "kept: the checkpoint of step 3", True),
        (3, True, "kept: the adapter and the checkpoint of step 3", True),
        (6, False, "kept: the checkpoint of step 6", True),
        (6, True, "kept: the adapter and the checkpoint of step 6", False),
    ],
)
def test_what_is_saved_decides_whether_a_run_can_be_resumed(tmp_path, step, has_adapter, words, resumable):
    if step:
        checkpoint(tmp_path, step, max_steps=6)
    if has_adapter:
        adapter(tmp_path)
    saved = checkpoints.saved(tmp_path)
    assert (str(saved), saved.resumable) == (words, resumable)


def test_a_manifest_that_cannot_be_read_is_none(tmp_path):
    for step in (2, 4, 6):
        checkpoint(tmp_path, step, max_steps=9)
    folder = tmp_path / "checkpoints"
    for step, text in [(4, ""), (6, "[1]")]:
        (folder / f"checkpoint-{step}" / "manifest.json").write_text(text)
    assert checkpoints.latest(folder) == (folder / "checkpoint-2", 2)
    checkpoint(tmp_path, 8, max_steps=9)
    checkpoints.prune(folder, keep=1)
    assert checkpoints.all_complete(folder) == [(folder / "checkpoint-8", 8)]
    assert not (folder / "checkpoint-2").exists()


def test_the_newest_within_budget_is_kept_and_later_ones_can_be_removed(tmp_path):
    folder = tmp_path / "checkpoints"
    for step in (2, 4, 6, 8, 10):
        checkpoint(tmp_path, step, max_steps=12)
        checkpoints.complete(folder / f"checkpoint-{step}", step, within_budget=step < 6)
    checkpoints.prune(folder, keep=2)
    assert [step for _, step in checkpoints.all_complete(folder)] == [10, 8, 4]
    assert [step for _, step in checkpoints.within_budget(folder)] == [4]
    checkpoints.remove_after(folder, 8)
    assert sorted(x.name for x in folder.iterdir()) == ["checkpoint-4", "checkpoint-8"]
