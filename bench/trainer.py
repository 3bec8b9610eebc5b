"""What adaptive regularisation costs: time per step and peak memory as ratios to `standard`, in one run.

    npm run bench -- trainer [--quick]

The example model, batches of 8 rows of the example data. The two methods take turns, each turn a process of
its own; ratios are of medians over all steps of a method, memory is the highest of its processes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
WARM_UP_STEPS = 2

# name, method, risky rows in each batch of 8, goals for time and memory (None: measured, no goal)
CASES = [
    ("standard", "standard", 0, None, None),
    ("adaptive, 1 of 8 rows risky", "adaptive", 1, 1.15, 1.05),
    ("adaptive, no row risky", "adaptive", 0, None, None),
    ("adaptive, 8 of 8 rows risky", "adaptive", 8, None, None),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer steps and turns: a smoke test, no figure to quote"
    )
    parser.add_argument("--child", nargs=2, metavar=("METHOD", "RISKY"), help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=10, help="measured steps per turn")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "trainer.json")
    options = parser.parse_args()
    if options.child:
        print(json.dumps(train(options.child[0], int(options.child[1]), options.steps)))
        return 0
    turns, steps = (1, 3) if options.quick else (4, options.steps)
    seconds: dict[str, list[float]] = {}
    memory: dict[str, int] = {}
    for turn in range(turns):
        for name, method, risky, *_ in CASES:
            print(f"turn {turn + 1} of {turns}: {name}", file=sys.stderr, flush=True)
            found = child(method, risky, steps)
            seconds.setdefault(name, []).extend(found["seconds"])
            memory[name] = max(memory.get(name, 0), found["peakBytes"])
    return report(seconds, memory, options.output)


def child(method: str, risky: int, steps: int) -> dict:
    command = [sys.executable, __file__, "--child", method, str(risky), "--steps", str(steps)]
    return json.loads(
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    )


def train(method: str, risky: int, steps: int) -> dict:
    """Trains on batches in file order, the first `risky` rows of each with risk 0.97."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.data import SequentialSampler

    from safe_finetuning.collate import TrainingRow
    from safe_finetuning.config import RunConfig
    from safe_finetuning.model import load_model, resolve_device
    from safe_finetuning.objective import Objective
    from safe_finetuning.prepare import encode_rows
    from safe_finetuning.rows import read_dataset
    from safe_finetuning.run_folder import RunFolder
    from safe_finetuning.trainer import SafeTrainer

    class InOrder(SafeTrainer):
        def _get_train_sampler(self, *_: object) -> SequentialSampler:
            return SequentialSampler(self.train_dataset)

    torch.manual_seed(1)
    loaded = load_model("example", device=resolve_device("auto"), base_folder=ROOT)
    model = get_peft_model(
        loaded.model, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    )
    encoded, _ = encode_rows(read_dataset(ROOT / "examples" / "support.jsonl").rows, loaded.tokenizer, 1024)
    count = 8 * (steps + WARM_UP_STEPS)
    rows = [TrainingRow(encoded[i % len(encoded)], 0.97 if i % 8 < risky else 0.0) for i in range(count)]
    config = RunConfig.model_validate(
        {
            "model": "example",
            "dataset": {"path": "support.jsonl"},
            "method": method,
            "training": {"maxSteps": steps + WARM_UP_STEPS, "batchSize": 8},
            "checkpoints": {"everyMinutes": 60, "atLeast": 1},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        objective = Objective(config, model, rows)
        trainer = InOrder(config, RunFolder(Path(folder)), model, loaded.tokenizer, objective)
        trainer.train()
        events = map(json.loads, (Path(folder) / "events.jsonl").read_text("utf-8").splitlines())
        seconds = [e["stepSeconds"] for e in events if e["type"] == "batch"][WARM_UP_STEPS:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    return {"seconds": seconds, "peakBytes": peak}


def report(seconds: dict[str, list[float]], memory: dict[str, int], output: Path) -> int:
    base_seconds, base_memory = statistics.median(seconds["standard"]), memory["standard"]
    results = []
    print(f"\n{'':<30} {'s/step':>8} {'ratio':>7} {'goal':>7} {'peak GB':>8} {'ratio':>7} {'goal':>7}")
    for name, _, _, time_goal, memory_goal in CASES:
        median = statistics.median(seconds[name])
        time_ratio, memory_ratio = median / base_seconds, memory[name] / base_memory
        goals = [f"≤ {goal}" if goal else "" for goal in (time_goal, memory_goal)]
        print(
            f"{name:<30} {median:8.3f} {time_ratio:7.3f} {goals[0]:>7} "
            f"{memory[name] / 1e9:8.2f} {memory_ratio:7.3f} {goals[1]:>7}"
        )
        for what, value, goal in (("time", time_ratio, time_goal), ("memory", memory_ratio, memory_goal)):
            results.append(
                {
                    "name": f"{name}: {what} / standard",
                    "value": round(value, 4),
                    "unit": "ratio",
                    "goal": goal and f"<= {goal}",
                    "holds": value <= goal if goal else None,
                }
            )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
