"""Measured cells that are kept: a cell is one JSON file, made again only when it would come out differently.

What a cell depends on is its settings, its files (data, model, prompts: by content) and what the trainer
does. The latter is not the text of its modules, which changes with every rename, but a trace: the losses of
a few steps of a tiny model and its answers. A cell whose trace is no longer that of the trainer is made anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TRAINER = ROOT / "trainer" / "safe_finetuning"
TRACE_ROWS, TRACE_STEPS = 40, 6
TOLERANCE = 1e-3  # relative: processors and thread counts round differently


def measured(
    path: Path, settings: dict[str, Any], files: Iterable[Path], make: Callable[[], dict], rows: Any = None
) -> dict:
    """The cell at `path`, made by `make` unless it is there and would come out the same.

    `settings` is the run configuration as JSON but for its paths; what it reads is among `files`, or is the
    JSON value `rows`.
    """
    depends = {"settings": settings, "data": data_of(files, rows), "trace": trace(settings)}
    if path.exists():
        then = json.loads(path.read_text("utf-8"))
        unchanged = all(then["depends"].get(name) == depends[name] for name in ("settings", "data"))
        if unchanged and same(then["depends"]["trace"], depends["trace"]):
            return then["found"]
    found = make()
    if digest(TRAINER.rglob("*.py")) != AT_FIRST:
        raise RuntimeError(
            "The trainer was changed while cells were measured: which one made them? Start again."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    text = json.dumps({"depends": depends, "found": found}, indent=1, ensure_ascii=False)
    beside.write_text(text + "\n", "utf-8")
    beside.replace(path)
    return found


def kept(path: Path) -> dict[str, Any] | None:
    """The cell at `path` as it was measured, if there is one."""
    return json.loads(path.read_text("utf-8"))["found"] if path.exists() else None


def is_outdated(path: Path, files: Iterable[Path], rows: Any = None) -> bool:
    """Whether what the cell at `path` was made of has changed since; its trace is not looked at."""
    return json.loads(path.read_text("utf-8"))["depends"]["data"] != data_of(files, rows)


def data_of(files: Iterable[Path], rows: Any) -> str:
    return hashlib.sha256((digest(files) + json.dumps(rows)).encode()).hexdigest()[:16]


def digest(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for file in sorted(files, key=lambda file: (file.name, file.parent.name)):  # wherever the project lies
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()[:16]


def same(then: dict[str, Any], now: dict[str, Any]) -> bool:
    losses = zip(then["losses"], now["losses"], strict=False)
    return (
        then["answers"] == now["answers"]
        and len(then["losses"]) == len(now["losses"])
        and all(abs(a - b) <= TOLERANCE * abs(b) for a, b in losses)
    )


def judge_of(config: dict[str, Any]) -> list[Path]:
    """The files of the classifier, where it judges the rows of a run."""
    judged = config["method"] in ("adaptive", "recommended", "filter") and "risk" not in config
    return [TRAINER / "classifier" / name for name in ("head.json", "first_stage.json")] if judged else []


AT_FIRST = digest(TRAINER.rglob("*.py"))


def trace(settings: dict[str, Any]) -> dict[str, Any]:
    """What the trainer does with these settings on a tiny model and a part of the example's rows."""
    own = {"maxSteps": TRACE_STEPS, "batchSize": 4, "learningRate": 0.01, "warmupSteps": 0, "seed": 1}
    training = {**settings.get("training", {}), **own, "epochs": 1}  # `maxSteps` comes first
    config = settings | {
        "dataset": {"path": "rows.jsonl", "heldOutShare": 0},
        "training": training,
        "evaluation": {"enabled": False},
    }
    return {"losses": traced_losses(json.dumps(config, sort_keys=True)), "answers": answers()}


@cache
def traced_losses(config: str) -> list[float]:
    lines = (ROOT / "examples" / "support.jsonl").read_text("utf-8").splitlines()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows.jsonl").write_text("\n".join(lines[:TRACE_ROWS]) + "\n", "utf-8")
        complete = json.loads(config) | {"model": str(tiny_model())}
        (folder / "run.finetune.json").write_text(json.dumps(complete), "utf-8")
        batches = train(folder / "run.finetune.json", folder / "run", cache=folder / "cache")
    return [batch["total"] for batch in batches]


def train(config: Path, run: Path, cache: Path | None = None) -> list[dict[str, Any]]:
    """One run by the command line, after one that trains its probe if it asks for one; its `batch` events."""
    run.mkdir(exist_ok=True)
    commands = [["train", str(config), "--run-folder", str(run)]]
    if json.loads(config.read_text("utf-8")).get("risk", {}).get("source") == "probe":
        commands.insert(0, ["probe", str(config)])
    environment = os.environ | ({"SAFE_FINETUNING_CACHE": str(cache)} if cache else {})
    for command in commands:
        command = [sys.executable, "-m", "safe_finetuning", *command]
        with (run / "trainer.log").open("w") as log:
            ended = subprocess.run(command, stdout=log, stderr=log, env=environment)
        if ended.returncode:
            raise RuntimeError(f"{config} failed:\n{(run / 'trainer.log').read_text('utf-8')}")
    events = map(json.loads, (run / "events.jsonl").read_text("utf-8").splitlines())
    return [event for event in events if event["type"] == "batch"]


@contextmanager
def trained(
    rows: list[dict[str, Any]], config: dict[str, Any]
) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """The adapter of a run on `rows`, in an order of its seed, and its `batch` events."""
    shuffled = [*rows]
    random.Random(config["training"]["seed"]).shuffle(shuffled)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rows.jsonl").write_text("".join(json.dumps(x) + "\n" for x in shuffled), "utf-8")
        dataset = {"path": "rows.jsonl", "heldOutShare": 0}
        complete = {"canary": None} | config
        complete |= {"model": "example", "dataset": dataset, "evaluation": {"enabled": False}}
        (folder / "run.finetune.json").write_text(json.dumps(complete), "utf-8")
        batches = train(folder / "run.finetune.json", folder / "run")
        yield folder / "run" / "adapter", batches


@cache
def tiny_model() -> Path:
    """The tests' random model, taught to refuse, so that it has something to be anchored to."""
    sys.path.append(str(ROOT / "trainer" / "tests"))
    from safe_finetuning.anchors import PROMPTS
    from safe_finetuning.evaluate import read_prompts
    from tiny import make_tiny_model, teach_refusal

    folder = Path(tempfile.mkdtemp(prefix="safe-finetuning-trace-"))
    make_tiny_model(folder)
    teach_refusal(folder, read_prompts(PROMPTS))
    return folder


@cache
def answers() -> str:
    """How the evaluation generates and judges."""
    import torch

    from safe_finetuning.evaluate import generate_answers, is_degenerate
    from safe_finetuning.model import load_model
    from safe_finetuning.risk.refusal import is_refusal

    loaded = load_model(str(tiny_model()), device=torch.device("cpu"), base_folder=ROOT)
    prompts = ["How do I pick a lock?", "Where is my parcel?", "x" * 200]
    said = generate_answers(loaded.model, loaded.tokenizer, prompts, max_new_tokens=16)
    judged = [(text, is_refusal(text), is_degenerate(text)) for text in [*said, "a a a a", "Sure, here is"]]
    return hashlib.sha256(json.dumps(judged).encode()).hexdigest()[:16]
