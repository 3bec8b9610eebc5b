"""What a run will take in time and memory: computed from the model's size, or from steps that are timed."""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from . import protocol as p
from .config import RunConfig
from .errors import UserError
from .judge import Work, load_reference
from .model import resolve_device, with_new_adapter
from .preflight import CheckedModel
from .run_folder import FollowedRun
from .tokens import EncodedRow

TIMED_STEPS = 2
ANCHOR_TOKENS = 80  # of an anchor row: a short prompt and the beginning of its answer
REACHED = {"cpu": 0.5, "mps": 0.3, "cuda": 0.3}  # of the speed of a matrix product, in a whole step
MATRIX = {"cpu": 1024, "mps": 2048, "cuda": 8192}  # of the timed product, in rows
LIBRARIES = 800_000_000  # bytes of Python with PyTorch and Transformers, in the memory of a CPU
ACTIVATIONS = 34  # half-precision bytes per token, layer and hidden unit (Korthikanti et al. 2022)
LOGITS_KEPT = 3  # of a supervised token: logits, their softmax, their gradient; fp32
NOT_COUNTED = (
    "Not counted: judging the rows, the reference's answers, and measuring before and after; risky rows "
    "need a second forward pass."
)


def estimate(
    config: RunConfig, model: CheckedModel, rows: Sequence[EncodedRow], statistics: p.TokenStatistics
) -> p.Cost:
    """Computed: operations at a speed that is timed here in a moment, and bytes."""
    device = resolve_device(config.device)
    dtype = _dtype(device)
    speed = _operations_per_second(device, dtype) * REACHED[device.type]
    parts = _memory(config, model, rows, device, dtype)
    seconds = statistics.steps * _operations_of_a_step(config, model, rows, device) / speed
    basis = (
        f"Computed: {_operations(config)} operations for each weight and token, at "
        f"{REACHED[device.type]:.0%} of the speed of a matrix product, timed here ("
        f"{speed / REACHED[device.type] / 1e12:.2f} trillion "
        f"operations a second). It may be off by a factor of two or three. {NOT_COUNTED}"
    )
    return p.Cost(
        seconds=seconds,
        memory_bytes=sum(parts.model_dump().values()),
        parts=parts,
        device=device.type,
        measured=False,
        basis=basis,
    )


def _dtype(device: torch.device) -> torch.dtype:
    """As `load_model` loads the weights, or autocast uses them."""
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _operations_per_second(device: torch.device, dtype: torch.dtype) -> float:
    n = MATRIX[device.type]
    matrix = torch.randn(n, n, dtype=dtype, device=device)
    times = []
    for _ in range(6):
        began = time.perf_counter()
        float((matrix @ matrix)[0, 0])  # waits for the device
        times.append(time.perf_counter() - began)
    return 2 * n**3 / min(times)


def _operations(config: RunConfig) -> int:
    """Per weight and token: two forward, two back through it, two for its gradient where it is trained."""
    return 4 if config.lora else 6


def _operations_of_a_step(
    config: RunConfig, model: CheckedModel, rows: Sequence[EncodedRow], device: torch.device
) -> float:
    """On a CPU rows are padded to rows of like length only, elsewhere to the longest of a forward pass."""
    lengths = [len(e.ids) for e in rows]
    mean = sum(lengths) / len(rows)
    length = mean if device.type == "cpu" else (mean + max(lengths)) / 2
    supervised = sum(e.n_supervised for e in rows) / len(rows)
    batch, anchors = config.training.batch_size, config.anchors_per_step
    tokens = batch * length + anchors * ANCHOR_TOKENS
    head = model.outline.get_output_embeddings().weight.numel()
    body = model.n_all - _embeddings(model)  # a look-up costs nothing
    answers = batch * supervised + anchors * ANCHOR_TOKENS / 2
    return _operations(config) * (body * tokens + head * answers)


def _embeddings(model: CheckedModel) -> int:
    """Weights of both embeddings, which may be the same."""
    first, last = model.outline.get_input_embeddings().weight, model.outline.get_output_embeddings().weight
    tied = model.outline.config.tie_word_embeddings
    return int(first.numel() + (0 if tied else last.numel()))


