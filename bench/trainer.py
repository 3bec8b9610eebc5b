"""What the methods cost: time per step and peak memory as ratios to `standard`, in one run.

    npm run bench -- trainer [--quick]

The example model, batches of 8 rows of the example data. Each case is a process, beside one of `standard`:
the two train step by step in turns, so that both meet the same machine, and its ratio is the median over
pairs of steps. rivals.py has what is compared with. `first` is an epoch in which the reference is asked about
each row for the first time, `later` one in which all is kept.
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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from page import update_section
from rivals import READY

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

BENCH_PYTHON = ROOT / "build" / "bench-env" / "bin" / "python"
BATCH_ROWS, WARM_UP_STEPS = 8, 1
STEPS, QUICK_STEPS, CANARIES = 12, 2, 7
FOUND = "found: "  # what the line with a process's figures begins with
MOST_CACHE_ERROR = 0.01
MOST_CANARY_TIME = 0.03


class Case(NamedTuple):
    """`risky` of every eight rows have risk 0.97. `goals`: most time and memory, as ratios to other cases."""

    config: dict[str, Any] | None
    risky: int = 0
    kept: str = ""
    goals: dict[str, tuple[float | None, float | None]] | None = None


SFT = "SFTTrainer, matched"
# It trains as `standard` does, and beside it: what is measured once, it measures.
NONE_RISKY = "adaptive, no row risky"
CASES = {
    SFT: Case(None),
    "SFTTrainer, its defaults": Case(None),
    "standard": Case({"method": "standard"}, goals={SFT: (0.70, 1.0)}),
    NONE_RISKY: Case({"method": "adaptive"}, 0, "nothing", {"standard": (1.02, 1.02)}),
    "adaptive, 1 of 8 rows risky, first": Case(
        {"method": "adaptive"}, 1, "nothing", {"standard": (1.15, 1.05), SFT: (0.80, 1.0)}
    ),
    "adaptive, 1 of 8 rows risky, later": Case(
        {"method": "adaptive"}, 1, "everything", {"standard": (1.05, 1.05)}
    ),
    "kl, later": Case({"method": "kl"}, 1, "everything", {"standard": (1.08, 1.05)}),
    "safety-tokens, later": Case({"method": "safety-tokens"}, 1, "everything", {"standard": (1.08, 1.05)}),
    "recommended, 1 of 8 rows risky, first": Case(
        {"method": "recommended"}, 1, "anchors", {"standard": (1.25, 1.05)}
    ),
    "recommended, 1 of 8 rows risky, later": Case(
        {"method": "recommended"}, 1, "everything", {"standard": (1.15, 1.05)}
    ),
    "preset paper, first": Case({"method": "adaptive", "preset": "paper"}, 1, "nothing"),
    "preset paper, later": Case({"method": "adaptive", "preset": "paper"}, 1, "everything"),
    "preset released-code, later": Case({"method": "adaptive", "preset": "released-code"}, 1, "everything"),
    "the released scheme": Case(None, 1),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few steps, and no page")
    parser.add_argument("--child", nargs=2, metavar=("CASE", "STEPS"), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "trainer.json")
    options = parser.parse_args()
    if options.child:
        name, steps = options.child
        print(FOUND + json.dumps(measure(name, int(steps))))
        return 0
    steps = QUICK_STEPS if options.quick else STEPS
    pairs = {}
    for name in CASES:
        if name != "standard":
            print(name, file=sys.stderr, flush=True)
            pairs[name] = in_turns(name, "standard", steps)
    results = report(pairs)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if not options.quick:
        update_section(ROOT / "docs" / "results.md", "bench-trainer", page(results))
    return 0


Measured = dict[str, Any]
"""Of a case: `seconds` of each step, `peakBytes`, and what only some of them measure."""


def in_turns(name: str, base: str, steps: int) -> tuple[Measured, Measured]:
    """Two cases side by side: one trains while the other waits. Who begins changes from step to step."""
    with Child(name, steps) as one, Child(base, steps) as other:
        for child in (one, other):
            child.wait()
        for step in range(WARM_UP_STEPS + steps):
            for child in (one, other) if step % 2 else (other, one):
                child.step()
        return one.found, other.found


class Child:
    """A process that trains one case, a step at a time (rivals.InTurn)."""

    def __init__(self, name: str, steps: int) -> None:
        self.name = name
        self.found: Measured = {}
        command = [interpreter_of(name), __file__, "--child", name, str(steps)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def step(self) -> None:
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.wait()

    def wait(self) -> None:
        """Until it is ready for a step, or has found everything; libraries print lines of their own."""
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith(FOUND):
                self.found = json.loads(line.removeprefix(FOUND))
            if line.strip() == READY or self.found:
                return
        raise RuntimeError(f"{self.name} failed, see above.")


def interpreter_of(name: str) -> str:
    """TRL is in an environment of its own on top of the trainer's (scripts/setup.mjs makes it)."""
    return str(BENCH_PYTHON) if name.startswith("SFTTrainer") else sys.executable


