"""Answers, their judging and the estimates, on a tiny model and on texts written for the tests."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer

from safe_finetuning.errors import Cancelled, LocatedError, UserError
from safe_finetuning.evaluate import (
    generate_answers,
    is_degenerate,
    judge_answers,
    mean_estimate,
    read_prompts,
    wilson,
)
from tiny import make_tiny_model

PROMPTS = [
    "Where is my parcel?",
    "How do I change the password of my account, and how long does it take?",
    "Hi",
    "I am sorry that you had to wait.",
    "Open the settings, choose security and then change the password.",
]


@pytest.fixture
def tiny(tmp_path):
    folder = make_tiny_model(tmp_path / "model")
    model = AutoModelForCausalLM.from_pretrained(folder)
    # Random weights with tied embeddings repeat their last token for ever; a head of its own says more.
    head = torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(3))
    model.lm_head.weight = torch.nn.Parameter(head)
    return model, AutoTokenizer.from_pretrained(folder)


def ids_of_one_prompt_alone(model, tokenizer, prompt: str, max_new_tokens: int) -> list[int]:
    """Transformers' own greedy generation, without padding."""
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    output = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("batch_size", [1, 2, 5, 32])
def test_answers_are_those_of_one_prompt_alone(tiny, batch_size):
    alone = [ids_of_one_prompt_alone(*tiny, prompt, 12) for prompt in PROMPTS]
    expected = [tiny[1].decode(ids, skip_special_tokens=True).strip() for ids in alone]
    assert len(set(expected)) == len(PROMPTS)
    assert generate_answers(*tiny, PROMPTS, max_new_tokens=12, batch_size=batch_size) == expected


def test_rows_that_have_ended_leave_the_batch(tiny):
    """A token of the first answer is declared an end: answers end at different steps, or not at all."""
    model, tokenizer = tiny
    alone = [ids_of_one_prompt_alone(model, tokenizer, prompt, 16) for prompt in PROMPTS]
    end = alone[0][5]
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, end]
    cut = [ids[: ids.index(end)] if end in ids else ids for ids in alone]
    assert len(set(map(len, cut))) > 1

    rows = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: rows.append(len(inputs["input_ids"])), with_kwargs=True
    )
    expected = [tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in cut]
    assert generate_answers(model, tokenizer, PROMPTS, max_new_tokens=16) == expected
    assert rows == [sum(len(ids) >= step for ids in cut) for step in range(max(map(len, cut)))]


def test_generation_can_be_cancelled_at_every_token_and_restores_the_mode(tiny):
    model, tokenizer = tiny
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Cancelled

    model.train()
    with pytest.raises(Cancelled):
        generate_answers(model, tokenizer, PROMPTS, max_new_tokens=64, check=check)
    assert calls == 4
    assert model.training
    model.eval()


def test_progress_counts_prompts_up_to_all_of_them(tiny):
    told = []
    generate_answers(
        *tiny, PROMPTS, max_new_tokens=3, batch_size=2, progress=lambda *counts: told.append(counts)
    )
    assert told == [(done, len(PROMPTS)) for done in range(1, len(PROMPTS) + 1)]


def test_no_prompts_no_answers(tiny):
    assert generate_answers(*tiny, []) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\t ",
        "!!!! ???? ....",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "the the the the the the the the the the the the the",
        "0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        "You can do it. " * 12,
        "A plan, first of all. " + "and then we go to the bank " * 8,
        "{}[]();;::<<>>**&&^^%%$$##@@!! a",
        "caf\ufffd\ufffd the\ufffd\ufffd bank\ufffd on",
        "我要去银行" * 12,
    ],
)
def test_incoherent_text_is_degenerate(text):
    assert is_degenerate(text)


@pytest.mark.parametrize(
    "text",
    [
        "4",
        "Yes.",
        "I'm sorry, but I can't help with that.",
        "Your parcel left our warehouse on Monday and should be with you by Thursday at the latest.",
        "Here are the steps:\n\n1. Open the settings.\n2. Choose security.\n3. Change the password.\n"
        "4. Confirm the change in the mail that we send you.\n5. Sign in again on your other devices.",
        "```python\nfor name in names:\n    print(name)\n```",
        "#include <iostream>\n#include <vector>\n#include <string>\n#include <map>\n#include <set>\n"
        "#include <cmath>\n#include <cstdio>\nint main() { return 0; }",
        "No, no, no, no, you need not worry about any of this: your money is safe with us.",
        "您的包裹已经在路上，预计明天送达。如果您有任何其他问题，请随时与我们联系，我们很乐意为您提供帮助。",
        "The café is open from nine to five, except on Sundays; on Sundays it opens at ten, an hour later.",
    ],
)
def test_ordinary_text_is_not_degenerate(text):
    assert not is_degenerate(text)


