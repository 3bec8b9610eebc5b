"""Models by name, from a real HTTP server that speaks as much of the hub's protocol as a download needs."""

import hashlib
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from huggingface_hub import constants

from safe_finetuning.errors import Cancelled, UserError
from safe_finetuning.model import load_model, load_tokenizer
from tiny import make_tiny_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CPU = torch.device("cpu")
CHUNK_BYTES = 65_536


class Hub:
    """Serves the files of a folder as the model `owner/model`; `refuse`: a status, a code, the paths."""

    def __init__(self, folder):
        self.files = {x.name: x.read_bytes() for x in sorted(folder.iterdir()) if x.is_file()}
        self.refuse = None
        self.tokens, self.fetched = set(), []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.tokens.add(self.headers["Authorization"])
                status, code, where = outer.refuse or (0, "", "nowhere")
                if where in self.path:
                    return self.answer(status, b"{}", {"X-Error-Code": code})
                path = self.path.split("?")[0]
                if path.startswith(("/api/models/owner/model/revision/", "/api/models/owner/model/tree/")):
                    return self.answer(200, json.dumps(outer.listing("/tree/" in path)).encode())
                name = path.removeprefix(f"/owner/model/resolve/{COMMIT}/")
                if name not in outer.files:
                    return self.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
                content = outer.files[name]
                if self.command == "GET":
                    outer.fetched.append(name)
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                return self.answer(200, content, {"ETag": etag, "X-Repo-Commit": COMMIT})

            do_HEAD = do_GET

            def answer(self, status, content, headers=None):
                self.send_response(status)
                for header, value in {"Content-Length": len(content), **(headers or {})}.items():
                    self.send_header(header, str(value))
                self.end_headers()
                if self.command == "HEAD":
                    return
                with suppress(BrokenPipeError, ConnectionResetError):  # whoever asked did not wait
                    for start in range(0, len(content), CHUNK_BYTES):
                        self.wfile.write(content[start : start + CHUNK_BYTES])
                        time.sleep(0.001)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def listing(self, tree):
        if not tree:
            return {"id": "owner/model", "sha": COMMIT, "siblings": [{"rfilename": x} for x in self.files]}
        return [
            {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
            for name, content in self.files.items()
        ]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    folder = make_tiny_model(tmp_path / "model")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle, which is never fetched")
    server = Hub(folder)
    url = f"http://127.0.0.1:{server.http.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    files = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_hush")
    yield server
    server.http.shutdown()


def test_a_model_is_downloaded_once_with_the_token_and_says_how_far_it_is(hub, tmp_path, monkeypatch):
    hub.files["extra.safetensors"] = bytes(3_000_000)
    told = []
    loaded = load_model(
        "owner/model", device=CPU, base_folder=tmp_path, downloaded=lambda *mb: told.append(mb)
    )
    assert loaded.tokenizer.chat_template
    size = sum(len(x) for name, x in hub.files.items() if not name.endswith(".bin"))
    assert told == sorted(told) and told[-1] == (size // 1_000_000, size // 1_000_000)
    assert "Bearer hf_hush" in hub.tokens
    assert "pytorch_model.bin" not in hub.fetched

    count = len(hub.fetched)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_model("owner/model", device=CPU, base_folder=tmp_path).fingerprint == loaded.fingerprint
    assert len(hub.fetched) == count


def test_the_checks_fetch_no_weights(hub, tmp_path):
    load_tokenizer("owner/model", base_folder=tmp_path)
    assert hub.fetched and not any(name.endswith(".safetensors") for name in hub.fetched)


def test_a_download_can_be_cancelled(hub, tmp_path):
    hub.files["extra.safetensors"] = bytes(400 * CHUNK_BYTES)

    def check():
        if "extra.safetensors" in hub.fetched:
            raise Cancelled

    with pytest.raises(Cancelled):
        load_model("owner/model", device=CPU, base_folder=tmp_path, check=check)
    kept = [x.stat().st_size for x in (tmp_path / "cache").rglob("*") if x.is_file()]
    assert max(kept) < 300 * CHUNK_BYTES


@pytest.mark.parametrize(
    ("refuse", "said"),
    [
        ((403, "GatedRepo", "/resolve/"), "is gated: its owner asks for an agreement"),
        ((401, "RepoNotFound", "/"), "nor a public model on the Hugging Face hub. Check the spelling"),
        ((503, "Unavailable", "/"), "the Hugging Face hub cannot be reached"),
    ],
)
def test_trouble_with_the_hub_says_what_to_do(hub, tmp_path, refuse, said):
    hub.refuse = refuse
    with pytest.raises(UserError, match=said) as caught:
        load_model("owner/model", device=CPU, base_folder=tmp_path)
    assert '"owner/model"' in str(caught.value)


def test_a_hub_that_is_not_there(hub, tmp_path, monkeypatch):
    hub.http.server_close()
    hub.http.shutdown()
    with pytest.raises(UserError, match="the Hugging Face hub cannot be reached"):
        load_model("owner/model", device=CPU, base_folder=tmp_path)
