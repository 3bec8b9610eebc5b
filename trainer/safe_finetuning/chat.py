"""A run's safe reference and its fine-tuned model answer the same prompts, side by side, as they go.

Requests come on the standard input and replies go to the standard output, a JSON object a line (see
`protocol.py`). The two models take turns, a token each, so that both answers grow at once. With an adapter
there is one set of weights, and the reference is the model with the adapter switched off; of a run that
trained all weights, both models are loaded and kept.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pydantic

from . import checkpoints
from . import protocol as p
from .errors import UserError
from .evaluate import conversation_ids, end_ids, is_degenerate
from .judge import load_reference
from .resume import read_record
from .risk.refusal import is_refusal
from .train import load_trained

if TYPE_CHECKING:
    import torch

PROGRESS_SECONDS = 0.2
_REQUEST: pydantic.TypeAdapter[p.ChatAsk | p.ChatCancel] = pydantic.TypeAdapter(
    Annotated[p.ChatAsk | p.ChatCancel, pydantic.Field(discriminator="type")]
)

Send = Callable[[p.Model], None]


def chat(run: Path) -> int:
    """Answers until the input is closed: then nobody is left who would read.

    Raises:
        UserError: the run has saved nothing, or its model cannot be loaded.
    """
    record = trained_run(run)
    send = take_output()
    requests = Requests(send)
    speakers = load_speakers(run, record, Loading(send))
    send(p.ChatReady(device=speakers["tuned"].device.type))
    while True:
        ask = requests.next()
        try:
            for reply in answers(speakers, ask, partial(requests.is_cancelled, ask.id)):
                send(reply)
        except UserError as error:
            send(p.ChatFailed(id=ask.id, message=str(error)))
        except Exception as error:  # another prompt may fare better
            traceback.print_exc()
            send(p.ChatFailed(id=ask.id, message=_explain(error)))
        requests.finished(ask.id)


def _explain(error: Exception) -> str:
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return "Out of memory. Clear the conversation, or wait until other work on the device has ended."
    return f"{type(error).__name__}: {error}"


# --- who speaks --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speaker:
    """One of the two models, with the tokenizer it reads by."""

    model: Any
    tokenizer: Any
    without_adapter: bool = False

    @property
    def device(self) -> torch.device:
        return self.model.device

    def read(self, ids: list[int], cache: Any) -> Any:
        """What the model makes of these tokens after those in the cache."""
        import torch

        # `disable_adapter` takes longer than a small model does; PEFT's choice by row costs next to nothing.
        chosen = {"adapter_names": ["__base__"]} if self.without_adapter else {}
        with torch.inference_mode():
            return self.model(
                input_ids=torch.tensor([ids], device=self.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **chosen,
            )


Speakers = dict[p.ChatModel, Speaker]


def trained_run(run: Path) -> p.RunRecord:
    """What the run is. Raises UserError where there is none, or it has saved nothing yet."""
    record = read_record(run)
    if not record.config:
        raise UserError(f"{run}: it is of a training script, which keeps its model itself. Load that one.")
    if not checkpoints.saved(run).adapter:
        raise UserError(
            f"{run}: the run has saved no model yet. Let it end, stop it so that it saves, or resume it."
        )
    return record


def load_speakers(run: Path, record: p.RunRecord, work: Loading) -> Speakers:
    """The reference and the fine-tuned model of a run. Raises UserError where one cannot be loaded."""
    assert record.config and record.config_path  # a training script's run was refused
    config, base = record.config, Path(record.config_path).parent
    work.phase("loading", f"Loading {config.model}")
    if config.lora:
        model, loaded = load_trained(config, base, run, work)
        reference = Speaker(model, loaded.tokenizer, without_adapter=True)
        return {"reference": reference, "tuned": Speaker(model, loaded.tokenizer)}
    before = load_reference(config, base, work)
    work.phase("loading", "Loading the fine-tuned model")
    after = load_trained(config, base, run, work)[1]
    return {
        "reference": Speaker(before.model, before.tokenizer),
        "tuned": Speaker(after.model, after.tokenizer),
    }


class Loading:
    """Tells of loading as it goes on. Nobody cancels it here: the process is ended instead."""

    def __init__(self, send: Send) -> None:
        self._send, self._message, self._last = send, "", 0.0

    def phase(self, phase: p.Phase, message: str) -> None:
        self._message = message
        self._send(p.ChatLoading(message=message))

    def progress(self, phase: p.Phase, unit: str) -> Callable[[int, int | None], None]:
        def report(done: int, total: int | None) -> None:
            now = time.monotonic()
            if now - self._last >= PROGRESS_SECONDS or done == total:
                self._last = now
                self._send(p.ChatLoading(message=self._message, done=done, total=total, unit=unit))

        return report

    def check(self) -> None: ...


# --- answers -----------------------------------------------------------------------------------------


def answers(
    speakers: Speakers, ask: p.ChatAsk, is_cancelled: Callable[[], bool]
) -> Iterator[p.ChatPiece | p.ChatDone]:
    """Both answers, piece by piece, each with its end.

    Raises:
        UserError: a conversation cannot be rendered, or is longer than the model reads.
    """
    conversations = {"reference": ask.conversations.reference, "tuned": ask.conversations.tuned}
    growing = [Answer(name, speaker, conversations[name], ask) for name, speaker in speakers.items()]
    while growing:
        for answer in list(growing):
            cancelled = is_cancelled()
            piece = "" if cancelled else answer.grow()
            if piece:
                yield p.ChatPiece(id=ask.id, model=answer.name, text=piece)
            if cancelled or answer.ended:
                rest = answer.rest()
                if rest:
                    yield p.ChatPiece(id=ask.id, model=answer.name, text=rest)
                yield answer.done(ask.id)
                growing.remove(answer)


class Answer:
    """One model's answer while it grows."""

    def __init__(
        self, name: p.ChatModel, speaker: Speaker, conversation: list[p.ChatTurn], ask: p.ChatAsk
    ) -> None:
        self.name = name
        self.ended = False
        self._complete = False
        self._speaker = speaker
        self._unread = _render(speaker.tokenizer, conversation)
        self._limit = min(ask.max_new_tokens, _room(speaker.model, len(self._unread)))
        self._temperature = ask.temperature
        self._ends = end_ids(speaker.model, speaker.tokenizer)
        self._cache: Any = None
        self._ids: list[int] = []
        self._told = ""
        self._seconds = 0.0

    def grow(self) -> str:
        """Generates one token; returns the text that is certain since the last call."""
        began = time.perf_counter()
        output = self._speaker.read(self._unread, self._cache)
        token = _choose(output.logits[0, -1], self._temperature)
        self._cache, self._unread = output.past_key_values, [token]
        self._seconds += time.perf_counter() - began
        self._complete = token in self._ends
        if not self._complete:
            self._ids.append(token)
        self.ended = self._complete or len(self._ids) == self._limit
        # Characters of several tokens are not whole yet where the text ends with U+FFFD.
        return self._new(self._text().rstrip("\ufffd"))

    def rest(self) -> str:
        """What has been held back."""
        return self._new(self._text())

    def done(self, request: str) -> p.ChatDone:
        text = self._text()
        return p.ChatDone(
            id=request,
            model=self.name,
            text=text,
            ended="complete" if self._complete else "length" if self.ended else "cancelled",
            tokens=len(self._ids),
            seconds=self._seconds,
            refusal=is_refusal(text),
            degenerate=is_degenerate(text),
        )

    def _text(self) -> str:
        """As the evaluation reads an answer."""
        return str(self._speaker.tokenizer.decode(self._ids, skip_special_tokens=True)).strip()

    def _new(self, text: str) -> str:
        """What is to be added to what was told; nothing where that has changed, which only `done` can say."""
        text = text.rstrip()
        if not text.startswith(self._told):
            return ""
        new, self._told = text[len(self._told) :], text
        return new


