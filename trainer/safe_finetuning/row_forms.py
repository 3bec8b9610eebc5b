"""The forms in which files write a conversation, read into one: messages of system, user, assistant, tool.

The names are in row_forms.json, which the extension reads, too (src/datasets/rowForms.ts). A key that is null
counts as missing. The first that fits:

- A list of turns: OpenAI's `messages`, ShareGPT's `conversations`. A content is text or a list of text parts.
  In a table, which has no lists, the list is written as JSON.
- A prompt and its answer: Alpaca (`instruction`, `input`, `output`), prompt/completion, question/answer and
  the like. What stands in `input` or `context` follows the prompt on a line of its own, the turns of
  `history` ([prompt, answer] each) come before it. A prompt or an answer may also be a list of turns.
- A text by itself (`text`), which is trained on as it stands: one message of the role `text`.

A system prompt beside the conversation becomes its first turn, unless it has one. What could only be left
out makes the row invalid: nothing else is trained than what the row says.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

FORMS = json.loads(Path(__file__).with_name("row_forms.json").read_text("utf-8"))
EXPECTED = "use `messages`, each with a `role` and a `content`, or two keys such as `prompt` and `completion`"
JSON = json.JSONDecoder(parse_constant=lambda name: _no_number(name), parse_int=float)
"""Integers are not read: those of thousands of digits would be an error."""
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
ANSWERING = ("assistant", "text")
"""Roles whose text is trained on."""
BESIDE_NO_TEXT = [
    *dict.fromkeys(name for form in FORMS["exchanges"] for name in (form["prompt"], form["answer"])),
    *(*FORMS["inputs"], *FORMS["systemKeys"], "history", "chosen", "rejected"),
]
"""What a plain text cannot have beside it: it would be left out."""
NOT_BLANK = re.compile("[^\\s\ufeff]")  # what JavaScript and Python both count as white space is blank


class Message(NamedTuple):
    role: str
    content: str


class Invalid(Exception):
    """`column` is that of a character; without one, the row as a whole is meant."""

    def __init__(self, code: str, message: str, column: int | None = None) -> None:
        self.code, self.message, self.column = code, message, column


def from_json(text: str) -> Any:
    """Raises Invalid."""
    try:
        return JSON.decode(text)
    except json.JSONDecodeError as error:
        column = utf16_length(text[: error.pos]) + 1
        raise Invalid("not-json", f"not valid JSON: {error.msg}", column) from None
    except RecursionError:
        raise Invalid("not-json", "not valid JSON: nested too deeply") from None


def utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _no_number(name: str) -> None:
    raise Invalid("not-json", f"not valid JSON: {name} is not a JSON number")


def conversation_of(row: dict[str, Any]) -> tuple[Message, ...]:
    """The conversation that a row of any of the forms is.

    Raises:
        Invalid: it is none, or has nothing to train on.
    """
    messages = _messages_of(row)
    if not any(NOT_BLANK.search(m.content) for m in messages):
        raise Invalid("empty", "every message is blank; remove the row or fill it in")
    if not any(m.role in ANSWERING and NOT_BLANK.search(m.content) for m in messages):
        raise Invalid("no-assistant", "has no assistant turn with text, so there is nothing to train on")
    return tuple(messages)


def _messages_of(row: dict[str, Any]) -> list[Message]:
    def present(key: str) -> bool:
        return row.get(key) is not None

    for key in FORMS["unsupported"]["row"]:
        if is_filled(row.get(key)):
            raise Invalid("unsupported", f"has `{key}`, which is not trained on yet")
    for key in (key for key in FORMS["turns"] if _is_given(row.get(key))):
        return _with_system(row, _turns(_list_of(row[key], key), key))
    for form in FORMS["exchanges"]:
        prompt, answer = form["prompt"], form["answer"]
        if not (present(prompt) and present(answer)):
            continue
        asked = _side(row[prompt], prompt, "user")
        for more in (key for key in FORMS["inputs"] if key != prompt and present(key)):
            text = _text(row[more], more)
            if NOT_BLANK.search(text):
                asked = [Message("user", f"{_alone(asked, row[prompt], more)}\n{text}")]
        history = row.get("history")
        earlier = _history(_list_of(history, "history")) if _is_given(history) else []
        if earlier:
            _alone(asked, row[prompt], "history")
        return _with_system(row, [*earlier, *asked, *_side(row[answer], answer, "assistant")])
    for key in (key for key in FORMS["texts"] if present(key)):
        beside = next((name for name in BESIDE_NO_TEXT if is_filled(row.get(name))), None)
        if beside is not None:
            raise Invalid("bad-message", f"`{beside}` stands beside a plain `{key}`, which has no turns")
        return [Message("text", _text(row[key], key))]
    raise Invalid("no-conversation", f"is no conversation; {EXPECTED}")


def _is_given(value: Any) -> bool:
    """In a table, a cell without a list is blank."""
    return value is not None and not (isinstance(value, str) and not NOT_BLANK.search(value))


def _list_of(value: Any, key: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return from_json(value)
    except Invalid as invalid:
        raise Invalid("bad-message", f"`{key}` is text that is {invalid.message}") from None


def _with_system(row: dict[str, Any], messages: list[Message]) -> list[Message]:
    key = next((key for key in FORMS["systemKeys"] if row.get(key) is not None), None)
    if key is None or any(message.role == "system" for message in messages):
        return messages
    content = _text(row[key], key)
    return [Message("system", content), *messages] if NOT_BLANK.search(content) else messages


def _side(value: Any, key: str, role: str) -> list[Message]:
    return _turns(value, key) if isinstance(value, list) else [Message(role, _text(value, key))]


def _alone(asked: list[Message], prompt: Any, key: str) -> str:
    """The text of a prompt that is one; where it is a list of turns, `key` has no place among them."""
    if isinstance(prompt, list):
        raise Invalid("bad-message", f"`{key}` stands beside a prompt that is a list of turns")
    return asked[0].content


def _history(value: Any) -> list[Message]:
    if not isinstance(value, list):
        raise Invalid("bad-message", "`history` is not a list of [prompt, answer]")
    found = []
    for number, turns in enumerate(value, start=1):
        if not isinstance(turns, list) or len(turns) != 2 or not all(isinstance(x, str) for x in turns):
            raise Invalid("bad-message", f"entry {number} of `history` is not a [prompt, answer]")
        found += [Message("user", _well_formed(turns[0])), Message("assistant", _well_formed(turns[1]))]
    return found


def _turns(value: Any, key: str) -> list[Message]:
    if not isinstance(value, list):
        raise Invalid("no-conversation", f"`{key}` is not a list of turns; {EXPECTED}")
    if not value:
        raise Invalid("empty", f"`{key}` is empty; remove the row or fill it in")
    return [_turn(turn, number) for number, turn in enumerate(value, start=1)]


def _turn(value: Any, number: int) -> Message:
    if not isinstance(value, dict):
        raise Invalid("bad-message", f"message {number} is not an object with a `role` and a `content`")
    for key in FORMS["unsupported"]["turn"]:
        if is_filled(value.get(key)):
            raise Invalid("unsupported", f"message {number} has `{key}`, which is not trained on yet")
    if _is_zero(value.get("weight")):
        raise Invalid("unsupported", f"message {number} has the weight 0; every answer is trained on")
    content = next((value[key] for key in FORMS["contentKeys"] if value.get(key) is not None), None)
    if isinstance(content, list):
        content = "\n".join(_part(part, number) for part in content)
    if not isinstance(content, str):
        raise Invalid("bad-message", f"message {number} needs a text `content`")
    role = next((value[key] for key in FORMS["roleKeys"] if value.get(key) is not None), None)
    known = FORMS["roles"].get(role) if isinstance(role, str) else None
    if known is None:
        roles = ", ".join(dict.fromkeys(FORMS["roles"].values()))
        raise Invalid("unknown-role", f"message {number} has no role of {roles}")
    return Message(known, _well_formed(content))


def _part(value: Any, number: int) -> str:
    if not isinstance(value, dict) or value.get("type") != "text" or not isinstance(value.get("text"), str):
        raise Invalid("bad-message", f"message {number} has a part that is not text, which is not trained on")
    return value["text"]


def is_filled(value: Any) -> bool:
    return value is not None and value not in ([], "")


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise Invalid("bad-message", f"`{key}` is not text")
    return _well_formed(value)


def _well_formed(text: str) -> str:
    return _LONE_SURROGATE.sub("\ufffd", text)
