"""What our trainer's cost is compared with: TRL's SFTTrainer, and the published scheme as it was released.

Both train on the very batches of our own trainer, already tokenised, with the same adapter and optimiser.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainerCallback

READY = "ready"  # what a process prints before each step


class InTurn(TrainerCallback):
    """Seconds of each optimiser step, each of which waits for its turn: a line on standard input."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.began = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        print(READY, flush=True)
        sys.stdin.readline()
        self.began = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.began)


class InOrder(Trainer):
    def _get_train_sampler(self, *_: object) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]


def sft_seconds(loaded: Any, lora: Any, rows: Sequence[Any], steps: int, *, matched: bool) -> list[float]:
    """SFTTrainer: in fp32 without checkpointing, as ours trains here, or with both as it sets them itself."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    class Sft(InOrder, SFTTrainer):
        pass

    settings = {"bf16": False, "gradient_checkpointing": False} if matched else {}
    watch = InTurn()
    with tempfile.TemporaryDirectory() as folder:
        Sft(
            model=loaded.model,
            args=SFTConfig(
                **common(folder, steps, len(rows)),
                **settings,
                max_length=None,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            processing_class=loaded.tokenizer,
            train_dataset=Dataset.from_list(
                [{"input_ids": r.encoded.ids, "i": i} for i, r in enumerate(rows)]
            ),
            data_collator=Batches(loaded.tokenizer, rows),
            peft_config=lora,
            callbacks=[watch],
        ).train()
    return watch.seconds


def released_scheme_seconds(
    loaded: Any, second: Any, lora: Any, rows: Sequence[Any], steps: int
) -> list[float]:
    """The released code's scheme: a second model as the reference, asked about every row in every step, and
    logits of both at all positions."""
    from peft import get_peft_model

    class Released(InOrder):
        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> Any:
            labels = inputs.pop("labels")[:, 1:]
            logits = model(**inputs).logits[:, :-1]
            with torch.no_grad():
                reference = second(**inputs).logits[:, :-1]
            nll = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
            log_p, log_q = reference.log_softmax(-1), logits.log_softmax(-1)
            kl = (log_p.exp() * (log_p - log_q)).sum(-1)[labels != -100].mean()
            return 0.5 * nll + 0.5 * kl

    from transformers import TrainingArguments

    watch = InTurn()
    with tempfile.TemporaryDirectory() as folder:
        Released(
            model=get_peft_model(loaded.model, lora),
            args=TrainingArguments(**common(folder, steps, len(rows))),
            train_dataset=[{"i": i} for i in range(len(rows))],  # type: ignore[arg-type]
            data_collator=Batches(loaded.tokenizer, rows),
            callbacks=[watch],
        ).train()
    return watch.seconds


class Batches:
    """The collator of our trainer, for rows named by `i`."""

    def __init__(self, tokenizer: Any, rows: Sequence[Any]) -> None:
        from safe_finetuning.collate import Collator

        self.collate, self.rows = Collator(tokenizer.pad_token_id), rows

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.collate([(item["i"], self.rows[item["i"]]) for item in items])
        batch.pop("index")
        return batch


def common(folder: str, steps: int, n_rows: int) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "max_steps": steps,
        "per_device_train_batch_size": n_rows // steps,
        "learning_rate": 1e-3,
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "use_cpu": not torch.cuda.is_available(),
    }
