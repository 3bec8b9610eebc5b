"""Gives SmolLM2-135M-Instruct refusals: trains the small adapter that makes the example's safe reference.

    PYTHONPATH=trainer python trainer/training/safe_reference/train.py [--steps 240]

Harmful prompts are answered by a refusal; harmless ones (look-alikes and ordinary questions) by the
opening of the base model's own answer, so that nothing but the refusals changes. Writes the adapter
to trainer/safe_finetuning/example/safe_reference; measure.py writes the card beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from safe_finetuning.anchors import LOOK_ALIKES
from safe_finetuning.anchors import PROMPTS as ANCHOR_PROMPTS
from safe_finetuning.evaluate import generate_answers, read_prompts
from safe_finetuning.example_model import ADAPTER_FOLDER, base_model_folder, cache_folder
from safe_finetuning.risk.refusal import is_refusal

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent))
from sentences import NEAR_DUPLICATE, Sentences  # noqa: E402

REPOSITORY = HERE.parents[2]
DATA = REPOSITORY / "../shared/data"

# Rows of each step by where their prompts come from. Attacks in the imperative are learnt fastest, so
# they are the fewest; instructions keep "Write …" from becoming a reason to refuse.
HARMFUL_ROWS = {"alignment": 1, "harmful": 3}
BENIGN_ROWS = {"benign": 2, "instructions": 3, "combined": 2, "ordinary": 1}
ORDINARY_PROMPTS, GSM8K_PROMPTS, COMBINED_PROMPTS = 200, 40, 600
OPENING_TOKENS = 24  # of the base model's answer that are trained
# An answer's first tokens decide whether it refuses (Qi et al. 2025), and are few among the others.
DECIDING_TOKENS, DECIDING_WEIGHT = 3, 5.0
LEARNING_RATE, WARMUP_STEPS, MAX_GRAD_NORM = 5e-4, 10, 1.0
RANK, ALPHA = 8, 16
SHIPPED_ALPHA = 15  # a little less of the adapter answers more ordinary requests; measure.py shows both sides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=ADAPTER_FOLDER)
    options = parser.parse_args()
    random.seed(options.seed)
    torch.manual_seed(options.seed)

    base = base_model_folder(print)
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)

    drop = near_duplicates_of_evaluation_prompts()
    harmful = {name: drop(prompts) for name, prompts in harmful_prompts().items()}
    benign = {
        name: own_openings(model, tokenizer, drop(list(written)), written)
        for name, written in benign_prompts().items()
    }
    refusals = [row["answer"] for row in read_rows(HERE / "refusals.jsonl")]
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in (harmful | benign).items())
    print(counts, flush=True)

    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(model, lora)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / WARMUP_STEPS, 1 - step / options.steps)
    )

    model.train()
    orders = {name: endless(rows) for name, rows in (harmful | benign).items()}
    started, recent = time.monotonic(), []
    for step in range(1, options.steps + 1):
        pairs = [(next(orders[name]), random.choice(refusals)) for name in each(HARMFUL_ROWS)]
        refused = len(pairs)
        pairs += [next(orders[name]) for name in each(BENIGN_ROWS)]
        losses = row_losses(model, [encode(tokenizer, *pair) for pair in pairs])
        losses.mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM)
        optimiser.step()
        optimiser.zero_grad()
        schedule.step()
        recent.append((losses[:refused].mean().item(), losses[refused:].mean().item()))
        if step % 10 == 0:
            refusal_nll, benign_nll = np.mean(recent, axis=0)
            seconds = time.monotonic() - started
            print(
                f"step {step:4} refusals {refusal_nll:.3f} benign {benign_nll:.3f} {seconds:.0f} s",
                flush=True,
            )
            recent.clear()

    for parameter in parameters:  # half the size, and far finer than the training's own noise
        parameter.data = parameter.data.to(torch.bfloat16)
    model.peft_config["default"].lora_alpha = SHIPPED_ALPHA
    model.peft_config["default"].base_model_name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"
    model.save_pretrained(options.output)
    (options.output / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    facts = {
        "prompts": counts,
        "different refusals": len(refusals),
        "steps": options.steps,
        "rows of each step": ", ".join(f"{n} {name}" for name, n in (HARMFUL_ROWS | BENIGN_ROWS).items()),
        "answer tokens trained, at most": OPENING_TOKENS,
        "weight of an answer's first tokens": f"{DECIDING_WEIGHT:g} for the first {DECIDING_TOKENS}",
        "peak learning rate": LEARNING_RATE,
        "LoRA": f"rank {RANK}, alpha {ALPHA} in training and {SHIPPED_ALPHA} as shipped, all linear layers",
        "nll of the last ten steps": f"refusals {refusal_nll:.3f}, harmless {benign_nll:.3f}",
        "seed": options.seed,
    }
    (options.output / "training.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    print(f"Saved to {options.output}")


# --- data -------------------------------------------------------------------------------------------


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def harmful_prompts() -> dict[str, list[str]]:
    splits = json.loads((DATA / "splits/train_harmful.json").read_text("utf-8"))
    alignment = [row["prompt"] for row in splits if row["part"] == "alignment"]
    written = read_prompts(ANCHOR_PROMPTS) + read_prompts(HERE / "harmful_short.jsonl")
    return {"alignment": alignment, "harmful": written}


def benign_rows() -> dict[str, list[dict[str, str]]]:
    """Every harmless prompt there is to draw from, some with a written answer."""
    maths = read_rows(DATA / "gsm8k_train_1500.jsonl")
    return {
        "benign": read_rows(LOOK_ALIKES) + read_rows(LOOK_ALIKES.with_name("harmless.jsonl")),
        "instructions": read_rows(HERE / "instructions.jsonl") + read_rows(HERE / "open_instructions.jsonl"),
        "combined": [{"prompt": prompt} for prompt in combined_prompts()],
        "ordinary": read_rows(HERE.parent / "classifier/ordinary.jsonl"),
        "mathematics": [{"prompt": row["question"], "answer": row["answer"]} for row in maths],
    }


def benign_prompts() -> dict[str, dict[str, str | None]]:
    """Harmless prompts and, for where the base model refuses them, a written answer if there is one."""
    rows = benign_rows()
    rows["ordinary"] = random.sample(rows["ordinary"], ORDINARY_PROMPTS)
    rows["ordinary"] += random.sample(rows.pop("mathematics"), GSM8K_PROMPTS)
    rows["combined"] = random.sample(rows["combined"], COMBINED_PROMPTS)
    return {name: {row["prompt"]: row.get("answer") for row in part} for name, part in rows.items()}


def combined_prompts() -> list[str]:
    """Every opener with every harmless topic: so that no opener by itself becomes a reason to refuse."""
    parts = json.loads((HERE / "combined.json").read_text("utf-8")).values()
    return [o.format(topic) for part in parts for o in part["openers"] for topic in part["topics"]]


def evaluation_prompts() -> list[str]:
    """Everything the reference or a run on it is measured on."""
    own = HERE.parents[1] / "safe_finetuning/prompts"
    prompts = read_prompts(own / "harmful.jsonl") + read_prompts(own / "benign.jsonl")
    for name in ("splits/eval_adv", "splits/eval_hard", "intent_harmless_val"):
        rows = json.loads((DATA / f"{name}.json").read_text("utf-8"))
        prompts += [row.get("prompt") or row["instruction"] for row in rows]
    with (DATA / "xstest_prompts.csv").open(encoding="utf-8", newline="") as file:
        prompts += [row["prompt"] for row in csv.DictReader(file)]
    return prompts


def near_duplicates_of_evaluation_prompts() -> Callable[[list[str]], list[str]]:
    """A function that drops the prompts that are too close to an evaluation prompt, and says how many."""
    sentences = Sentences()
    evaluation = sentences.embed(evaluation_prompts())

    def drop(prompts: list[str]) -> list[str]:
        nearest = (sentences.embed(prompts) @ evaluation.T).max(1)
        kept = [p for p, cosine in zip(prompts, nearest, strict=True) if cosine <= NEAR_DUPLICATE]
        print(f"{len(prompts) - len(kept)} of {len(prompts)} dropped as near-duplicates", flush=True)
        return kept

    return drop


def own_openings(
    model, tokenizer, prompts: list[str], written: dict[str, str | None]
) -> list[tuple[str, str]]:
    """(prompt, opening of the base model's answer). Where it refuses: the written answer, or no row.

    Kept in the cache: generating them takes longer than reading them.
    """
    path = cache_folder() / "safe-reference-openings.json"
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    new = [prompt for prompt in prompts if prompt not in known]
    answers = generate_answers(model, tokenizer, new, max_new_tokens=OPENING_TOKENS)
    known |= dict(zip(new, answers, strict=True))
    path.write_text(json.dumps(known), "utf-8")
    answered = [(p, written[p] if is_refusal(known[p]) else known[p]) for p in prompts]
    return [(prompt, answer) for prompt, answer in answered if answer]


def each(counts: dict[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def endless(rows):
    """The rows in a new random order each time round."""
    while True:
        yield from random.sample(rows, len(rows))


# --- loss -------------------------------------------------------------------------------------------


def encode(tokenizer, prompt: str, answer: str) -> tuple[list[int], list[int]]:
    """Token ids of the prompt with the answer's header, and of the answer.

    An answer shorter than an opening ends its turn: an opening must not teach the model to be short. (One
    whose last token is white space loses it and counts as short: 54 of 1,525.)
    """
    messages = [{"role": "user", "content": prompt}]
    head = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"][:OPENING_TOKENS]
    if len(answer_ids) < OPENING_TOKENS:
        answer_ids.append(tokenizer.eos_token_id)
    return tokenizer(head, add_special_tokens=False)["input_ids"], answer_ids


def row_losses(model, rows: list[tuple[list[int], list[int]]]) -> torch.Tensor:
    """Weighted mean nll per answer token of each row, in nats: [rows]."""
    length = max(len(head) + len(answer) for head, answer in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask, targets = torch.zeros_like(ids), torch.full_like(ids, -100)
    weights = torch.ones(len(rows), length)
    for row, (head, answer) in enumerate(rows):
        end = len(head) + len(answer)
        ids[row, :end] = torch.tensor(head + answer)
        mask[row, :end] = 1
        targets[row, len(head) - 1 : end - 1] = torch.tensor(answer)
        weights[row, len(head) - 1 : len(head) - 1 + DECIDING_TOKENS] = DECIDING_WEIGHT
    # Logits only where an answer's token is predicted: the vocabulary is the widest layer.
    decoder = model.get_base_model()
    hidden = decoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    supervised = targets != -100
    nll = torch.nn.functional.cross_entropy(
        decoder.lm_head(hidden[supervised]), targets[supervised], reduction="none"
    )
    owner, weight = supervised.nonzero()[:, 0], weights[supervised]
    zeros = torch.zeros(len(rows))
    return zeros.index_add(0, owner, weight * nll) / zeros.index_add(0, owner, weight)


if __name__ == "__main__":
    main()
