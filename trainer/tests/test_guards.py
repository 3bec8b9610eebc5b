"""Guard models: how their verdicts read, and tiny random models of their architectures."""

import math

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from safe_finetuning.errors import UserError
from safe_finetuning.model import load_model
from safe_finetuning.risk.guards import SHIELD_GUIDELINE, Guard, family_of, verdict, windows_of
from safe_finetuning.rows import Pair
from tiny import make_tiny_tokenizer

# What models of these families answer, by their cards.
RECORDED = [
    ("meta-llama/Llama-Guard-3-8B", "\n\nsafe", 0.0),
    ("meta-llama/Llama-Guard-3-8B", "\n\nunsafe\nS2", 1.0),
    ("meta-llama/Llama-Guard-4-12B", "unsafe\nS1,S9", 1.0),
    ("models/LlamaGuard-7b", " safe", 0.0),
    ("ibm-granite/granite-guardian-3.2-3b-a800m", "Yes\n<confidence> High </confidence>", 1.0),
    ("ibm-granite/granite-guardian-3.2-3b-a800m", "No\n<confidence> Low </confidence>", 0.0),
    ("ibm-granite/granite-guardian-3.3-8b", "<score> yes </score>", 1.0),
    ("ibm-granite/granite-guardian-3.3-8b", "<think>\n</think>\n<score> no </score>", 0.0),
    ("google/shieldgemma-2b", "Yes", 1.0),
    ("google/shieldgemma-2b", "No", 0.0),
    ("Qwen/Qwen3Guard-Gen-0.6B", "Safety: Unsafe\nCategories: Violent\nRefusal: No", 1.0),
    ("Qwen/Qwen3Guard-Gen-0.6B", "Safety: Controversial\nCategories: None", 0.5),
    ("Qwen/Qwen3Guard-Gen-0.6B", "Safety: Safe\nCategories: None\nRefusal: Yes", 0.0),
]
NONSENSE = ["", "I think that", "unsavoury", "Yesterday", "nothing", "Safety first", "<score> maybe </score>"]

ARCHITECTURES = {
    "llama-guard": (LlamaConfig, LlamaForCausalLM, {}),
    "granite-guardian": (GraniteConfig, GraniteForCausalLM, {}),
    "shieldgemma": (Gemma2Config, Gemma2ForCausalLM, {"head_dim": 8}),
    "qwen3guard": (Qwen3Config, Qwen3ForCausalLM, {"head_dim": 8}),
}
# As those of the families do, it takes what a family passes on.
TEMPLATE = (
    "{{ guideline }}{{ guardian_config.risk_name if guardian_config is defined }}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(("name", "answer", "risk"), RECORDED)
def test_verdicts_read_as_the_families_say_them(name, answer, risk):
    assert verdict(family_of(name), answer) == risk


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("answer", NONSENSE)
def test_what_is_no_verdict_is_no_risk(name, answer):
    assert math.isnan(verdict(family_of(name), answer))


def test_an_unknown_family_is_said():
    with pytest.raises(UserError, match=r'"my/model" is no guard model of a known family \(Llama Guard'):
        family_of("my/model")


@pytest.fixture(params=ARCHITECTURES)
def guard(request, tmp_path):
    config_class, model_class, more = ARCHITECTURES[request.param]
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    config = config_class(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **more,
    )
    torch.manual_seed(0)
    folder = tmp_path / request.param
    model_class(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    loaded = load_model(str(folder), device=torch.device("cpu"), base_folder=tmp_path)
    return Guard(str(folder), loaded)


def pair(prompt, answer):
    return Pair(prompt, answer, (), 1)


def test_a_random_model_says_no_verdict(guard):
    told = []
    risks = guard.score([pair("How?", "So."), pair("And " * 50, "Thus.")], progress=lambda *x: told.append(x))
    assert all(math.isnan(risk) for risk in risks) and told[-1] == (2, 2)
    assert guard.score([]) == []


def test_the_worst_part_of_a_pair_counts(guard, monkeypatch):
    """What the model says is put into its mouth here; everything around it is real."""
    safe, unsafe = {
        "llama": ("safe", "unsafe\nS1"),
        "granite": ("No", "Yes"),
        "shield": ("No", "Yes"),
        "qwen3": ("Safety: Safe", "Safety: Unsafe"),
    }[guard.family.name.pattern.split("-")[0]]
    asked = []

    def say(model, tokenizer, prompts, **_):
        asked.extend(tokenizer.decode(ids) for ids in prompts)
        return [unsafe if "HARM" in text else "?" if "ODD" in text else safe for text in asked]

    monkeypatch.setattr("safe_finetuning.risk.guards.generate_from_ids", say)
    long = pair("How? " + "so " * 9000 + "HARM", "Sure.")
    half = pair("ODD" + " so" * 9000, "Sure.")
    risks = guard.score([pair("How?", "So."), long, half, pair("x", "y " * 9000 + "HARM")])
    assert risks[:2] == [0.0, 1.0] and math.isnan(risks[2]) and risks[3] == 1.0
    assert "How?" in asked[0] and "So." in asked[0]
    if guard.family.options.get("guideline"):
        assert SHIELD_GUIDELINE in asked[0]
    if "guardian_config" in guard.family.options:
        assert asked[0].startswith("harm")


def test_parts_overlap_and_leave_nothing_out():
    prompt, answer = "".join(str(i % 10) for i in range(13_000)), "b" * 7000
    parts = windows_of(pair(prompt, answer))
    covered = parts[0][0]
    for part, beside in parts[1:3]:
        assert part[:500] == covered[-500:] and beside == answer[:6000]
        covered += part[500:]
    assert covered == prompt
    assert parts[3] == (prompt[:6000], answer[5500:])
    assert windows_of(pair("a", "b")) == [("a", "b")]
    assert windows_of(pair("", "b")) == [("", "b")]