def measure(name: str, steps: int) -> Measured:
    """Trains on batches in file order: seconds of each step after the first, and the process's peak."""
    import torch
    from peft import LoraConfig

    from safe_finetuning.collate import TrainingRow
    from safe_finetuning.model import load_model, resolve_device
    from safe_finetuning.prepare import encode_rows
    from safe_finetuning.rows import read_dataset

    def load() -> Any:
        return load_model("example", device=resolve_device("auto"), base_folder=ROOT)

    case, all_steps = CASES[name], steps + WARM_UP_STEPS
    torch.manual_seed(1)
    loaded = load()
    encoded, _ = encode_rows(read_dataset(ROOT / "examples" / "support.jsonl").rows, loaded.tokenizer, 1024)
    rows = [
        TrainingRow(encoded[i % len(encoded)], 0.97 if i % BATCH_ROWS < case.risky else 0.0)
        for i in range(BATCH_ROWS * all_steps)
    ]
    lora = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear")
    found: Measured = {}
    if case.config:
        found = train(case, loaded, lora, rows, all_steps)
    else:
        from rivals import released_scheme_seconds, sft_seconds

        if name == "the released scheme":
            found["seconds"] = released_scheme_seconds(loaded, load().model, lora, rows, all_steps)
        else:
            found["seconds"] = sft_seconds(loaded, lora, rows, all_steps, matched=name == SFT)
    found["seconds"] = found["seconds"][WARM_UP_STEPS:]
    return {"peakBytes": peak_bytes()} | found


def peak_bytes() -> int:
    """Most memory that this process has had: the GPU's if there is one."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def train(case: Case, loaded: Any, lora: Any, rows: list[Any], steps: int) -> Measured:
    """With our trainer; once also what the cache would miss of the KL, and the canary's time."""
    from peft import get_peft_model
    from rivals import InOrder, InTurn

    from safe_finetuning.anchors import anchor_prompts, compliances, refusals
    from safe_finetuning.canary import make_canary
    from safe_finetuning.config import AnchorConfig, RunConfig
    from safe_finetuning.evaluate import read_prompts
    from safe_finetuning.objective import Objective
    from safe_finetuning.prepare import encode_rows
    from safe_finetuning.rows import Row, content_hash
    from safe_finetuning.run_folder import RunFolder
    from safe_finetuning.safety_tokens import choose_safety_tokens
    from safe_finetuning.train import PROMPTS
    from safe_finetuning.trainer import SafeTrainer

    class Ours(InOrder, SafeTrainer):
        pass

    # Far enough from the reference for a KL that is worth comparing.
    training = {"maxSteps": steps, "batchSize": BATCH_ROWS, "learningRate": 1e-3, "warmupSteps": 0}
    config = RunConfig.model_validate(
        {
            "model": "example",
            "dataset": {"path": "support.jsonl"},
            "training": training,
            "checkpoints": {"everyMinutes": 60, "atLeast": 1},
            **(case.config or {}),
        }
    )

    def encoded(conversations: list[Any]) -> list[Any]:
        found = [Row(1, content_hash(turns), turns) for turns in conversations]
        return encode_rows(found, loaded.tokenizer, 1024)[0]

    silent = {"check": lambda: None, "progress": lambda *_: None}
    anchors, refused, safety_tokens = [], [], []
    if config.anchors or config.safety_tokens:
        refused = encoded(refusals(anchor_prompts(AnchorConfig(), ROOT), loaded, **silent))
    if config.anchors:
        anchors = refused + encoded(compliances(loaded, **silent))
    if config.safety_tokens:
        ordinary = [row.encoded for row in rows if row.risk == 0][:32]
        chosen = choose_safety_tokens(config.safety_tokens, loaded.model, loaded.tokenizer, refused, ordinary)
        safety_tokens = [token.id for token in chosen]
    canary = make_canary(read_prompts(PROMPTS / "harmful.jsonl"), loaded, **silent)
    assert canary
    model = get_peft_model(loaded.model, lora)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["SAFE_FINETUNING_CACHE"] = name
        objective = Objective(config, model, rows, anchors, safety_tokens, loaded.fingerprint)
        trainer = Ours(config, RunFolder(folder / "run"), model, loaded.tokenizer, objective)
        keep(case, objective, model, trainer.collate)
        watch = InTurn()
        trainer.add_callback(watch)
        trainer.train()
        peak = peak_bytes()
        found: Measured = {"seconds": watch.seconds}
        if case is CASES[NONE_RISKY]:
            found["peakBytes"] = peak  # before the divergences
            found["canarySeconds"] = [seconds(lambda: canary.margins(model)) for _ in range(CANARIES)]
            found["klExact"], found["klCached"] = divergences(model, trainer.collate, rows[:32])
        cache = list((folder / "reference").glob("*.sqlite"))
        if cache:
            tokens = sum(row.encoded.n_supervised for row in rows)
            found["cacheBytesPerToken"] = cache[0].stat().st_size / tokens
    return found


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def keep(case: Case, objective: Any, model: Any, collate: Any) -> None:
    """Has the reference asked beforehand about what is not to be asked about while it is measured."""
    import torch

    first = {"nothing": len(objective.rows), "anchors": objective.n_dataset}.get(case.kept, 0)
    with torch.no_grad():
        for start in range(first, len(objective.rows), BATCH_ROWS):
            rows = range(start, min(start + BATCH_ROWS, len(objective.rows)))
            batch = collate([(i, objective.rows[i]) for i in rows])
            index = batch.pop("index")
            objective(model, {name: x.to(model.device) for name, x in batch.items()}, index)


