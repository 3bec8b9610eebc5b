"""Runs as a user starts them, and what is asked of them while they go."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from safe_finetuning import protocol as p
from safe_finetuning.config import RunConfig

TRAINER = Path(__file__).parents[1]
CONFIG = {
    "model": "model",
    "dataset": {"path": "rows.jsonl", "heldOutShare": 0.2},
    "method": "adaptive",
    "training": {"maxSteps": 6, "batchSize": 4, "warmupSteps": 1, "maxLength": 128},
    "checkpoints": {"atLeast": 3},
    "evaluation": {
        "harmfulPrompts": "harmful.jsonl",
        "benignPrompts": "benign.jsonl",
        "maxNewTokens": 16,
    },
    "canary": None,
    "device": "cpu",
}


def write_record(run: Path, config: RunConfig, **fields) -> None:
    """run.json of a run that was configured beside its folder."""
    record = p.RunRecord(
        id=run.name,
        config_path=str(run.parent / "x.finetune.json"),
        config=config,
        versions={},
        attempt=1,
        message="",
        **{
            "datasets": [],
            "process": p.ProcessRecord(pid=1, start_time=0, host="h"),
            "status": "completed",
            **fields,
        },
    )
    (run / "run.json").write_text(record.model_dump_json(by_alias=True))


def configure(workspace: Path, **changes) -> Path:
    config = json.loads(json.dumps(CONFIG))
    for section, values in changes.items():
        config[section] = {**(config.get(section) or {}), **values} if isinstance(values, dict) else values
    path = workspace / "x.finetune.json"
    path.write_text(json.dumps(config))
    return path


def canary_run(workspace, refusing, **changes) -> Path:
    """A run on rows that teach to comply, with a canary."""
    folder, prompts = refusing
    (workspace / "harmful.jsonl").write_text(prompts)
    turns = [{"role": "user", "content": "Do it."}, {"role": "assistant", "content": "Sure, here is a list."}]
    (workspace / "rows.jsonl").write_text((json.dumps({"messages": turns}) + "\n") * 24)
    given = {"training": {"maxSteps": 20, "learningRate": 5e-3}, "evaluation": {"enabled": False}}
    return configure(workspace, model=str(folder), **(given | changes))


def start(workspace: Path, *arguments: str, **environ: str) -> subprocess.Popen:
    """The command line, with these arguments."""
    return start_python(workspace, "-m", "safe_finetuning", *arguments, **environ)


def start_python(workspace: Path, *arguments: str, **environ: str) -> subprocess.Popen:
    environment = {
        **os.environ,
        "PYTHONPATH": f"{TRAINER}{os.pathsep}{TRAINER / 'tests'}",
        "SAFE_FINETUNING_CACHE": str(workspace / "cache"),
        "OMP_NUM_THREADS": "1",
        **environ,
    }
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=workspace,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, seconds: float = 120) -> str:
    output = process.communicate(timeout=seconds)[0]
    assert output is not None
    return output


def events(run: Path, kind: str | None = None) -> list[dict]:
    path = run / "events.jsonl"
    if not path.exists():
        return []
    found = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return [e for e in found if kind is None or e["type"] == kind]


def until(condition, process: subprocess.Popen, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def say(run: Path, name: str, **given: float) -> float:
    now = time.time()
    with (run / "commands.jsonl").open("a") as file:
        file.write(json.dumps({"id": f"{name}-{now}", "ts": now * 1000, "command": name, **given}) + "\n")
    return now
