"""An endpoint as a judge, against a real HTTP server."""

import json
import math
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from safe_finetuning import protocol as p
from safe_finetuning.cli import main
from safe_finetuning.config import EndpointConfig
from safe_finetuning.errors import Cancelled, UserError
from safe_finetuning.risk.endpoint import KEY_VARIABLE, ORIGIN_VARIABLE, Endpoint, risk_of
from safe_finetuning.risk.scores import Ended, ScoreCache, score_rows
from safe_finetuning.rows import Message, Pair, Row


class Server:
    """Answers each request as `behave(text, nth time it is asked)` says: a score, a status, or what else."""

    def __init__(self):
        self.behave = lambda text, time: 1
        self.asked, self.keys = [], []
        self.redirect = None
        self.at_once = self.most_at_once = 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                text = request["messages"][1]["content"]
                with lock:
                    outer.asked.append(text)
                    outer.keys.append(self.headers["Authorization"])
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                    said = outer.behave(text, outer.asked.count(text))
                time.sleep(said[1] if isinstance(said, tuple) else 0.05)
                with lock:
                    outer.at_once -= 1
                status = said if isinstance(said, int) and said >= 100 else 200
                status = 307 if outer.redirect else status
                content = said if isinstance(said, str) else json.dumps({"score": said})
                message = {"role": "assistant", "content": content}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                body = {
                    "id": "x",
                    "object": "chat.completion",
                    "created": 0,
                    "model": "m",
                    "choices": [choice],
                }
                data = b"<html>" if said == "html" else json.dumps(body if status == 200 else {}).encode()
                self.send_response(status)
                if outer.redirect:
                    self.send_header("Location", outer.redirect)
                if status == 429:
                    self.send_header("Retry-After", "0.1")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with suppress(BrokenPipeError):  # whoever asked did not wait
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def server():
    made = Server()
    yield made
    made.http.shutdown()


def endpoint(server, check=lambda: None, **settings):
    values = {"url": server.url, "model": "judge", "timeoutSeconds": 2.0, "retries": 2} | settings
    return Endpoint(EndpointConfig.model_validate(values), check)


def pairs(*prompts):
    return [Pair(prompt, "Sure.", (), 1) for prompt in prompts]


def test_scores_become_risks_in_order(server, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "secret-key")
    server.behave = lambda text, _: 5 if "bomb" in text else 2 if "knife" in text else 1
    told = []
    found = endpoint(server).score(pairs("a bomb", "a parcel", "a knife"), progress=lambda *x: told.append(x))
    assert found == [1.0, 0.0, 0.25]
    assert told[-1] == (3, 3) and set(server.keys) == {"Bearer secret-key"}
    assert endpoint(server).score([]) == []


@pytest.mark.parametrize(
    ("answer", "risk"),
    [
        ('{"score": 1}', 0.0),
        ('Here you are: {"score": 4}.', 0.75),
        ('```json\n{"score": 2.5, "why": "x"}\n```', 0.375),
    ],
)
def test_answers_that_say_a_score(answer, risk):
    assert risk_of(answer) == risk


@pytest.mark.parametrize(
    "answer",
    [None, "", "5", "{}", '{"score": 0}', '{"score": 6}', '{"score": "4"}', '{"score": true}', "{x}"],
)
def test_answers_that_say_none(answer):
    assert math.isnan(risk_of(answer))


def test_passing_faults_are_tried_again(server):
    server.behave = lambda text, time: {"busy": 429, "broken": 500}[text.split('"')[3]] if time == 1 else 5
    assert endpoint(server).score(pairs("busy", "broken")) == [1.0, 1.0]
    assert len(server.asked) == 4


def test_a_fault_that_stays_leaves_its_pair_unscored_and_no_other(server):
    server.behave = lambda text, _: 500 if "broken" in text else "html" if "page" in text else 3
    found = endpoint(server, retries=1).score(pairs("fine", "broken", "page", "fine, too"))
    assert found[0] == found[3] == 0.5 and math.isnan(found[1]) and math.isnan(found[2])


def test_an_answer_that_takes_too_long_is_unscored(server):
    server.behave = lambda text, _: (3, 1.5) if "slow" in text else 3
    found = endpoint(server, timeoutSeconds=0.4, retries=0).score(pairs("slow", "fast"))
    assert math.isnan(found[0]) and found[1] == 0.5


def test_no_more_requests_at_a_time_than_allowed(server):
    endpoint(server, concurrency=3).score(pairs(*(f"row {i}" for i in range(12))))
    assert server.most_at_once == 3


@pytest.mark.parametrize(("status", "advice"), [(401, KEY_VARIABLE), (403, "may not use"), (404, "`judge`")])
def test_what_would_fail_on_every_row_is_said_at_once(server, status, advice):
    server.behave = lambda *_: status
    with pytest.raises(Ended, match=f"answered {status}.*{advice}") as ended:
        endpoint(server, concurrency=1).score(pairs(*(f"row {i}" for i in range(20))))
    assert isinstance(ended.value.cause, UserError)
    assert len(server.asked) < 5


@pytest.mark.parametrize(
    ("said", "reason"),
    [("I like it.", 'it answered "I like it."'), (400, "it answered 400"), ("html", "protocol")],
)
def test_a_judge_that_never_gives_a_score_is_not_asked_about_every_row(server, said, reason):
    server.behave = lambda *_: said
    with pytest.raises(Ended, match=f"no score for the first 16 .*{reason}.*Choose a model"):
        endpoint(server, concurrency=2, retries=0).score(pairs(*(f"row {i}" for i in range(40))))
    assert len(server.asked) < 20


