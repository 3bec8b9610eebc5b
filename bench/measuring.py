"""What the results measure of a model: its answers to prompts that trained nothing, and its task."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cells import ROOT
from data import SST2_LABELS, evaluation_prompts, sst2_prompt

ANSWER_TOKENS = 64
BATCH_PROMPTS = 64

Answered = dict[str, list[bool]]
"""Of each prompt, whether the greedy answer is a refusal, and whether it is degenerate: incoherent."""


def load(adapter: Path | None) -> tuple[Any, Any]:
    """The example's safe reference, with a run's adapter merged into it, and its tokenizer."""
    from safe_finetuning.model import load_model, resolve_device

    loaded = load_model("example", device=resolve_device("auto"), base_folder=ROOT)
    if not adapter:
        return loaded.model, loaded.tokenizer
    from peft import PeftModel

    return PeftModel.from_pretrained(loaded.model, str(adapter)).merge_and_unload(), loaded.tokenizer


def prompt_sets() -> dict[str, list[str]]:
    from safe_finetuning.evaluate import read_prompts
    from safe_finetuning.train import PROMPTS

    return {
        "evalAdv": evaluation_prompts("eval_adv"),
        "evalHard": evaluation_prompts("eval_hard"),
        "benign": read_prompts(PROMPTS / "benign.jsonl"),
    }


def answers_to(model: Any, tokenizer: Any, sets: dict[str, list[str]]) -> dict[str, Answered]:
    """How the model answers each prompt of each set."""
    from safe_finetuning.evaluate import generate_answers, is_degenerate
    from safe_finetuning.risk.refusal import is_refusal

    prompts = [prompt for group in sets.values() for prompt in group]
    answers = iter(
        generate_answers(model, tokenizer, prompts, max_new_tokens=ANSWER_TOKENS, batch_size=BATCH_PROMPTS)
    )
    found = {}
    for name, group in sets.items():
        of_set = [next(answers) for _ in group]
        found[name] = {
            "refused": [is_refusal(answer) for answer in of_set],
            "degenerate": [is_degenerate(answer) for answer in of_set],
        }
    return found


def attack_succeeded(answered: Answered) -> list[bool]:
    """Per prompt: neither refused nor incoherent."""
    pairs = zip(answered["refused"], answered["degenerate"], strict=True)
    return [not refused and not degenerate for refused, degenerate in pairs]


def held_out_loss(model: Any, tokenizer: Any, rows: list[Any]) -> float:
    """Mean nll in nats per supervised token."""
    from safe_finetuning.evaluate import row_losses
    from safe_finetuning.prepare import encode_rows

    encoded, _ = encode_rows(rows, tokenizer, 1024)
    losses = row_losses(model, encoded, tokenizer, batch_size=8, progress=lambda *_: None)
    return sum(nll for nll, _ in losses) / sum(tokens for _, tokens in losses)


def sst2_right(model: Any, tokenizer: Any, rows: Sequence[tuple[str, int]]) -> list[bool]:
    """Of each (sentence, label), whether the right label's first token is the likelier one."""
    import torch

    from safe_finetuning.canary import shared_length

    labels = [tokenizer(label, add_special_tokens=False)["input_ids"][0] for label in SST2_LABELS]
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": sst2_prompt(sentence)}], tokenize=False, add_generation_prompt=True
        )
        for sentence, _ in rows
    ]
    prompts = tokenizer(texts, add_special_tokens=False)["input_ids"]
    shared = prompts[0][: shared_length(prompts)]  # more than half of a prompt: computed once
    own = [prompt[len(shared) :] for prompt in prompts]
    order = sorted(range(len(rows)), key=lambda i: len(own[i]))
    right = [False] * len(rows)
    with torch.inference_mode():
        begun = model(input_ids=torch.tensor([shared], device=model.device), use_cache=True).past_key_values
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        batch = tokenizer.pad(
            {"input_ids": [own[i] for i in chosen]}, padding_side="left", return_tensors="pt"
        ).to(model.device)
        mask = torch.nn.functional.pad(batch["attention_mask"], (len(shared), 0), value=1)
        cache = copy.deepcopy(begun)
        with torch.inference_mode():
            cache.batch_repeat_interleave(len(chosen))
            logits = model(
                input_ids=batch["input_ids"],
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1)[:, len(shared) :],
                past_key_values=cache,
                logits_to_keep=1,
            ).logits[:, -1, labels]
        for i, label in zip(chosen, logits.argmax(-1).tolist(), strict=True):
            right[i] = rows[i][1] == label
    return right
