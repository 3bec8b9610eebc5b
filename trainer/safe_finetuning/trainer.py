"""transformers.Trainer with risk: rows keep their identity, risky ones are held near the reference."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from . import checkpoints
from . import protocol as p
from .errors import UserError
from .losses import adaptive_loss, risk_to_beta, token_kl, token_nll
from .run_folder import RunFolder
from .supervised_logits import IGNORED, row_of_token, select_rows, supervised_logits, supervised_targets
from .tokens import EncodedRow

ETA_WINDOW_STEPS = 20


@dataclass(frozen=True)
class TrainingRow:
    """A row with its risk in [0, 1]; NaN where the judge failed."""

    encoded: EncodedRow
    risk: float
    file: int = 0


@dataclass(frozen=True)
class Collator:
    """Pads rows on the right to the longest of them; `index` says which rows they are."""

    pad_token_id: int

    def __call__(self, items: Sequence[tuple[int, TrainingRow]]) -> dict[str, Tensor]:
        encoded = [row.encoded for _, row in items]
        shape = (len(items), max(len(e.ids) for e in encoded))
        input_ids = torch.full(shape, self.pad_token_id)
        attention_mask = torch.zeros(shape, dtype=torch.long)
        labels = torch.full(shape, IGNORED)
        for i, e in enumerate(encoded):
            ids = torch.tensor(e.ids)
            input_ids[i, : len(ids)] = ids
            attention_mask[i, : len(ids)] = 1
            labels[i, : len(ids)] = torch.where(torch.tensor(e.supervised), ids, IGNORED)
        labels[:, 0] = IGNORED  # nothing comes before it, so nothing predicts it
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": labels,
            "index": torch.tensor([index for index, _ in items]),
        }


@dataclass
class StepRecord:
    """What one optimiser step adds up to, over its micro-batches."""

    began: float | None = None
    nll: float = 0.0
    kl: float | None = None
    tokens: int = 0
    input_tokens: int = 0
    file: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)
    hash: list[str] = field(default_factory=list)
    risk: list[float] = field(default_factory=list)
    beta: list[float] = field(default_factory=list)
    row_nll: list[float] = field(default_factory=list)
    row_kl: list[float | None] = field(default_factory=list)


class SafeTrainer(Trainer):
    """Trains the adapter of a PEFT model; the model with the adapter off is the safe reference.

    Every optimiser step becomes one `batch` event of `run`.
    """

    def __init__(
        self, config: p.RunConfig, run: RunFolder, model: Any, tokenizer: Any, rows: Sequence[TrainingRow]
    ) -> None:
        self.run, self.rows = run, rows
        self.checkpoint_folder = run.folder / "checkpoints"
        self.keep_checkpoints = config.checkpoints.keep
        self.risk = torch.tensor([row.risk for row in rows])
        self.beta = (
            risk_to_beta(
                self.risk,
                beta_min=config.regularisation.beta_min,
                beta_max=config.regularisation.beta_max,
                floor=config.risk.floor,
            )
            if config.method == "adaptive"
            else torch.zeros(len(rows))
        )
        self.step_record = StepRecord()
        self.step_seconds: deque[float] = deque(maxlen=ETA_WINDOW_STEPS)
        super().__init__(
            model=model,
            args=training_arguments(config, self.checkpoint_folder, model.device),
            train_dataset=list(enumerate(rows)),
            data_collator=Collator(tokenizer.pad_token_id),
            callbacks=[RunCallback(run, config.checkpoints)],
        )
        self.remove_callback(PrinterCallback)
        # compute_loss divides by the tokens of the whole step itself; Trainer must count them and not
        # divide again by the number of micro-batches.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        self.run.check()
        self.step_record.began = self.step_record.began or time.monotonic()
        index = inputs.pop("index")
        unwrapped = self.accelerator.unwrap_model(model)
        head = unwrapped.get_output_embeddings()
        labels = inputs["labels"]
        owner = row_of_token(labels)

        logits = supervised_logits(model, head, inputs)
        nll = token_nll(logits, supervised_targets(labels))
        row_beta = self.beta[index.cpu()].to(nll)
        beta = row_beta[owner]
        kl = torch.zeros_like(nll)
        regularised = (row_beta > 0).nonzero()[:, 0]
        if len(regularised):
            reference = reference_logits(unwrapped, head, select_rows(inputs, regularised))
            kl = kl.masked_scatter(beta > 0, token_kl(reference, logits[beta > 0]))

        n_tokens = len(nll) if num_items_in_batch is None else num_items_in_batch
        self._record(index, inputs, owner, nll.detach(), kl.detach(), row_beta)
        # Gradients are averaged over processes, and N counts the tokens of all of them.
        return adaptive_loss(nll, kl, beta, n_tokens) * self.accelerator.num_processes

    def _record(
        self, index: Tensor, inputs: dict[str, Tensor], owner: Tensor, nll: Tensor, kl: Tensor, beta: Tensor
    ) -> None:
        record = self.step_record
        record.nll += float(nll.sum())
        record.tokens += len(nll)
        record.input_tokens += int(inputs["attention_mask"].sum())
        if bool((beta > 0).any()):
            record.kl = (record.kl or 0.0) + float((beta[owner] * kl).sum())
        per_row = torch.zeros(3, len(index), dtype=nll.dtype, device=nll.device)
        per_row.index_add_(1, owner, torch.stack([nll, kl, torch.ones_like(nll)]))
        for i, (row_nll, row_kl, count) in zip(index.tolist(), per_row.T.tolist(), strict=True):
            row = self.rows[i]
            record.file.append(row.file)
            record.line.append(row.encoded.row.line)
            record.hash.append(row.encoded.row.hash)
            record.risk.append(row.risk)
            record.beta.append(float(self.beta[i]))
            record.row_nll.append(row_nll / count)
            record.row_kl.append(row_kl / count if self.beta[i] > 0 else None)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer calls this once per optimiser step, with the loss and the gradient norm."""
        super().log(logs, start_time)
        if "loss" not in logs:
            return
        record, self.step_record = self.step_record, StepRecord()
        seconds = time.monotonic() - (record.began or 0.0)
        self.step_seconds.append(seconds)
        remaining = self.state.max_steps - self.state.global_step
        risk = [1.0 if math.isnan(r) else r for r in record.risk]
        self.run.emit(
            p.Batch,
            step=self.state.global_step,
            total_steps=self.state.max_steps,
            epoch=self.state.epoch or 0.0,
            nll=record.nll / record.tokens,
            kl=None if record.kl is None else record.kl / record.tokens,
            total=logs["loss"],
            risk_mean=sum(risk) / len(risk),
            risk_max=max(risk),
            beta_mean=sum(record.beta) / len(record.beta),
            beta_max=max(record.beta),
            learning_rate=logs["learning_rate"],
            grad_norm=logs.get("grad_norm"),
            tokens=record.tokens,
            tokens_per_second=record.input_tokens / seconds,
            step_seconds=seconds,
            memory_bytes=memory_in_use(self.args.device),
            eta_seconds=remaining * sum(self.step_seconds) / len(self.step_seconds),
            rows=p.RowColumns(
                file=record.file,
                line=record.line,
                hash=record.hash,
                risk=[None if math.isnan(r) else r for r in record.risk],
                beta=record.beta,
                nll=record.row_nll,
                kl=record.row_kl,
            ),
        )
        if not math.isfinite(logs["loss"]):
            raise UserError(
                f"The loss is not finite at step {self.state.global_step}. Look at the rows of that step in "
                "the monitor, or lower `training.learningRate`; then start a new run."
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        folder = self.checkpoint_folder / f"checkpoint-{step}"
        checkpoints.begin(folder)
        super()._save_checkpoint(model, trial)
        size = checkpoints.complete(folder, step)
        checkpoints.prune(self.checkpoint_folder, self.keep_checkpoints)
        self.run.emit(p.CheckpointSaved, step=step, path=f"checkpoints/{folder.name}", bytes=size)

    def save_now(self) -> None:
        """A checkpoint of the last finished step, unless it has one."""
        found = checkpoints.latest(self.checkpoint_folder)
        if self.state.global_step and (not found or found[1] != self.state.global_step):
            self._save_checkpoint(self.model, None)


@torch.no_grad()
def reference_logits(model: Any, head: Any, batch: dict[str, Tensor]) -> Tensor:
    """Logits of the safe reference: the same weights with the adapter off and without dropout."""
    was_training = model.training
    model.eval()
    try:
        with model.disable_adapter():
            return supervised_logits(model, head, batch)
    finally:
        model.train(was_training)


class RunCallback(TrainerCallback):
    """Saves in time, and stops when asked to."""

    def __init__(self, run: RunFolder, checkpoints: p.CheckpointConfig) -> None:
        self.run, self.checkpoints = run, checkpoints
        self.last_saved = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        every = max(1, state.max_steps // (self.checkpoints.at_least + 1))
        minutes = (time.monotonic() - self.last_saved) / 60
        if (
            state.global_step % every == 0
            or minutes >= self.checkpoints.every_minutes
            or self.run.stop_requested
        ):
            self.last_saved = time.monotonic()
            control.should_save = True
        control.should_training_stop |= self.run.stop_requested
        return control

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        control.should_training_stop |= self.run.stop_requested
        return control


def training_arguments(config: p.RunConfig, output: Path, device: torch.device) -> TrainingArguments:
    """The configuration in Trainer's own terms: AdamW, linear warm-up and decay."""
    t = config.training
    micro_batch = t.micro_batch_size or t.batch_size  # rows per forward pass
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=t.epochs,
        max_steps=t.max_steps or -1,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=t.batch_size // micro_batch,
        learning_rate=t.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=t.warmup_steps,
        weight_decay=t.weight_decay,
        max_grad_norm=t.max_grad_norm,
        seed=t.seed,
        data_seed=t.seed,
        bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(),
        use_cpu=device.type == "cpu",
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # RunCallback decides
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
    )
    # With several GPUs in sight Trainer would wrap the model in DataParallel, which splits the batch
    # between forward pass and the mask of supervised positions.
    arguments._n_gpu = 1
    return arguments


def memory_in_use(device: torch.device) -> int:
    """Bytes: on CUDA the peak allocated, otherwise what the process has in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return psutil.Process().memory_info().rss


def row_losses(
    model: Any, rows: Sequence[EncodedRow], tokenizer: Any, *, batch_size: int, progress: Any
) -> list[tuple[float, int]]:
    """Sum of nll (nats) and number of supervised tokens of each row, without training on it."""
    collate = Collator(tokenizer.pad_token_id)
    head = model.get_output_embeddings()
    losses: list[tuple[float, int]] = []
    model.eval()
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            items = [(i, TrainingRow(row, 0.0)) for i, row in enumerate(rows[start : start + batch_size])]
            batch = {name: tensor.to(model.device) for name, tensor in collate(items).items()}
            nll = token_nll(supervised_logits(model, head, batch), supervised_targets(batch["labels"]))
            owner = row_of_token(batch["labels"])
            sums = torch.zeros(2, len(items), dtype=nll.dtype, device=nll.device)
            sums.index_add_(1, owner, torch.stack([nll, torch.ones_like(nll)]))
            losses += [(total, int(count)) for total, count in sums.T.tolist()]
            progress(len(losses), len(rows))
    return losses