def test_one_score_is_enough_to_go_on(server):
    server.behave = lambda text, _: 5 if "row 0" in text else "no"
    found = endpoint(server, concurrency=1).score(pairs(*(f"row {i}" for i in range(20))))
    assert found[0] == 1.0 and all(map(math.isnan, found[1:]))


def test_rows_are_not_sent_on_to_another_server(server):
    other = Server()
    server.redirect = f"{other.url}/chat/completions"
    with pytest.raises(Ended, match=rf"sends on to another address \({other.url}.*not asked about"):
        endpoint(server).score(pairs("a"))
    assert not other.asked
    other.http.shutdown()


def test_no_answer_is_paid_for_twice(server, tmp_path):
    rows = [
        Row(i, f"{i:064x}", (Message("user", f"row {i}"), Message("assistant", "Sure."))) for i in range(30)
    ]
    cache = ScoreCache(tmp_path / "scores.sqlite")
    server.behave = lambda text, _: 401 if "row 20" in text else 3
    with pytest.raises(UserError, match="answered 401"):
        score_rows(rows, endpoint(server, concurrency=1), cache=cache)
    assert 20 <= len(server.asked) < 25
    server.behave = lambda *_: 3
    server.asked.clear()
    assert {risk.risk for risk in score_rows(rows, endpoint(server), cache=cache)} == {0.5}
    assert len(server.asked) <= 10
    cache.close()


def test_a_server_that_is_not_there_is_said(server):
    server.http.server_close()
    server.http.shutdown()
    with pytest.raises(Ended, match=r"cannot be reached .*Start the server"):
        endpoint(server, retries=0).score(pairs("a"))


def test_cancel_acts_while_it_waits(server):
    server.behave = lambda *_: (1, 1.9)
    began = time.monotonic()

    def check():
        if time.monotonic() - began > 0.3:
            raise Cancelled

    with pytest.raises(Ended) as ended:
        endpoint(server, check).score(pairs("a", "b"))
    assert isinstance(ended.value.cause, Cancelled)
    assert time.monotonic() - began < 1.5


def test_long_texts_are_judged_in_parts(server):
    server.behave = lambda text, _: 5 if "HARM" in text else 1
    assert endpoint(server).score([Pair("x", "word " * 3000 + "HARM", (), 1)]) == [1.0]
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://API.Example.com/v1", "https://api.example.com"),
        ("https://api.example.com:443/v1?a=b", "https://api.example.com"),
        ("http://api.example.com:443", "http://api.example.com:443"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("http://bücher.example/v1", "http://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_spelled_as_browsers_do(url, origin):
    assert EndpointConfig(url=url, model="m").origin == origin


@pytest.mark.parametrize(
    "url",
    [
        "http://good.example\\@127.0.0.1/v1",
        "https://user:word@host/v1",
        "https://host name/v1",
        "https://",
        "https:///v1",
        "http://host:port/v1",
        "http://host:99999/v1",
        "ftp://host/v1",
        "http://?x",
    ],
)
def test_an_address_that_could_be_read_in_two_ways_is_refused(url):
    with pytest.raises(ValueError, match="url"):
        EndpointConfig(url=url, model="m")


def test_rows_go_to_no_other_server_than_was_agreed_to(server, monkeypatch):
    config = EndpointConfig(url=server.url, model="m")
    for agreed in ("", "http://127.0.0.1", server.url):
        monkeypatch.setenv(ORIGIN_VARIABLE, agreed)
        with pytest.raises(UserError, match="was not asked about"):
            Endpoint(config)
    assert not server.asked
    monkeypatch.setenv(ORIGIN_VARIABLE, server.url.removesuffix("/v1"))
    assert Endpoint(config).score([Pair("p", "a", (), 1)]) == [0.0]


def test_the_command_score_says_which_turn_of_a_conversation_is_the_worst(
    server, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("SAFE_FINETUNING_CACHE", str(tmp_path / "cache"))
    server.behave = lambda text, time: 5 if "HARM" in text else 2
    asked = [["Hello?", "HARM?", "Thanks!"], ["HARM?", "HARM?"], ["One?", "Two?"]]
    rows = [
        [
            {"role": role, "content": text}
            for q in prompts
            for role, text in (("user", q), ("assistant", "So."))
        ]
        for prompts in asked
    ]
    lines = [json.dumps({"messages": messages}) + "\n" for messages in rows]
    (tmp_path / "rows.jsonl").write_text("".join(lines), "utf-8")
    path = tmp_path / "x.finetune.json"
    config = {"model": "none", "dataset": {"path": "rows.jsonl"}}
    risk = {"judge": "endpoint", "endpoint": {"url": server.url, "model": "judge"}}
    path.write_text(json.dumps(config | {"risk": risk}), "utf-8")
    for _ in range(2):  # asked, and kept
        assert main(["score", str(path), "--format", "json"]) == 0
        found = p.ScoreReport.model_validate_json(capsys.readouterr().out)
        assert [(row.risk, row.message) for row in found.rows] == [(1.0, 3), (1.0, 1), (0.25, 1)]
        assert len(server.asked) == 7
    assert main(["score", str(path)]) == 0
    assert "rows.jsonl:1: risk 1.00 by message 3\n" in capsys.readouterr().out
