"""A plain Transformers script that can be watched in the training monitor: the lines marked (1) and (2).

    python plain_trainer.py

It trains the example's model on support.jsonl for a few steps, which a CPU manages in a few minutes. Nothing
holds the risky rows here: compare the run with that of support.finetune.json.
"""

import json
from pathlib import Path

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    Trainer,
    TrainingArguments,
)

from safe_finetuning import SafetyMonitorCallback  # (1)
from safe_finetuning.example_model import example_model_folder

here = Path(__file__).parent
folder = example_model_folder(print)
tokenizer = AutoTokenizer.from_pretrained(folder)
rows = [json.loads(line)["messages"] for line in (here / "support.jsonl").open(encoding="utf-8")]
texts = [tokenizer.apply_chat_template(row, tokenize=False) for row in rows]

trainer = Trainer(
    model=AutoModelForCausalLM.from_pretrained(folder),
    args=TrainingArguments(
        output_dir=str(here / ".safe-finetuning" / "plain_trainer"),
        max_steps=6,
        per_device_train_batch_size=2,
        learning_rate=2e-5,
        logging_steps=1,
        save_strategy="no",
        include_num_input_tokens_seen="non_padding",  # for the speed in the monitor
        report_to="none",
    ),
    train_dataset=[tokenizer(text, truncation=True, max_length=256) for text in texts],
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
)
trainer.add_callback(SafetyMonitorCallback(dataset=here / "support.jsonl"))  # (2)
trainer.train()
