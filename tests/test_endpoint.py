"""Asking an endpoint: every prompt gets its response as the model wrote it, or a reason why it has none."""

import asyncio
import socket
import time

import pytest
from fake_endpoint import FakeEndpoint, completion

from tooln1.endpoint import MOST_FAILURES, Endpoint, ask, ask_all, resolve
from tooln1.errors import UserError

pytest.importorskip("openai", reason="needs OpenAI's client")


class Server(FakeEndpoint):
    """Answers prompt N by `answer(N, times)`: text, a message, or (status, body); `times` counts the requests for N.

    `renders` says whether the server renders prompts itself, as vLLM does.
    """

    renders, answer = False, staticmethod(lambda number, times: f"response {number}")

    def respond(self, path, body):
        if path == "/v1/models":
            return 200, {"data": [{"id": "first"}, {"id": "second"}]}
        if path == "/tokenize" and self.renders:
            tokens = list(body["messages"][0]["content"].encode())
            return 200, {"tokens": tokens, "count": len(tokens), "max_model_len": 1000}
        if path == "/v1/completions" and self.renders:
            return self._answer(bytes(body["prompt"]).decode(), lambda found: {"text": found})
        if path == "/v1/chat/completions":
            return self._answer(
                body["messages"][0]["content"],
                lambda found: {"message": found if isinstance(found, dict) else {"content": found}},
            )
        return 404, {"error": {"message": "no such address"}}

    def _answer(self, prompt, choice):
        found = self.counted(prompt, lambda times: self.answer(int(prompt), times))
        return (200, completion(**choice(found))) if isinstance(found, str | dict) else found


@pytest.fixture
def server():
    with Server() as running:
        yield running


def run(server, numbers=range(40), **options):
    """Ask for every number; return {number: response} and {number: why there is none}."""
    fields = {"model": "m", "retries": 2, "concurrency": 4, **options}
    endpoint = Endpoint(base_url=server.url, **fields)
    found = {}

    async def ask_one(client, number):
        found[number] = await ask(client, endpoint, [{"role": "user", "content": str(number)}])

    failures = asyncio.run(ask_all(endpoint, numbers, ask_one))
    return {number: response.text for number, response in found.items()}, dict(failures.reasons)


ALL = {number: f"response {number}" for number in range(40)}


def test_every_prompt_is_asked_once_a_few_at_a_time(server):
    server.answer = lambda number, times: time.sleep(0.01) or f"response {number}"
    assert run(server) == (ALL, {})
    assert 2 <= server.most_open <= 4
    assert set(server.asked.values()) == {1}
    messages = [{"role": "user", "content": "3"}]
    assert {"model": "m", "messages": messages, "temperature": 0.0, "max_tokens": 8192} in server.bodies


def test_sampling_sends_its_seed_and_further_fields(server):
    run(server, [0], temperature=0.7, seed=5, extra={"top_p": 0.9})
    body = server.bodies[0]
    assert (body["seed"], body["temperature"], body["top_p"]) == (5, 0.7, 0.9)
    run(server, [0], seed=5)
    assert "seed" not in server.bodies[1]


@pytest.mark.parametrize("failure", [(429, {}), (500, {}), None])
def test_a_request_that_fails_for_a_while_is_repeated(server, failure):
    server.answer = lambda number, times: f"response {number}" if times == 2 else failure
    assert run(server) == (ALL, {})


def test_a_prompt_without_a_response_is_reported(server):
    server.answer = lambda number, times: (500, {}) if number in (3, 7) else f"response {number}"
    found, reasons = run(server, range(8))
    assert found.keys() == {0, 1, 2, 4, 5, 6}
    assert reasons.keys() == {3, 7} and all("500" in reason for reason in reasons.values())


def test_a_time_out_is_reported(server):
    server.answer = lambda number, times: time.sleep(0.4 if number == 5 else 0) or f"response {number}"
    found, reasons = run(server, range(8), timeout=0.2, retries=0)
    assert found.keys() == {0, 1, 2, 3, 4, 6, 7}
    assert "timed out" in reasons[5].lower()


@pytest.mark.parametrize("failure", [(500, {}), None])
def test_an_endpoint_that_keeps_failing_is_left_alone(server, failure):
    server.answer = lambda number, times: f"response {number}" if number < 8 else failure
    found, reasons = run(server, retries=0, concurrency=1)
    assert list(found) == list(range(8))
    assert list(reasons) == list(range(8, 8 + MOST_FAILURES))


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_takes_no_request_ends_the_run_at_once(server, status):
    server.answer = lambda number, times: (status, {"error": {"message": "no"}})
    with pytest.raises(UserError, match=f"{status}.*check address, model and key"):
        run(server)
    assert sum(server.asked.values()) <= 8


def test_prompts_that_are_refused_stop_nothing(server):
    server.answer = lambda number, times: (400, {"error": {"message": "too long"}}) if number < 22 else "x"
    found, reasons = run(server, range(25), concurrency=1)
    assert list(found) == [22, 23, 24] and "too long" in reasons[0]
    assert set(server.asked.values()) == {1}


LONG = f"<think>{'x' * 100_000}</think>\n<tool_call>[]</tool_call>"


@pytest.mark.parametrize(
    "message, text",
    [
        (LONG, LONG),
        ({"content": "\n<tool_call>", "reasoning_content": "a"}, "<think>a</think>\n<tool_call>"),
        ({"content": None, "reasoning": "a"}, "<think>a</think>"),
        ({"content": None}, ""),
        ("\0\u2028\ud800", "\0\u2028?"),  # half a character as an escape
        ((200, b'{"choices": [{"message": {"content": "a\xff\xffb"}}]}'), "a\ufffd\ufffdb"),
    ],
)
def test_a_response_is_what_the_model_wrote(server, message, text):
    server.answer = lambda number, times: message
    assert run(server, [0])[0] == {0: text}


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[" * 100_000, b"[]", b"{}", b'{"choices": []}', b'{"choices": 1}', b'{"choices": ["x"]}'],
)
def test_an_answer_without_a_response_is_reported(server, body):
    server.answer = lambda number, times: (200, body)
    found, reasons = run(server, [0, 1], retries=0)
    assert not found and reasons.keys() == {0, 1}


def test_a_server_that_renders_prompts_is_asked_for_completions(server):
    """There, no parser takes the response apart."""
    server.renders = True
    server.answer = lambda number, times: f"Well. <think>{number}</think>"
    endpoint = asyncio.run(resolve(Endpoint(base_url=server.url, model="", interface="auto")))
    assert (endpoint.model, endpoint.interface) == ("first", "completions")
    found, _ = run(server, [12, 345], interface="completions")
    assert found == {12: "Well. <think>12</think>", 345: "Well. <think>345</think>"}
    body = next(body for body in server.bodies if body.get("prompt") == list(b"345"))
    assert body["max_tokens"] == 997 and "messages" not in body  # the room that the prompt leaves


def test_any_other_server_is_asked_for_chats(server):
    endpoint = asyncio.run(resolve(Endpoint(base_url=server.url, model="mine", interface="auto")))
    assert (endpoint.model, endpoint.interface) == ("mine", "chat")


def test_nobody_there_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(UserError, match=rf"{url}.*check the address"):
        asyncio.run(resolve(Endpoint(base_url=url, model="", retries=0)))
