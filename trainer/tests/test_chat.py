"""The reference and the tuned model of a run, asked side by side: as functions, and as a process."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from running import TRAINER, finish, start, write_record
from safe_finetuning import protocol as p
from safe_finetuning.chat import Loading, Speaker, answers, load_speakers, trained_run
from safe_finetuning.config import RunConfig
from safe_finetuning.errors import UserError
from safe_finetuning.evaluate import generate_answers
from tiny import REFUSAL, make_tiny_model, make_tiny_tokenizer

PROMPTS = ["Where is my parcel?", "How do I change the password of my account?", "Hi"]


def talkative_model(folder: Path, seed: int = 3):
    """Random weights with tied embeddings repeat their last token for ever; a head of its own says more."""
    model = AutoModelForCausalLM.from_pretrained(make_tiny_model(folder))
    model.config.tie_word_embeddings = False
    head = torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(seed))
    model.lm_head.weight = torch.nn.Parameter(head)
    model.save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose adapter moves its model."""
    base = tmp_path_factory.mktemp("adapter")
    model = talkative_model(base / "model")
    torch.manual_seed(0)
    peft = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear"))
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    (base / "run").mkdir()
    peft.save_pretrained(base / "run" / "adapter")
    write_record(base / "run", configuration())
    return base / "run"


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory) -> Path:
    """A run that trained all weights."""
    base = tmp_path_factory.mktemp("whole")
    talkative_model(base / "model")
    (base / "run").mkdir()
    talkative_model(base / "run" / "model", seed=4)
    write_record(base / "run", configuration(lora=None))
    return base / "run"


def configuration(**changes) -> RunConfig:
    return RunConfig.model_validate(
        {"model": "model", "dataset": {"path": "x.jsonl"}, "device": "cpu", **changes}
    )


def ask(prompt: str | list[str], tokens: int = 24, temperature: float = 0, name: str = "1") -> p.ChatAsk:
    """A prompt; or a conversation, which begins and ends with one."""
    texts = [prompt] if isinstance(prompt, str) else prompt
    turns = [p.ChatTurn(role="assistant" if i % 2 else "user", content=t) for i, t in enumerate(texts)]
    both = p.ChatConversations(reference=turns, tuned=turns)
    return p.ChatAsk(id=name, conversations=both, max_new_tokens=tokens, temperature=temperature)


def replies_of(speakers, request: p.ChatAsk, is_cancelled=lambda: False):
    found = list(answers(speakers, request, is_cancelled))
    dones = {x.model: x for x in found if isinstance(x, p.ChatDone)}
    pieces = {
        name: [x.text for x in found if isinstance(x, p.ChatPiece) and x.model == name] for name in dones
    }
    return found, dones, pieces


def load(folder: Path):
    told: list[p.Model] = []
    return load_speakers(folder, trained_run(folder), Loading(told.append)), told


@pytest.mark.parametrize("which", ["run", "whole_run"])
def test_pieces_join_to_the_answers_that_the_evaluation_measures(which, request):
    folder = request.getfixturevalue(which)
    speakers, told = load(folder)
    assert told[0].message == "Loading model"
    base = AutoModelForCausalLM.from_pretrained(folder.parent / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder.parent / "model")
    if which == "run":
        from peft import PeftModel

        tuned = PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(folder.parent / "model"), str(folder / "adapter")
        )
    else:
        tuned = AutoModelForCausalLM.from_pretrained(folder / "model")
    for prompt in PROMPTS:
        found, dones, pieces = replies_of(speakers, ask(prompt))
        for name, model in (("reference", base), ("tuned", tuned)):
            (expected,) = generate_answers(model, tokenizer, [prompt], max_new_tokens=24)
            assert "".join(pieces[name]) == dones[name].text == expected
            assert len(pieces[name]) > 1 and 0 < dones[name].tokens <= 24 and dones[name].seconds > 0
        assert dones["reference"].text != dones["tuned"].text
        # They grow together: neither waits for the other's end.
        first_done = next(i for i, x in enumerate(found) if isinstance(x, p.ChatDone))
        assert {x.model for x in found[:first_done]} == {"reference", "tuned"}


def test_each_side_goes_on_with_its_own_conversation(run):
    speakers, _ = load(run)
    request = ask("Hi")
    longer = ask(["Hi", "I am sorry that you had to wait.", "Hi"])
    own = p.ChatConversations(reference=request.conversations.reference, tuned=longer.conversations.tuned)
    mixed = replies_of(speakers, request.model_copy(update={"conversations": own}))[1]
    assert mixed["reference"].text == replies_of(speakers, request)[1]["reference"].text
    assert mixed["tuned"].text == replies_of(speakers, longer)[1]["tuned"].text
    assert mixed["tuned"].text != replies_of(speakers, request)[1]["tuned"].text


def test_a_temperature_makes_answers_differ(run):
    speakers, _ = load(run)
    assert len({replies_of(speakers, ask("Hi", temperature=1.5))[1]["tuned"].text for _ in range(4)}) > 1


def test_cancelling_ends_both_before_the_next_token(run):
    speakers, _ = load(run)
    asked = 0

    def is_cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 6

    _, dones, pieces = replies_of(speakers, ask("Hi", tokens=500), is_cancelled)
    assert [(d.tokens, d.ended) for d in dones.values()] == [(3, "cancelled"), (3, "cancelled")]
    for name, done in dones.items():
        assert "".join(pieces[name]) == done.text


class Scripted:
    """A model that says what it is told to, whatever it reads."""

    device = torch.device("cpu")
    generation_config = None

    def __init__(self, ids: list[int], vocabulary: int) -> None:
        self.ids, self.vocabulary = iter(ids), vocabulary
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace())

    def __call__(self, **_):
        logits = torch.nn.functional.one_hot(torch.tensor([[next(self.ids)]]), self.vocabulary).float()
        return SimpleNamespace(logits=logits, past_key_values=None)


