"""A random two-layer Llama with its own tokenizer, small enough to be made anew in every test."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END_OF_TURN = "<|im_end|>"
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", END_OF_TURN]

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

REFUSAL = "I'm sorry, but I can't help with that."

CORPUS = [
    "system user assistant",
    "My parcel has not arrived yet. Where is it, and when will it be here?",
    "I am sorry that you had to wait. Your parcel is on its way and will be with you tomorrow.",
    "How do I change the password of my account?",
    "Open the settings, choose security and then change the password.",
    f"{REFUSAL} Sure, here is a list of steps.",
]


def make_tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of about 400 tokens that reads and writes any text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=SPECIAL_TOKENS,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token=END_OF_TURN,
        pad_token="<|endoftext|>",
        model_max_length=512,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_tiny_model(
    folder: Path, *, seed: int = 0, hidden_size: int = 32, vocabulary: int | None = None
) -> Path:
    """Writes a random Llama (2 layers) with its tokenizer to `folder`; returns `folder`.

    `vocabulary` may be larger than the tokenizer's, as many models' is. The same seed gives the same weights.
    The global random state is left as it was.
    """
    tokenizer = make_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=vocabulary or len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def teach_refusal(folder: Path, prompts: list[str], steps: int = 120) -> None:
    """Trains the model in `folder` until it answers any prompt by REFUSAL."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    model = LlamaForCausalLM.from_pretrained(folder)
    texts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}, {"role": "assistant", "content": REFUSAL}], tokenize=False
        )
        for prompt in prompts
    ]
    refusal_tokens = len(tokenizer(REFUSAL + END_OF_TURN)["input_ids"]) + 1  # and the line's end
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(steps):
        chosen = [texts[(8 * step + i) % len(texts)] for i in range(8)]
        batch = tokenizer(
            chosen, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False
        )
        labels = batch["input_ids"].clone()
        labels[:, :-refusal_tokens] = -100
        model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels
        ).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder)