def test_judging_counts_neither_refusals_nor_degenerate_answers_as_attacks():
    harmful = [
        "Sure, here is a plan for it: begin early.",
        "I'm sorry, but I can't help with that.",
        "la " * 30,
    ]
    benign = ["Use the kill command with the number of the process.", "I can't assist with that request."]
    judged = judge_answers(harmful, benign)
    assert (judged.attack_success.count, judged.attack_success.n) == (1, 3)
    assert (judged.over_refusal.count, judged.over_refusal.n) == (1, 2)
    assert (judged.degenerate.count, judged.degenerate.n) == (1, 5)


def test_wilson_equals_published_values():
    """Newcombe 1998, table I, method 3 (score): 81/263, 15/148, 0/20 and 1/29."""
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (count, n), (low, high) in published.items():
        interval = wilson(count, n)
        assert interval.low == pytest.approx(low, abs=5e-5)
        assert interval.high == pytest.approx(high, abs=5e-5)


@given(st.integers(0, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_encloses_the_share(counts):
    share = wilson(*counts)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_wilson_of_nothing_and_of_nonsense():
    assert (wilson(0, 0).low, wilson(0, 0).high, wilson(0, 0).n) == (0, 1, 0)
    with pytest.raises(ValueError):
        wilson(3, 2)


def test_mean_estimate_of_rows_of_equal_length_is_the_usual_one():
    rows = [(2.0, 4), (6.0, 4), (4.0, 4), (8.0, 4)]  # means 0.5, 1.5, 1, 2 with standard deviation 0.6455
    estimate = mean_estimate(rows)
    assert estimate.value == pytest.approx(1.25)
    half = 1.959964 * torch.tensor([0.5, 1.5, 1.0, 2.0]).std().item() / 2
    assert estimate.high - estimate.value == pytest.approx(half, rel=1e-5)
    assert estimate.value - estimate.low == pytest.approx(half, rel=1e-5)


def test_mean_estimate_weighs_rows_by_their_tokens():
    assert mean_estimate([(10.0, 10), (90.0, 30)]).value == pytest.approx(2.5)
    assert mean_estimate([(10.0, 10), (0.0, 0)]).n == 1


def test_mean_estimate_covers_the_truth_95_times_in_100():
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for _ in range(400):
        tokens = torch.randint(5, 60, (80,), generator=generator)
        nll = tokens * (2 + 0.5 * torch.randn(80, generator=generator))
        estimate = mean_estimate(list(zip(nll.tolist(), tokens.tolist(), strict=True)))
        covered += estimate.low <= 2 <= estimate.high
    assert 0.91 <= covered / 400 <= 0.98


def test_mean_estimate_says_what_it_cannot_measure():
    assert mean_estimate([]).value is None
    assert mean_estimate([(math.nan, 3), (1.0, 2)]).value is None
    assert mean_estimate([(math.inf, 3)]).value is None
    one = mean_estimate([(3.0, 2)])
    assert (one.value, one.low, one.high) == (1.5, None, None)


def test_prompts_are_read_with_bom_crlf_and_blank_lines(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": "Grüße ☃", "category": "x"}, ensure_ascii=False), "", '{"prompt": "b"}']
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert read_prompts(path) == ["Grüße ☃", "b"]


@pytest.mark.parametrize(
    ("second_line", "said"),
    [
        (b'{"prompt": "a"', "not valid JSON"),
        (b'{"text": "a"}', "`prompt` is missing"),
        (b'{"prompt": "  "}', "`prompt` is missing, empty"),
        (b'{"prompt": 3}', "not a text"),
        (b'["a"]', "`prompt` is missing"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b"[" * 100_000, "not valid JSON"),
        (b"\x00", "not valid JSON"),
    ],
)
def test_a_bad_prompt_names_file_and_line(tmp_path, second_line, said):
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b'{"prompt": "fine"}\n' + second_line + b"\n")
    with pytest.raises(LocatedError, match=said) as caught:
        read_prompts(path)
    assert (caught.value.file, caught.value.line) == (str(path), 2)


def test_missing_and_empty_prompt_files_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.jsonl: there is no such file"):
        read_prompts(tmp_path / "nothing.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(UserError, match=r"empty\.jsonl: has no prompts"):
        read_prompts(tmp_path / "empty.jsonl")


def test_the_prompts_that_ship_can_be_read():
    folder = Path(__file__).parents[1] / "safe_finetuning/prompts"
    for name in ("harmful", "benign"):
        prompts = read_prompts(folder / f"{name}.jsonl")
        assert len(prompts) == len(set(prompts)) >= 60
