"""Pushing to the hub, against a local server that speaks its protocol as far as it is needed."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tooln1.errors import UserError
from tooln1.export.push import push


class Hub(BaseHTTPRequestHandler):
    """Takes a private repository and one commit of small files; ``server.status`` other than 200 refuses."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.path, body, self.headers.get("Authorization")))
        if self.server.status != 200:
            self._answer({"error": "no"}, self.server.status)
        elif self.path.endswith("/repos/create"):
            self._answer({"url": self._address, "name": "me/mine"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self._answer(
                {"files": [{"path": file["path"], "uploadMode": "regular", "shouldIgnore": False} for file in files]}
            )
        else:
            self._answer({"commitUrl": f"{self._address}/commit/1", "commitOid": "1", "success": True})

    @property
    def _address(self):
        return f"http://127.0.0.1:{self.server.server_port}/me/mine"

    def do_GET(self):
        self._answer({"id": "me/mine", "private": True, "siblings": []})

    def _answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.calls, server.status = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.hf_api.constants.ENDPOINT", endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text("---\nlibrary_name: transformers\n---\n# mine\n")
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_a_folder_becomes_a_private_repository(hub, folder):
    address = push(folder, "me/mine")
    assert address.endswith("/me/mine")
    paths = [path for path, _, _ in hub.calls]
    assert paths[0].endswith("/api/repos/create") and any("/commit/" in path for path in paths)
    assert json.loads(hub.calls[0][1])["visibility"] == "private"
    assert {token for _, _, token in hub.calls} == {"Bearer hf_test"}
    commit = next(body for path, body, _ in hub.calls if "/commit/" in path)
    files = [line["value"]["path"] for line in map(json.loads, commit.splitlines()) if line["key"] == "file"]
    assert sorted(files) == ["README.md", "config.json"]


def test_a_refusal_is_one_line_that_says_where_the_model_is(hub, folder):
    hub.status = 403
    with pytest.raises(UserError, match="the hub did not take it") as error:
        push(folder, "me/mine")
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_without_a_token_it_is_said_how_to_get_one(folder, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UserError, match="no token.*HF_TOKEN"):
        push(folder, "me/mine")


def test_without_a_network_it_is_one_line(folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub did not take it"):
        push(folder, "me/mine")