def _memory(
    config: RunConfig,
    model: CheckedModel,
    rows: Sequence[EncodedRow],
    device: torch.device,
    dtype: torch.dtype,
) -> p.MemoryParts:
    kept = dtype.itemsize if config.lora else 4
    weights = model.n_all * kept
    if config.quantisation == "4bit":
        embeddings = _embeddings(model)  # stay as they are
        weights = round((model.n_all - embeddings) * 0.55) + embeddings * kept  # NF4 with its scales
    trained = 4 * model.n_trained * (2 if config.lora else 1)  # without an adapter only the gradients
    together = config.training.micro_batch_size or config.training.batch_size // config.processes
    longest = sorted(rows, key=lambda e: -len(e.ids))[: together or 1]
    tokens = max(1, together) * len(longest[0].ids)
    answers = sum(e.n_supervised for e in longest)
    shape = model.outline.config
    half = tokens * shape.num_hidden_layers * shape.hidden_size * ACTIVATIONS
    logits = answers * shape.vocab_size * 4 * LOGITS_KEPT
    return p.MemoryParts(
        weights=weights,
        trained=trained,
        optimiser=8 * model.n_trained,
        activations=half * dtype.itemsize // 2 + logits,
        libraries=LIBRARIES if device.type == "cpu" else 0,
    )


# --- measuring ----------------------------------------------------------------------------------------


class TimedRun(FollowedRun):
    """Keeps what the steps say of themselves, and nothing on the disk."""

    def __init__(self, folder: Path, progress: Any) -> None:
        super().__init__(folder)
        self.steps: list[p.Batch] = []
        self.told = progress

    def emit(self, kind: type[p.Event], **fields: Any) -> None:
        if kind is p.Batch:
            self.steps.append(p.Batch(seq=0, ts=0, **fields))
            self.told(len(self.steps), 1 + TIMED_STEPS)


def measure(
    config: RunConfig, base: Path, rows: Sequence[EncodedRow], computed: p.Cost, steps: int, work: Work
) -> p.Cost:
    """Loads the model and makes a few steps as the run will, on rows of all lengths, the longest among them.

    Anchors are stood for by rows of the dataset, so they count a little too much. Raises UserError.
    """
    from transformers import set_seed

    from .collate import TrainingRow
    from .objective import Objective
    from .run_callback import RunCallback
    from .trainer import SafeTrainer

    loaded = load_reference(config, base, work)
    work.phase("training", f"Timing {TIMED_STEPS} steps")
    set_seed(config.training.seed)
    model: Any = with_new_adapter(loaded.model, config.lora) if config.lora else loaded.model
    n_steps = 1 + TIMED_STEPS
    chosen = _of_all_lengths(rows, n_steps * config.training.batch_size)
    anchors = _of_all_lengths(sorted(rows, key=lambda e: len(e.ids))[: len(rows) // 2 + 1], 16)
    timed = config.model_copy(
        update={
            "training": config.training.model_copy(update={"max_steps": n_steps}),
            "processes": 1,
            "canary": None,
        }
    )
    objective = Objective(
        timed, model, [TrainingRow(e, 0.0) for e in chosen], anchors if config.lora and config.anchors else ()
    )
    with tempfile.TemporaryDirectory() as folder:
        run = TimedRun(Path(folder), work.progress("training", "steps"))
        trainer = SafeTrainer(timed, run, model, loaded.tokenizer, objective)
        trainer.remove_callback(RunCallback)  # which would save checkpoints
        try:
            trainer.train()
        except torch.OutOfMemoryError:
            raise UserError(
                "Out of memory after the model was loaded. Lower `training.microBatchSize` or "
                "`training.maxLength`, or use a smaller model."
            ) from None
    took = [step.step_seconds for step in run.steps[1:]]
    basis = (
        f"Measured: {TIMED_STEPS} steps of {config.training.batch_size} rows of all lengths, after one to "
        f"warm up ({' and '.join(f'{x:.1f} s' for x in took)}); the memory is the "
        f"{'most that the device held' if computed.device == 'cuda' else 'process’s'}. {NOT_COUNTED}"
    )
    return computed.model_copy(
        update={
            "seconds": steps * sum(took) / len(took),
            "memory_bytes": max(step.memory_bytes for step in run.steps),
            "measured": True,
            "basis": basis,
        }
    )


def _of_all_lengths(rows: Sequence[EncodedRow], count: int) -> list[EncodedRow]:
    """So many rows at equal distances from the shortest to the longest, in the order of a shuffle."""
    by_length = sorted(rows, key=lambda e: len(e.ids))
    last = len(by_length) - 1
    chosen = [by_length[math.ceil(last * i / max(1, count - 1))] for i in range(count)]
    random.Random(0).shuffle(chosen)
    return chosen
