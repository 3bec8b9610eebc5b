"""Which tokens are supervised, on five chat templates."""

import pytest

from safe_finetuning.rows import Message, Row
from safe_finetuning.tokens import TemplateError, before_answer, encode_row
from tiny import CHAT_TEMPLATE, make_tiny_tokenizer

CHATML = CHAT_TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")
LLAMA_2 = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + '<|im_end|>' }}"
    "{% else %}{{ '<|im_start|>[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{{ '<|im_start|>' }}{% for m in messages %}"
    "{{ '[' + m['role'] + ']\n\n' + m['content'] | trim + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '[assistant]\n\n' }}{% endif %}"
)
GEMMA = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{{ '<|im_start|>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n'"
    " + m['content'] | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>model\n' }}{% endif %}"
)
TEMPLATES = {
    "generation mask": CHAT_TEMPLATE,
    "ChatML": CHATML,
    "Llama 2": LLAMA_2,
    "Llama 3": LLAMA_3,
    "Gemma": GEMMA,
}
THOUGHTLESS = "{{ '<think>\n\n</think>\n\n' }}"
QWEN_3 = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.last and '<think>' not in m['content'] %}"
    + THOUGHTLESS
    + "{% endif %}"
    "{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    + THOUGHTLESS
    + "{% endif %}{% endif %}"
)
THINKING = {
    "by prefix": QWEN_3,
    "by a generation mask that counts the thoughts": (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
        "{% generation %}" + THOUGHTLESS + "{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
        "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% if not enable_thinking | default(true) %}" + THOUGHTLESS + "{% endif %}{% endif %}"
    ),
}
CONVERSATION = (
    Message("user", "Where is my parcel?"),
    Message("assistant", "On its way. 📦"),
    Message("user", "And the invoice?"),
    Message("assistant", "In your account."),
)


def supervised_text(template: str, messages: tuple[Message, ...], max_length: int = 512) -> str:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = template
    encoded = encode_row(Row(1, "0" * 16, messages), tokenizer, max_length)
    kept = [i for i, s in zip(encoded.ids, encoded.supervised, strict=True) if s]
    return tokenizer.decode(kept)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_answer_with_its_end_of_turn_and_nothing_else(name):
    text = supervised_text(TEMPLATES[name], CONVERSATION)
    answers = [part.strip() for part in text.split("<|im_end|>")]
    assert answers == ["On its way. 📦", "In your account.", ""]


@pytest.mark.parametrize("name", THINKING)
def test_thoughts_that_are_left_empty_are_no_part_of_the_answer(name):
    """The answer begins where it does when the model is asked for one."""
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = THINKING[name]
    assert supervised_text(THINKING[name], CONVERSATION[:2]) == "On its way. 📦<|im_end|>"
    encoded = encode_row(Row(1, "0" * 16, CONVERSATION[:2]), tokenizer, 512)
    prompt = before_answer([{"role": "user", "content": CONVERSATION[0].content}], tokenizer)
    assert prompt.endswith("</think>\n\n")
    assert encoded.ids[: encoded.supervised.index(True)] == tokenizer(prompt)["input_ids"]


def test_thoughts_of_its_own_are_part_of_an_answer():
    thoughtful = "<think>\nIt left today.\n</think>\n\nOn its way."
    assert supervised_text(QWEN_3, (CONVERSATION[0], Message("assistant", thoughtful))) == (
        f"{thoughtful}<|im_end|>"
    )


def test_truncation_is_said():
    tokenizer = make_tiny_tokenizer()
    row = Row(1, "0" * 16, CONVERSATION)
    whole, cut = encode_row(row, tokenizer, 512), encode_row(row, tokenizer, 10)
    assert not whole.truncated and cut.truncated
    assert cut.ids == whole.ids[:10] and len(cut.supervised) == 10
    assert cut.n_supervised == 0 < whole.n_supervised


def test_a_template_that_refuses_a_row_says_so():
    with pytest.raises(TemplateError, match="System role not supported"):
        supervised_text(GEMMA, (Message("system", "Be kind."), *CONVERSATION))


def test_a_template_that_rewrites_earlier_turns_is_refused():
    rewriting = (
        "{% for m in messages %}{% if m['role'] != 'assistant' or loop.last %}"
        "{{ m['role'] + ':' + m['content'] }}{% endif %}{% endfor %}"
    )
    with pytest.raises(TemplateError, match="rewrites earlier turns"):
        supervised_text(rewriting, CONVERSATION)


def test_a_first_answer_does_not_train_the_default_system_turn():
    with_default = "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}" + CHATML
    first = (Message("assistant", "Welcome!"), *CONVERSATION[:2])
    assert supervised_text(with_default, first) == "Welcome!<|im_end|>On its way. 📦<|im_end|>"


TOOL_CONVERSATION = (
    Message("user", "When?"),
    Message("tool", "12:00"),
    Message("assistant", "At noon."),
)


def test_turns_of_tools_are_rendered():
    assert supervised_text(CHATML, TOOL_CONVERSATION) == "At noon.<|im_end|>"


def test_a_template_that_leaves_turns_out_is_said():
    only_two = CHATML.replace(
        "{% for message in messages %}", "{% for message in messages if message['role'] != 'tool' %}"
    )
    with pytest.raises(TemplateError, match="leaves turns of the role `tool` out"):
        supervised_text(only_two, TOOL_CONVERSATION)


def test_a_plain_text_is_trained_on_as_it_stands():
    tokenizer = make_tiny_tokenizer()
    row = Row(1, "0" * 16, (Message("text", "Once upon a time."),))
    encoded = encode_row(row, tokenizer, 512)
    assert tokenizer.decode(encoded.ids) == f"Once upon a time.{tokenizer.eos_token}"
    assert all(encoded.supervised) and not encoded.truncated
    assert encode_row(row, tokenizer, 3).truncated
    assert row.pairs() == [("", "Once upon a time.", (), 1)]
