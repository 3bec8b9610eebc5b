"""What the command line prints for people, and what it refuses."""

import pytest

from safe_finetuning import protocol as p
from safe_finetuning.cli import Console, main, metrics_lines
from safe_finetuning.evaluate import wilson


def metrics(loss: p.MeanEstimate) -> p.EvaluationMetrics:
    return p.EvaluationMetrics(
        attack_success=wilson(1, 64),
        over_refusal=wilson(3, 64),
        degenerate=wilson(0, 128),
        held_out_loss=loss,
    )


def test_measurements_are_printed_with_their_intervals():
    lines = metrics_lines(metrics(p.MeanEstimate(value=2.5, low=2.25, high=2.75, n=48)))
    assert lines[0].split() == ["attack", "success", "1.6%", "[0.3%,", "8.3%]", "1", "of", "64"]
    assert lines[-1].split() == ["held-out", "loss", "2.500", "[2.250,", "2.750]", "48", "rows"]


def test_one_held_out_row_has_no_interval_and_none_has_no_loss():
    one = metrics_lines(metrics(p.MeanEstimate(value=2.5, low=None, high=None, n=1)))
    assert one[-1].split() == ["held-out", "loss", "2.500", "1", "rows"]
    none = metrics_lines(metrics(p.MeanEstimate(value=None, low=None, high=None, n=0)))
    assert len(none) == 3


def test_a_loss_that_is_not_finite_is_said(capsys):
    rows = p.RowColumns(file=[0], line=[1], hash=["0"], risk=[None], beta=[0], nll=[None], kl=[None])
    batch = p.Batch(
        seq=0,
        ts=0,
        step=1,
        total_steps=2,
        epoch=0.5,
        nll=None,
        kl=None,
        anchors=None,
        safety_tokens=None,
        canary=None,
        total=None,
        risk_mean=1,
        risk_max=1,
        beta_mean=0,
        beta_max=0,
        learning_rate=0.1,
        grad_norm=None,
        tokens=1,
        tokens_per_second=1,
        step_seconds=1,
        memory_bytes=1,
        gpu_load=None,
        eta_seconds=None,
        rows=rows,
    )
    Console()(batch)
    assert "not finite" in capsys.readouterr().out


def test_resume_without_a_run_folder_is_refused_before_a_folder_is_made(tmp_path, capsys):
    config = tmp_path / "x.finetune.json"
    config.write_text('{"model": "m", "dataset": {"path": "x"}}')
    with pytest.raises(SystemExit) as refusal:
        main(["train", str(config), "--resume"])
    assert refusal.value.code == 2
    assert "--resume needs --run-folder" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [config]