def _render(tokenizer: Any, conversation: list[p.ChatTurn]) -> list[int]:
    try:
        return conversation_ids(tokenizer, [turn.model_dump() for turn in conversation])
    except Exception as error:  # Jinja raises whatever the template's author chose
        raise UserError(f"The model's chat template cannot render this conversation: {error}") from None


def _room(model: Any, used: int) -> int:
    """How many tokens fit after the conversation."""
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if longest is None:
        return sys.maxsize
    if used >= longest:
        raise UserError(
            f"The conversation has {used} tokens, and the model reads {longest}. Clear the conversation, or "
            "write a shorter prompt."
        )
    return longest - used


def _choose(logits: torch.Tensor, temperature: float) -> int:
    if temperature == 0:
        return int(logits.argmax())
    return int((logits.float() / temperature).softmax(-1).multinomial(1))


# --- requests and replies ----------------------------------------------------------------------------


def take_output() -> Send:
    """Keeps the standard output for replies: whatever else is printed goes to the standard error."""
    sys.stdout.flush()
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    one_at_a_time = threading.Lock()

    def send(reply: p.Model) -> None:
        with one_at_a_time:
            try:
                output.write(reply.model_dump_json(by_alias=True) + "\n")
                output.flush()
            except OSError:  # the reader has gone
                os._exit(0)

    return send


class Requests:
    """What is asked, in its order. When the input is closed the process ends, whatever it is busy with."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._asked: queue.Queue[p.ChatAsk] = queue.Queue()
        self._lock = threading.Lock()
        self._cancelled: dict[str, bool] = {}
        """Of the requests that are not finished."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def next(self) -> p.ChatAsk:
        return self._asked.get()

    def is_cancelled(self, request: str) -> bool:
        with self._lock:
            return self._cancelled.get(request, False)

    def finished(self, request: str) -> None:
        with self._lock:
            self._cancelled.pop(request, None)

    def _read(self) -> None:
        rest = b""
        while chunk := os.read(0, 65536):  # not by sys.stdin, whose lock a process must hold in order to end
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if line.strip():
                    self._hear(line)
        os._exit(0)  # nothing here is worth saving, and loading a model hears nobody

    def _hear(self, line: bytes) -> None:
        try:
            request = _REQUEST.validate_json(line)
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(map(str, first["loc"]))
            reason = f"{place}: {first['msg']}" if place else first["msg"]
            self._send(p.ChatFailed(id=_id_in(line), message=f"The line is no request: {reason}"))
            return
        with self._lock:
            if request.type == "ask":
                self._cancelled[request.id] = False
                self._asked.put(request)
            elif request.id in self._cancelled:
                self._cancelled[request.id] = True


def _id_in(line: bytes) -> str | None:
    try:
        found = pydantic.TypeAdapter(dict[str, Any]).validate_json(line).get("id")
    except pydantic.ValidationError:
        return None
    return found if isinstance(found, str) else None
