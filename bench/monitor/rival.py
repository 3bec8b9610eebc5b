"""TensorBoard on a run as long as the monitor's: how long until it can show all of it, in how much memory.

What it is given is as many numbers of as many steps, in its own event files.  python rival.py STEPS FOLDER
"""

import json
import random
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import psutil
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.summary.writer.record_writer import RecordWriter

TAGS = ("nll", "kl", "total", "risk_mean", "risk_max", "beta_mean", "beta_max", "learning_rate", "grad_norm")
TAGS += ("tokens_per_second", "step_seconds", "memory", "epoch", "canary")
MOST_SECONDS = 600


def write(folder: Path, steps: int) -> None:
    folder.mkdir(parents=True)
    with (folder / "events.out.tfevents.1700000000.bench").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=1.7e9, file_version="brain.Event:2").SerializeToString())
        template = Event()
        values = [template.summary.value.add(tag=tag) for tag in TAGS]
        for step in range(1, steps + 1):
            template.wall_time, template.step = 1.7e9 + step / 2, step
            for value in values:
                value.simple_value = random.random()
            writer.write(template.SerializeToString())


def measure(logs: Path, steps: int) -> dict[str, float]:
    """From its start to its answer with the last step, by the address that its page asks."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout
        address = next(url for line in process.stdout if (url := address_in(line)))
        found, peak = {}, 0.0
        while time.perf_counter() - began < MOST_SECONDS:
            peak = max(peak, memory_of(process.pid))
            last = last_step(address)
            if last:
                found.setdefault("firstSeconds", time.perf_counter() - began)
            if last == steps:
                return found | {"seconds": time.perf_counter() - began, "megabytes": peak / 1e6}
            time.sleep(0.1)
        raise TimeoutError(f"TensorBoard has not read {steps} steps after {MOST_SECONDS} s")
    finally:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()


def address_in(line: str) -> str | None:
    found = line.partition("http://")[2].split("/")[0]
    return f"http://localhost:{found.rpartition(':')[2]}" if found else None


def last_step(address: str) -> int | None:
    asked = urllib.parse.urlencode({"requests": json.dumps([{"plugin": "scalars", "tag": TAGS[0]}])})
    path = "/experiment/defaultExperimentId/data/plugin/timeseries/timeSeries"
    try:
        with urllib.request.urlopen(address + path, data=asked.encode(), timeout=60) as answer:
            (series,) = json.load(answer)
    except OSError:
        return None  # not yet listening
    runs = series.get("runToSeries") or {}
    return max((points[-1]["step"] for points in runs.values() if points), default=None)


def memory_of(pid: int) -> float:
    own = psutil.Process(pid)
    return sum(process.memory_info().rss for process in [own, *own.children(recursive=True)])


if __name__ == "__main__":
    steps, folder = int(sys.argv[1]), Path(sys.argv[2])
    write(folder / "run", steps)
    size = sum(file.stat().st_size for file in (folder / "run").iterdir())
    print(json.dumps(measure(folder, steps) | {"bytes": size}))
