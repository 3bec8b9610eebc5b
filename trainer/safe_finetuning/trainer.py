"""transformers.Trainer with risk: rows keep their identity, risky ones are held near the reference."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerState, TrainingArguments

from . import checkpoints
from . import protocol as p
from .canary import Canary
from .collate import Collator, parts_by_length
from .config import RunConfig
from .errors import UserError
from .gpu_load import GpuLoad
from .objective import Objective, StepRisk
from .processes import Processes
from .run_callback import RunCallback
from .run_folder import Run
from .safety_watch import Measure, SafetyWatch, last_roll_back
from .step_record import StepRecord, joined
from .trackers import PROJECT, place_tracking, reported

ETA_WINDOW_STEPS = 20
REGULARISATION_FILE = "regularisation.json"
"""Of a checkpoint: the risk's moving average and the range of β, which may have been changed, are state."""


class SafeTrainer(Trainer):
    """Trains the adapter of a PEFT model; the model with the adapter off is the safe reference.

    Every optimiser step, over all processes, becomes one `batch` event of `run`. The configured batch is
    divided among the processes, so that their number changes nothing in what is learned, but for the last
    step of an epoch: Accelerate fills it up with rows from the epoch's beginning.
    """

    objective: Objective

    def __init__(
        self,
        config: RunConfig,
        run: Run,
        model: Any,
        tokenizer: Any,
        objective: Objective,
        processes: Processes | None = None,
        canary: Canary | None = None,
        measure: Measure | None = None,
    ) -> None:
        """`canary` is asked every `config.canary.every_steps`; `measure` is what measures between steps."""
        self.config, self.run, self.objective = config, run, objective
        self.processes = processes or Processes()
        self.watch = SafetyWatch(self, canary, measure)
        self.checkpoint_folder = run.folder / "checkpoints"
        self.keep_checkpoints = config.checkpoints.keep
        n_anchors = len(objective.rows) - objective.n_dataset
        shuffled = torch.randperm(n_anchors, generator=torch.Generator().manual_seed(config.training.seed))
        self.anchors = objective.n_dataset + shuffled
        self.step_risk = StepRisk(config.regularisation.moving_average)
        self.step_record = StepRecord()
        self.risks: list[tuple[float, float]] = []  # of each row: when trained on, and beforehand
        self.step_seconds: deque[float] = deque(maxlen=ETA_WINDOW_STEPS)
        self.collate = Collator(tokenizer.pad_token_id)
        super().__init__(
            model=model,
            args=training_arguments(config, self.checkpoint_folder, model.device, self.processes.count),
            train_dataset=list(enumerate(objective.rows[: objective.n_dataset])),
            data_collator=self.collate,
            callbacks=[RunCallback(self)],
        )
        self.gpu_load = GpuLoad(self.args.device)
        self.remove_callback(PrinterCallback)
        place_tracking(self.callback_handler.callbacks, run.folder)
        # The objective divides by the tokens of the whole step itself; Trainer must count them and not
        # divide again by the number of micro-batches.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    # --- the whole training

    def train_within_budget(self, checkpoint: Path | None) -> None:
        """Trains from a checkpoint, or from the beginning; and where a safety budget says so, once more from
        one within budget, or ends with what was learned there."""
        self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        while self.watch.exceeded:
            back = self.processes.from_first(self.watch.go_back)
            self.watch.exceeded = None
            self.risks.clear()
            if back.checkpoint and back.goes_on:
                self.train(resume_from_checkpoint=str(back.checkpoint))
            elif back.checkpoint:
                sharded = self.model_wrapped if self.is_fsdp_enabled else None
                self._load_from_checkpoint(str(back.checkpoint), sharded)
                self.state = TrainerState.load_from_json(str(back.checkpoint / checkpoints.TRAINER_STATE))

    # --- a step: its micro-batches, and what holds for all of them

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: torch.device) -> Any:
        """The micro-batches of one optimiser step with their anchor rows, and N, the dataset's tokens."""
        batches, n_tokens = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, n_tokens
        if self.config.regularisation.granularity == "batch":
            risk = self.objective.risk[torch.cat([batch["index"].cpu() for batch in batches])]
            total, rows = self.processes.sums([float(risk.nan_to_num(nan=1.0).sum()), len(risk)])
            self.step_record.step_risk = self.step_risk.after(total / rows)
            self.objective.set_step_risk(self.step_record.step_risk)
        if self.objective.safety:
            chosen = [self.objective.safety_positions(b["labels"], b["index"].cpu()) for b in batches]
            (positions,) = self.processes.sums([sum(int(x.sum()) for x in chosen)])
            self.step_record.n_safety_positions = int(positions)
        return self._with_anchors(batches), n_tokens

    def _with_anchors(self, batches: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
        """Deals the step's anchor rows out to its micro-batches; over the steps all anchors take turns."""
        count = self.config.anchors_per_step if len(self.anchors) else 0
        if not count:
            return batches
        first = self.state.global_step * count
        chosen = self.anchors[torch.arange(first, first + count) % len(self.anchors)].tolist()
        self.step_record.n_anchor_tokens = sum(self.objective.rows[i].encoded.n_supervised for i in chosen)
        mine = chosen[self.processes.rank :: self.processes.count]
        rows = [batch["index"].tolist() + mine[i :: len(batches)] for i, batch in enumerate(batches)]
        return [self._batch_of(indices) for indices in rows]

    def _batch_of(self, indices: Sequence[int]) -> dict[str, Tensor]:
        return self.collate([(i, self.objective.rows[i]) for i in indices])

    def _any_process(self, here: bool) -> bool:
        return self.processes.sums([float(here)])[0] > 0 if self.is_fsdp_enabled else here

    # --- a micro-batch

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """Adds the gradient of a micro-batch.

        A CPU computes it in parts of like length, to save the padding; for a GPU, a launch of many small
        kernels costs more than padding does.
        """
        if self.args.device.type != "cpu" or self.processes.count > 1:
            return super().training_step(model, inputs, num_items_in_batch)
        index = inputs["index"].tolist()
        parts = parts_by_length([len(self.objective.rows[i].encoded.ids) for i in index])
        loss = torch.zeros(())
        for part in parts:
            batch = self._batch_of([index[place] for place in part])
            loss += super().training_step(model, batch, num_items_in_batch)
        return loss

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        if self.processes.count == 1:
            self.run.check()
        self.step_record.began = self.step_record.began or time.monotonic()
        index, objective = inputs.pop("index").cpu(), self.objective
        terms = objective(
            model,
            inputs,
            index,
            n_tokens=num_items_in_batch,
            n_anchor_tokens=self.step_record.n_anchor_tokens,
            n_safety_positions=self.step_record.n_safety_positions,
            any_process=self._any_process,
        )
        rows = [(objective.rows[i], i >= objective.n_dataset) for i in index.tolist()]
        self.step_record.add(terms, rows, n_input=int(inputs["attention_mask"].sum()))
        # Gradients are averaged over processes, and N counts the tokens of all of them.
        return terms.loss * self.processes.count

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Trainer calls this once per optimiser step, with the loss and the gradient norm."""
        if "loss" not in logs:
            return super().log(logs, start_time)
        record, self.step_record = joined(self.processes.gather(self.step_record)), StepRecord()
        self.step_risk = StepRisk(self.step_risk.moving_average, record.step_risk)
        if self.objective.probe:
            self.risks += zip(record.risk, record.risk_before, strict=True)
        seconds = time.monotonic() - (record.began or 0.0)
        self.step_seconds.append(seconds)
        remaining = self.state.max_steps - self.state.global_step
        canary = self.watch.margin_after(self.state.global_step)
        step = record.figures() | {
            "step": self.state.global_step,
            "total_steps": self.state.max_steps,
            "epoch": self.state.epoch or 0.0,
            "learning_rate": logs["learning_rate"],
            "grad_norm": logs.get("grad_norm"),
            "tokens_per_second": record.input_tokens / seconds,
            "step_seconds": seconds,
            "memory_bytes": memory_in_use(self.args.device),
            "gpu_load": self.gpu_load.latest(),
            "eta_seconds": remaining * sum(self.step_seconds) / len(self.step_seconds),
            "canary": canary,
        }
        self.run.emit(p.Batch, **step, rows=record.columns())
        super().log({**logs, **reported(step)} if self.args.report_to else logs, start_time)
        gradient = logs.get("grad_norm")
        if not math.isfinite(record.loss) or not (gradient is None or math.isfinite(gradient)):
            what = "gradient" if math.isfinite(record.loss) else "loss"
            raise UserError(
                f"The {what} is not finite at step {self.state.global_step}. Look at the rows of that step "
                "in the monitor, or lower `training.learningRate`; then start a new run."
            )
        self.watch.after_step(self.state.global_step, canary)

    # --- what may be changed while it trains

    def set_beta_range(self, low: float | None, high: float | None, by: str) -> None:
        """An end that is None stays, unless the other one passes it."""
        before = self.objective.settings
        beta_min = before.beta_min if low is None else low
        beta_max = max(before.beta_max if high is None else high, low or 0.0)
        beta_min = min(beta_min, beta_max)
        try:
            self.objective.set_beta_range(beta_min, beta_max)
        except UserError as error:
            self.run.warn("settings", str(error))
            return
        self.run.emit(
            p.SettingsChanged, step=self.state.global_step, beta_min=beta_min, beta_max=beta_max, by=by
        )

    def set_learning_rate(self, peak: float) -> None:
        """The schedule goes on from this peak."""
        scheduler: Any = self.lr_scheduler
        optimizer: Any = self.optimizer
        before, scheduler.base_lrs = scheduler.base_lrs, [peak for _ in scheduler.base_lrs]
        for group, old in zip(optimizer.param_groups, before, strict=True):
            group["initial_lr"], group["lr"] = peak, group["lr"] * peak / old
        self.run.emit(p.SettingsChanged, step=self.state.global_step, learning_rate=peak, by="command")

    def apply(self, command: p.Command) -> None:
        """Carries out a command `set`."""
        if command.beta_min is not None or command.beta_max is not None:
            self.set_beta_range(command.beta_min, command.beta_max, "command")
        if command.learning_rate is not None:
            self.set_learning_rate(command.learning_rate)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        folder = self.checkpoint_folder / f"checkpoint-{step}"
        self.processes.from_first(lambda: checkpoints.begin(folder))
        super()._save_checkpoint(model, trial)
        self.processes.gather(None)  # all have written their part
        self.processes.from_first(lambda: self._complete_checkpoint(folder, step))

    def _complete_checkpoint(self, folder: Path, step: int) -> None:
        settings = self.objective.settings
        state = {"stepRisk": self.step_risk.value, "betaMin": settings.beta_min, "betaMax": settings.beta_max}
        (folder / REGULARISATION_FILE).write_text(json.dumps(state))
        size = checkpoints.complete(folder, step, within_budget=self.watch.was_within_budget(step))
        checkpoints.prune(self.checkpoint_folder, self.keep_checkpoints)
        self.run.emit(p.CheckpointSaved, step=step, path=f"checkpoints/{folder.name}", bytes=size)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Its weights, and what else is state; a roll-back since then has changed the range of β."""
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        kept = Path(resume_from_checkpoint) / REGULARISATION_FILE
        if kept.exists():
            state = json.loads(kept.read_text("utf-8"))
            self.step_risk = StepRisk(self.step_risk.moving_average, state["stepRisk"])
            back = last_roll_back(self.run.folder)
            if back and back.step >= checkpoints.step_of(kept.parent):
                self.objective.set_beta_range(back.beta_min, back.beta_max)
            else:
                self.objective.set_beta_range(state["betaMin"], state["betaMax"])

    def save_now(self) -> None:
        """A checkpoint of the last finished step, unless it has one."""
        found = self.processes.from_first(lambda: checkpoints.latest(self.checkpoint_folder))
        needed = self.state.global_step or self.config.rolls_back
        if needed and (not found or found[1] != self.state.global_step):
            self._save_checkpoint(self.model, None)

    def drift(self) -> str:
        """How well the policy's risks still tell the rows apart that the reference flagged beforehand."""
        from sklearn.metrics import roc_auc_score

        risks = [x for x in self.risks if x[1] != 0]  # those of refusals stay 0
        fifth = max(1, len(risks) // 5)
        areas = []
        for part in (risks[:fifth], risks[-fifth:]):
            flagged = [not before < self.config.risk.threshold for _, before in part]  # NaN: unscored
            if len({*flagged}) < 2:
                return "Too few rows are flagged to tell how far the policy's risks drifted."
            areas.append(roc_auc_score(flagged, [now for now, _ in part]))
        return (
            "AUROC of the policy's risks against the reference's flags: "
            f"{areas[0]:.3f} in the first fifth of this attempt's steps, {areas[1]:.3f} in the last."
        )

    def whole_weights(self) -> dict[str, Tensor] | None:
        """Where processes have shards of them: the whole weights, in the first process."""
        return self.accelerator.get_state_dict(self.model) if self.is_fsdp_enabled else None


def training_arguments(
    config: RunConfig, output: Path, device: torch.device, n_processes: int
) -> TrainingArguments:
    """The configuration in Trainer's own terms: AdamW, linear warm-up and decay."""
    t = config.training
    share = t.batch_size // n_processes
    micro_batch = t.micro_batch_size or share  # rows per forward pass
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=t.epochs,
        max_steps=t.max_steps or -1,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=share // micro_batch,
        learning_rate=t.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=t.warmup_steps,
        weight_decay=t.weight_decay,
        max_grad_norm=t.max_grad_norm,
        seed=t.seed,
        data_seed=t.seed,
        bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(),
        use_cpu=device.type == "cpu",
        ddp_find_unused_parameters=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # RunCallback decides
        report_to=list(dict.fromkeys(t.report_to)),
        run_name=output.parent.name,
        project=PROJECT,
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
