"""Pushing to the hub, with a local server in its place that refuses everything."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tooln1.errors import UserError
from tooln1.export.export import push


class Refusal(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.path, json.loads(body), self.headers.get("Authorization")))
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    server.calls = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.shutdown()
    server.server_close()


def test_a_private_repository_is_asked_for_and_a_refusal_is_one_line_that_names_the_folder(hub, tmp_path):
    with pytest.raises(UserError, match="the hub did not take it") as error:
        push(tmp_path, "me/mine")
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    ((path, body, token),) = hub.calls
    assert path.endswith("/api/repos/create") and body["visibility"] == "private" and token == "Bearer hf_test"


def test_without_a_token_the_message_tells_how_to_get_one(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="no token.*HF_TOKEN"):
        push(tmp_path, "me/mine")


def test_without_a_network_the_error_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub did not take it"):
        push(tmp_path, "me/mine")
