"""The middleware of vLLM's server: it checks the key, and refuses schemas that would take too long to compile."""

import asyncio
import json

import pytest

from tooln1.serve.middleware import KEYS_VARIABLE, Guard


@pytest.fixture
def ask(monkeypatch):
    """Sends one request through the middleware; returns the status, the answer, and the body that the server got."""

    def send_request(path, key=None, *, method="GET", body=None, keys=("a", "b"), headers=(), root="", kind="http"):
        monkeypatch.setenv(KEYS_VARIABLE, "\n".join(keys))
        given = {**dict(headers), **({"authorization": key} if key else {})}
        given |= {} if body is None else {"content-type": "application/json; charset=utf-8"}
        scope = {"type": kind, "path": path, "method": method, "root_path": root}
        scope["headers"] = [(name.encode(), value.encode()) for name, value in given.items()]
        pieces = [(body or "").encode()[:5], (body or "").encode()[5:]]
        messages = [{"type": "http.request", "body": one, "more_body": not n} for n, one in enumerate(pieces)]
        sent, got = [], []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        async def server(scope, receive, send):
            more = kind == "http"
            while more:
                message = await receive()
                got.append(message["body"])
                more = message.get("more_body", False)
            await send({"type": "http.response.start", "status": 200})

        asyncio.run(Guard(server)(scope, receive, send))
        return sent[0].get("status", sent[0]["type"]), sent[-1].get("body", b"").decode(), b"".join(got).decode()

    return send_request


PATHS = [
    "/v1/models",
    "/invocations",
    "/tokenize",
    "/metrics",
    "/version",
    "/docs",
    "/health/",
    "/HEALTH",
    "//ping",
    "/",
]
WRONG_KEYS = ["Bearer x", "Bearer ", "Bearer", "a", "Basic a", "Bearer a b", "Bearer é"]


@pytest.mark.parametrize("path, key", [*((path, None) for path in PATHS), *(("/metrics", key) for key in WRONG_KEYS)])
def test_every_path_but_health_and_ping_needs_the_key(path, key, ask):
    for method in ("GET", "POST", "OPTIONS"):
        status, answer, got = ask(path, key, method=method, body="{}")
        assert status == 401 and "needs its API key" in answer and got == ""
    assert ask(path, key, kind="websocket")[0] == "websocket.close"


@pytest.mark.parametrize("key", ["Bearer a", "bearer b"])
def test_each_key_opens_every_path_and_without_a_key_all_are_open(key, ask):
    assert ask("/metrics", key)[0] == ask("/v1/models", key)[0] == ask("/metrics", keys=())[0] == 200
    assert ask("/health")[0] == ask("/ping", method="POST")[0] == ask("/api/health", root="/api")[0] == 200


def test_a_browser_may_ask_without_a_key_whether_it_may_send_one(ask):
    headers = {"origin": "http://x", "access-control-request-method": "POST"}
    assert ask("/v1/models", method="OPTIONS", headers=headers)[0] == 200
    assert ask("/v1/models", method="POST", headers=headers)[0] == 401


PATTERN = {"type": "string", "pattern": "^(ab{1,9000}c{1,9000}){1,12000}$"}
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "request_, message",
    [
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": PATTERN}}},
            "response_format",
        ),
        ({"text": {"format": {"type": "json_schema", "schema": PATTERN}}}, "text: "),
        ({"structured_outputs": {"regex": "(a{99}b){99}"}}, "structured_outputs: "),
        ({"structured_outputs": {"grammar": 'root ::= "a"{1,100000}'}}, "structured_outputs: "),
        ({"response_format": {"json_schema": {"schema": json.loads("[" * 99 + "]" * 99)}}}, "response_format: "),
        ({"tools": json.loads("[" * 129 + "1" + "]" * 129)}, "tools: nested more than 128 levels deep"),
        (DEEP, "nested too deeply"),
    ],
)
def test_a_constraint_that_is_too_much_work_is_refused(request_, message, ask):
    body = request_ if isinstance(request_, str) else json.dumps(request_)
    status, answer, got = ask("/v1/chat/completions", "Bearer a", method="POST", body=body)
    assert status == 400 and message in json.loads(answer)["error"]["message"] and got == ""


SCHEMA = {"type": "object", "properties": {"id": {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}$"}}}


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}, "x": "é" * 10_000}),
        json.dumps({"structured_outputs": {"regex": "a{1,9}"}, "text": None}),
        json.dumps({"tools": [{"function": {"name": "f", "parameters": PATTERN}}], "tool_choice": "auto"}),
        json.dumps({"tools": 5, "tool_choice": "none"}),
        "{not json",
        "[]",
        "",
    ],
)
def test_any_other_request_reaches_the_server_as_it_is(body, ask):
    assert ask("/v1/chat/completions", "Bearer a", method="POST", body=body) == (200, "", body)
