"""Rows as token ids, and which of the tokens are supervised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .rows import Row


@dataclass(frozen=True)
class EncodedRow:
    """One row ready for training. `ids` and `supervised` have the same length."""

    row: Row
    ids: list[int]
    supervised: list[bool]
    truncated: bool

    @property
    def n_supervised(self) -> int:
        # The first token has nothing before it, so nothing can predict it.
        return sum(self.supervised[1:])

    def cut(self, max_length: int) -> EncodedRow:
        """The row as it is trained on."""
        longer = len(self.ids) > max_length
        return EncodedRow(
            self.row, self.ids[:max_length], self.supervised[:max_length], self.truncated or longer
        )


class TemplateError(ValueError):
    """The chat template cannot render a row, or not so that its answers can be told apart."""


def encode_row(row: Row, tokenizer: Any, max_length: int) -> EncodedRow:
    """The row through the chat template, cut at `max_length` tokens; errors as in `encode_whole`."""
    return encode_whole(row, tokenizer).cut(max_length)


def encode_whole(row: Row, tokenizer: Any) -> EncodedRow:
    """The row through the chat template, however long.

    Supervised are all assistant turns with their end-of-turn token: by the template's own generation
    mask, or where it has none, by comparing the text before and after each turn. A plain text is supervised
    as a whole, with the token that ends texts.

    Raises:
        TemplateError: the template cannot render the row.
    """
    if row.messages[0].role == "text":
        ids = list(tokenizer(row.messages[0].content)["input_ids"])
        if tokenizer.eos_token_id is not None and ids[-1:] != [tokenizer.eos_token_id]:
            ids.append(tokenizer.eos_token_id)
        return EncodedRow(row, ids, [True] * len(ids), truncated=False)
    messages = [{"role": m.role, "content": m.content} for m in row.messages]
    _require_tool_turns(messages, tokenizer)
    template = _template(tokenizer)
    # A template that can think may count the thoughts that it leaves empty as the answer.
    marked = "{% generation" in template or "{%- generation" in template
    if marked and "enable_thinking" not in template:
        ids, supervised = _by_generation_mask(messages, tokenizer)
    else:
        ids, supervised = _by_prefix(messages, tokenizer)
    return EncodedRow(row, ids, supervised, truncated=False)


def _require_tool_turns(messages: list[dict[str, str]], tokenizer: Any) -> None:
    """Many templates leave turns of a role out that they do not know, and say nothing."""
    tools = [i for i, m in enumerate(messages) if m["role"] == "tool" and m["content"].strip()]
    whole = _render(messages, tokenizer) if tools else ""
    for turn in tools:
        try:
            without = _render(messages[:turn] + messages[turn + 1 :], tokenizer)
        except TemplateError:
            continue
        if whole == without:
            raise TemplateError("the chat template leaves turns of the role `tool` out")


def _template(tokenizer: Any) -> str:
    template = tokenizer.chat_template
    return template if isinstance(template, str) else tokenizer.get_chat_template()


def _by_generation_mask(messages: list[dict[str, str]], tokenizer: Any) -> tuple[list[int], list[bool]]:
    try:
        encoded = tokenizer.apply_chat_template(
            messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
    except Exception as error:  # Jinja raises whatever the template's author chose
        raise TemplateError(f"the chat template cannot render this row: {error}") from None
    return list(encoded["input_ids"]), [bool(m) for m in encoded["assistant_masks"]]


def _by_prefix(messages: list[dict[str, str]], tokenizer: Any) -> tuple[list[int], list[bool]]:
    whole = _render(messages, tokenizer)
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)
    supervised = [False] * len(encoded["input_ids"])
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        through = _render(messages[: turn + 1], tokenizer)
        if turn:
            before = before_answer(messages[:turn], tokenizer)
            if not through.startswith(before):  # perhaps the answer begins with thoughts of its own
                before = _render(messages[:turn], tokenizer, add_generation_prompt=True, enable_thinking=True)
        else:  # what stands before a first answer may be a default system turn: not its own
            before = through[: max(0, through.rfind(message["content"].strip()))]
        if not (whole.startswith(through) and through.startswith(before)):
            raise TemplateError(
                "the chat template rewrites earlier turns, so the answer's tokens cannot be told apart"
            )
        # White space after the end-of-turn token belongs to the template, not to the answer.
        start, end = len(before), len(through.rstrip())
        for i, (first, last) in enumerate(encoded["offset_mapping"]):
            if first >= start and last <= end and last > first:
                supervised[i] = True
    return list(encoded["input_ids"]), supervised


def before_answer(messages: list[dict[str, str]], tokenizer: Any) -> str:
    """A conversation as the model reads it, up to where the next answer begins.

    Templates of reasoning models know `enable_thinking`: where it is false, the answer begins behind thoughts
    that are left empty.

    Raises:
        TemplateError: the template cannot render it.
    """
    return _render(messages, tokenizer, add_generation_prompt=True)


def _render(messages: list[dict[str, str]], tokenizer: Any, **options: bool) -> str:
    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, **{"enable_thinking": False, **options}
        )
    except Exception as error:  # Jinja raises whatever the template's author chose
        raise TemplateError(f"the chat template cannot render this row: {error}") from None
