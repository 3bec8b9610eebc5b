"""One process of test_processes.py: trains a tiny model in float64 as one of several, or alone.

    python worker.py MODEL OUT METHOD [fsdp]

Rows come in order, and of each batch of eight Accelerate gives the second process the third, the fourth and
the last two: all the risky ones are its own. METHOD `by-batch` is `adaptive` with one β for a step's rows.
"""

import os
import sys
from pathlib import Path

os.environ["SAFE_FINETUNING_CACHE"] = str(Path(sys.argv[2]) / "cache")
if sys.argv[4:] == ["fsdp"]:
    import sharded  # noqa: F401

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor
from torch.utils.data import SequentialSampler
from transformers import AutoModelForCausalLM, AutoTokenizer

from safe_finetuning.collate import TrainingRow
from safe_finetuning.config import RunConfig
from safe_finetuning.objective import Objective
from safe_finetuning.processes import join_processes
from safe_finetuning.rows import Message, Row, content_hash
from safe_finetuning.run_folder import FollowedRun, RunFolder
from safe_finetuning.tokens import encode_row
from safe_finetuning.trainer import SafeTrainer

STEPS, BATCH_ROWS = 20, 8


class InOrder(SafeTrainer):
    def _get_train_sampler(self, *_):
        return SequentialSampler(self.train_dataset)


def main(model_folder: Path, out: Path, method: str) -> None:
    sections = {
        "recommended": {"anchors": {"perStep": 3}},
        "safety-tokens": {"safetyTokens": {}},
        "by-batch": {"regularisation": {"granularity": "batch", "betaMin": 0.1}},
    }
    config = RunConfig.model_validate(
        {
            "model": "tiny",
            "dataset": {"path": "x.jsonl"},
            "method": "adaptive" if method == "by-batch" else method,
            "training": {
                "batchSize": BATCH_ROWS,
                "microBatchSize": 2,
                "maxSteps": STEPS,
                "learningRate": 1e-2,
            },
            "device": "cpu",
            **sections.get(method, {}),
        }
    )
    processes = join_processes(config)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float64)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    model = model.double()

    def encoded(i: int):
        question, answer = f"Question {i}? " * (1 + i % 5), "An answer. " * (1 + i % 3)
        messages = (Message("user", question), Message("assistant", answer))
        return encode_row(Row(i + 1, content_hash(messages), messages), tokenizer, 256)

    rows = [TrainingRow(encoded(i), 0.9 if i % 8 in (6, 7) else 0.0) for i in range(STEPS * BATCH_ROWS)]
    anchors = [encoded(1000 + i) for i in range(5)] if config.anchors else []
    safety_tokens = [40, 77, 300] if config.safety_tokens else []
    objective = Objective(config, model, rows, anchors, safety_tokens, fingerprint="tiny")
    run = RunFolder(out) if processes.first else FollowedRun(out)
    trainer = InOrder(config, run, model, tokenizer, objective, processes)
    trainer.train()
    sharded = any(isinstance(x, DTensor) for x in model.parameters())
    assert sharded == (sys.argv[4:] == ["fsdp"])
    whole = trainer.whole_weights() or model.state_dict()
    if processes.first:
        adapter = {name: x.contiguous() for name, x in whole.items() if "lora_" in name}
        save_file(adapter, out / "adapter.safetensors")
    processes.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