def divergences(model: Any, collate: Any, rows: list[Any]) -> tuple[float, float]:
    """Summed KL(reference ‖ model), over the full vocabulary and with the reference's top tokens only."""
    import torch

    from safe_finetuning.losses import token_terms, top_k
    from safe_finetuning.reference import reference_logits
    from safe_finetuning.supervised_logits import supervised_logits, supervised_targets

    sums = [0.0, 0.0]
    for start in range(0, len(rows), BATCH_ROWS):
        batch = collate(list(enumerate(rows[start : start + BATCH_ROWS])))
        batch.pop("index")
        batch = {name: x.to(model.device) for name, x in batch.items()}
        reference = reference_logits(model, batch)
        with torch.no_grad():
            logits = supervised_logits(model, model.get_output_embeddings(), batch)
        targets = supervised_targets(batch["labels"])
        held = torch.ones_like(targets, dtype=torch.bool)
        for i, said in enumerate((reference, top_k(reference))):
            sums[i] += float(token_terms(logits, targets, held=held, reference=said).kl.sum())
    return sums[0], sums[1]


def report(pairs: dict[str, tuple[Measured, Measured]]) -> list[dict[str, Any]]:
    """`pairs`: of each case, it and `standard` beside it."""
    from safe_finetuning.config import CanaryConfig

    standards = [standard for _, standard in pairs.values()]
    found = {name: [case] for name, (case, _) in pairs.items()} | {"standard": standards}
    time_ratios = {"standard": 1.0}
    for name, (case, standard) in pairs.items():
        both = zip(case["seconds"], standard["seconds"], strict=True)
        time_ratios[name] = statistics.median(mine / its for mine, its in both)

    def median(name: str) -> float:
        return statistics.median(s for process in found[name] for s in process["seconds"])

    def peak(name: str) -> float:
        return statistics.median(process["peakBytes"] for process in found[name])

    results = []
    for name in CASES:
        goals = CASES[name].goals or ({} if name == "standard" else {"standard": (None, None)})
        for base, (most_time, most_memory) in goals.items():
            ratio = time_ratios[name] / time_ratios[base]
            results.append(result(f"{name}: time / {base}", ratio, "ratio", most_time))
            results.append(result(f"{name}: memory / {base}", peak(name) / peak(base), "ratio", most_memory))
        results.append(result(f"{name}: median step", median(name), "s", None))
        results.append(result(f"{name}: peak memory", peak(name) / 1e9, "GB", None))
    once, beside = pairs[NONE_RISKY]
    exact, cached = once["klExact"], once["klCached"]
    results.append(
        result("KL missed by the cache, of the exact KL", 1 - cached / exact, "share", MOST_CACHE_ERROR)
    )
    every = CanaryConfig().every_steps
    asking = statistics.median(once["canarySeconds"]) / statistics.median(beside["seconds"])
    results.append(
        result(f"canary every {every} steps: time / standard", asking / every, "share", MOST_CANARY_TIME)
    )
    size = found["kl, later"][0]["cacheBytesPerToken"]
    results.append(result("size of the cache", size, "bytes per supervised token", None))
    return results


def page(results: list[dict[str, Any]]) -> str:
    marks = {True: "yes", False: "**no**", None: ""}
    lines = [
        "## What the methods cost",
        "",
        "`npm run bench -- trainer`: the example model in fp32 on a CPU, batches of 8 rows of the example "
        "data, one in eight of risk 0.97 where the name does not say otherwise. Each case trains beside "
        f"`standard`, step by step in turns: its ratio of time is the median over {STEPS} pairs of steps, "
        "that of memory of peaks. `first` is an epoch in which the reference is asked about each row for the "
        "first time, `later` one in which the cache has it. SFTTrainer (TRL) trains on the same tokenised "
        "batches: *matched*, in fp32 without checkpointing, and with both as it sets them itself. The "
        "released scheme asks a second model in every step, about all rows, with logits at all positions. "
        "Not run here: bf16, flash attention, gradient checkpointing and a 4-bit base on a GPU.",
        "",
        "| | measured | goal | holds |",
        "|---|---|---|---|",
    ]
    for x in results:
        digits = f"{x['value']:.3g}" if x["value"] < 100 else f"{x['value']:.0f}"
        lines.append(f"| {x['name']} | {digits} {x['unit']} | {x['goal'] or ''} | {marks[x['holds']]} |")
    return "\n".join(lines)


def result(name: str, value: float, unit: str, most: float | None) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 4),
        "unit": unit,
        "goal": most and f"<= {most}",
        "holds": value <= most if most else None,
    }


if __name__ == "__main__":
    sys.exit(main())