def scripted(text: str) -> dict[p.ChatModel, Speaker]:
    tokenizer = make_tiny_tokenizer()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return {name: Speaker(Scripted(ids, len(tokenizer)), tokenizer) for name in ("reference", "tuned")}


@pytest.mark.parametrize("text", ["Grüße 😀👍🏽 aus Zürich", "我要去银行", "😀", "a\ufffdb", "x \ufffd"])
def test_no_piece_ends_within_a_character(text):
    found, dones, pieces = replies_of(scripted(f"  {text}\n\n"), ask("Hi", tokens=200))
    assert dones["tuned"].text == text and dones["tuned"].ended == "complete"
    assert "".join(pieces["tuned"]) == text
    whole = "".join(pieces["tuned"])
    assert whole.count("\ufffd") == text.count("\ufffd")
    assert found


def test_answers_are_judged_as_in_the_evaluation_and_their_length_is_said():
    refusing = replies_of(scripted(REFUSAL), ask("Hi", tokens=200))[1]["reference"]
    assert refusing.refusal and not refusing.degenerate
    answering = replies_of(scripted("Open the settings."), ask("Hi", tokens=200))[1]["reference"]
    assert not answering.refusal and not answering.degenerate
    cut = replies_of(scripted("Open the settings."), ask("Hi", tokens=2))[1]["reference"]
    assert (cut.ended, cut.tokens) == ("length", 2)


def test_a_conversation_that_is_too_long_and_a_run_that_saved_nothing_say_what_to_do(run, tmp_path):
    speakers, _ = load(run)
    with pytest.raises(UserError, match=r"and the model reads 512\. Clear the conversation"):
        list(answers(speakers, ask("parcel " * 600), lambda: False))
    write_record(tmp_path, configuration())
    with pytest.raises(UserError, match="has saved no model yet"):
        trained_run(tmp_path)


# --- the process ---------------------------------------------------------------------------------------


class Served:
    """`chat`, as the editor starts it."""

    def __init__(self, run: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "safe_finetuning", "chat", str(run)],
            env=environment(run),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def say(self, *lines: str) -> None:
        assert self.process.stdin
        self.process.stdin.write("".join(line + "\n" for line in lines).encode())
        self.process.stdin.flush()

    def hear(self) -> dict:
        assert self.process.stdout
        return json.loads(self.process.stdout.readline())

    def until(self, kind: str, **fields) -> dict:
        while True:
            reply = self.hear()
            if reply["type"] == kind and all(reply[name] == value for name, value in fields.items()):
                return reply

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream
            stream.close()


def environment(run: Path) -> dict[str, str]:
    own = {
        "PYTHONPATH": str(TRAINER),
        "SAFE_FINETUNING_CACHE": str(run.parent / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **own}


def test_it_serves_until_its_input_is_closed(run):
    with Served(run) as served:
        assert served.hear() == {
            "type": "loading",
            "message": "Loading model",
            "done": None,
            "total": None,
            "unit": None,
        }
        assert served.until("ready")["device"] == "cpu"

        served.say(
            "hello",
            '{"type": "ask", "id": "bad", "conversations": {}}',
            "",
            '{"type": "cancel", "id": "unknown"}',
        )
        nothing, no_turns = served.hear(), served.hear()
        assert (nothing["type"], nothing["id"]) == ("failed", None)
        assert no_turns["id"] == "bad" and "conversations.reference: Field required" in no_turns["message"]

        served.say(ask("Hi", tokens=8, name="a").model_dump_json(by_alias=True))
        assert {served.until("done", id="a")["model"], served.until("done", id="a")["model"]} == {
            "reference",
            "tuned",
        }

        # Of two that wait, the second is cancelled while the first is answered: it is never begun.
        first, second = ask("Hi", tokens=400, name="b"), ask("Hi", tokens=400, name="c")
        served.say(*(x.model_dump_json(by_alias=True) for x in (first, second)))
        served.until("piece", id="b", model="reference")
        served.say('{"type": "cancel", "id": "c"}', '{"type": "cancel", "id": "b"}')
        assert 0 < served.until("done", id="b", model="reference")["tokens"] < 400
        done = served.until("done", id="c")
        assert (done["tokens"], done["ended"]) == (0, "cancelled")

        served.say(ask("parcel " * 600, name="d").model_dump_json(by_alias=True))
        assert "Clear the conversation" in served.until("failed", id="d")["message"]

        served.say(ask("Hi", tokens=400, name="e").model_dump_json(by_alias=True))
        served.until("piece", id="e")
        assert served.process.stdin
        served.process.stdin.close()  # in the middle of an answer
        assert served.process.wait(timeout=30) == 0


def test_it_ends_when_the_window_goes_away_while_it_loads(run):
    with Served(run) as served:
        assert served.hear()["type"] == "loading"
        assert served.process.stdin
        served.process.stdin.close()
        assert served.process.wait(timeout=30) == 0


def test_a_run_that_cannot_be_asked_says_why(tmp_path):
    process = start(tmp_path, "chat", str(tmp_path))
    output = finish(process)
    assert process.returncode == 1 and "there is no run in this folder" in output


def test_what_libraries_print_is_no_reply(run):
    shown = (
        "import os; from safe_finetuning.chat import take_output; from safe_finetuning import protocol as p\n"
        "send = take_output(); print('library'); os.write(1, b'deeper'); send(p.ChatReady(device='cpu'))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", shown], env=environment(run), capture_output=True, timeout=60
    )
    assert json.loads(ended.stdout) == {"type": "ready", "device": "cpu"}
    assert b"deeper" in ended.stderr
