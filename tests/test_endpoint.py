"""Asking an endpoint: every prompt gets its response as the model wrote it, or a reason why it has none."""

import asyncio
import re
import socket
import time

import pytest
from fake_endpoint import FakeEndpoint, completion

from tooln1 import endpoint
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
def server(monkeypatch):
    monkeypatch.setattr(endpoint, "_PAUSE", 0.001)
    with Server() as running:
        yield running


def run(server, numbers=range(40), done=0, **options):
    """Ask for every number; return {number: response}, and {number: reason without} or the line that ended the run."""
    fields = {"model": "m", "retries": 2, "concurrency": 4, **options}
    asked = Endpoint(base_url=server.url, **fields)
    found = {}

    async def ask_one(client, number):
        found[number] = await ask(client, asked, [{"role": "user", "content": str(number)}])

    try:
        reasons = dict(asyncio.run(ask_all(asked, numbers, ask_one, done)))
    except UserError as error:
        reasons = str(error)
    return {number: response.text for number, response in found.items()}, reasons


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


@pytest.mark.parametrize("failure", [(500, {}), None, (200, {"error": "broken"})])
def test_an_endpoint_that_keeps_failing_ends_the_run(server, failure):
    server.answer = lambda number, times: f"response {number}" if number < 8 else failure
    found, line = run(server, retries=0, concurrency=1)
    assert list(found) == list(range(8))
    assert len(server.asked) == 8 + MOST_FAILURES
    assert f"{MOST_FAILURES} requests in a row failed" in line and "asks for the rest" in line


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_takes_no_request_ends_the_run_at_once(server, status):
    server.answer = lambda number, times: (status, {"error": {"message": "no"}})
    assert re.search(f"{status}.*check address, model and key", run(server)[1])
    assert sum(server.asked.values()) <= 8


def test_single_prompts_that_are_refused_stop_nothing(server):
    server.answer = lambda number, times: (400, {"error": {"message": "too long"}}) if number else "x"
    found, reasons = run(server, range(25), concurrency=1)
    assert list(found) == [0] and "too long" in reasons[24]
    assert set(server.asked.values()) == {1}
    assert run(server, range(1, 25), done=1)[1].keys() == reasons.keys()  # another run asks the rest again


def test_an_endpoint_that_refuses_everything_ends_the_run(server):
    server.answer = lambda number, times: (400, {"error": {"message": "temperature must be 1"}})
    found, line = run(server, concurrency=1)
    assert not found and "temperature must be 1" in line and len(server.asked) == MOST_FAILURES
    assert "not one request succeeded (BadRequestError" in run(server, range(2))[1]


def test_a_server_that_wants_max_completion_tokens_gets_it_from_then_on(server):
    def answer(number, times):
        refused = "max_tokens" in server.bodies[-1]
        return (
            (400, {"error": {"message": "Unsupported parameter: 'max_tokens'", "param": "max_tokens"}})
            if refused
            else "x"
        )

    server.answer = answer
    found, reasons = run(server, range(5), concurrency=1, max_tokens=77)
    assert list(found) == list(range(5)) and not reasons
    assert [sorted(body.keys() & {"max_tokens", "max_completion_tokens"}) for body in server.bodies] == [
        ["max_tokens"],
        *[["max_completion_tokens"]] * 5,
    ]
    assert server.bodies[1]["max_completion_tokens"] == 77


def test_a_limit_that_no_name_satisfies_is_the_servers_first_word(server):
    words = iter(["max_tokens is too large", "max_completion_tokens: unknown field"])
    server.answer = lambda number, times: (400, {"error": {"message": next(words)}})
    assert "max_tokens is too large" in run(server, [0])[1]


LONG = f"<think>{'x' * 100_000}</think>\n<tool_call>[]</tool_call>"


@pytest.mark.parametrize(
    "message, text",
    [
        (LONG, LONG),
        ({"content": "\n<tool_call>", "reasoning_content": "a"}, "<think>a</think>\n<tool_call>"),
        ({"content": None, "reasoning": "a"}, "<think>a</think>"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}, {"type": "image"}]}, "ab"),
        ({"content": [{"type": "text", "text": "b"}], "reasoning_content": "a"}, "<think>a</think>b"),
        ({"content": ["a", {"text": "b"}], "reasoning": [{"type": "text", "text": "c"}]}, "<think>c</think>ab"),
        ({"content": [{"type": "thinking", "thinking": [{"text": "a"}]}, {"text": "b"}]}, "<think>a</think>b"),
        ("", ""),
        ("\0\u2028\ud800", "\0\u2028?"),  # half a character as an escape
        ((200, b'{"choices": [{"message": {"content": "a\xff\xffb"}}]}'), "a\ufffd\ufffdb"),
    ],
)
def test_a_response_is_what_the_model_wrote(server, message, text):
    server.answer = lambda number, times: message
    assert run(server, [0])[0] == {0: text}


def choice(reason="stop", **message):
    return completion(message={"role": "assistant", **message}, finish_reason=reason)


PAGE = b"<!DOCTYPE html><style>p {color: red}</style><h1>502</h1><p>Bad  Gateway</p>"


@pytest.mark.parametrize(
    "body, words",
    [
        (b"", "not a JSON object"),
        (b"upstream down", "not a JSON object: upstream down"),
        (PAGE, "not a JSON object: 502 Bad Gateway"),
        (b"[" * 100_000, "not a JSON object: [[["),
        (b'{"choices": [' + b"[" * 900 + b"]" * 900 + b"]}", "no choice"),
        (b"[]", "not a JSON object: []"),
        ({}, "no choice: {}"),
        ({"choices": []}, 'no choice: {"choices": []}'),
        ({"choices": 1, "error": {"message": "zu viele Anfragen, später"}}, "später"),
        ({"choices": ["x"]}, 'no choice: {"choices": ["x"]}'),
        ({"error": {"message": "model overloaded", "code": 503}}, "model overloaded"),
        ({**choice(content="I am"), "error": "cut off"}, '"cut off"'),
        (completion(message={"content": ""}, error={"message": "provider failed"}), "provider failed"),
        (choice(content=None), '"content": null'),
        (choice(content=None, refusal="I cannot say that"), "I cannot say that"),
        (choice(content=[]), '"content": []'),
        (choice(content={"text": "a"}), "no response"),
        (choice("content_filter", content="Once"), "content_filter"),
        (choice("content_filter", content=""), "content_filter"),
        (choice("abort", content="Once"), "abort"),
        (choice("error", content="Once"), '"error"'),
        (choice("insufficient_system_resource", content="Once"), "insufficient_system_resource"),
    ],
)
def test_an_answer_without_a_response_is_asked_again_and_then_said_in_its_own_words(server, body, words):
    server.answer = lambda number, times: (200, body) if times < 3 or number else "at last"
    found, reasons = run(server, [0, 1])
    assert found == {0: "at last"} and words in reasons[1]
    assert server.asked == {"0": 3, "1": 3}


def test_calls_that_the_server_has_read_are_a_response_where_they_are_asked_for(server):
    message = {"content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    server.answer = lambda number, times: {"content": None} if number else message
    assert run(server, [0, 1], interface="tools")[0].keys() == {0}
    assert not run(server, [0])[0]


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


@pytest.mark.parametrize(
    "interface, message, text",
    [
        ("completions", "why</think>[]", "<think>why</think>[]"),
        ("chat", "why</think>[]", "<think>why</think>[]"),
        ("chat", {"content": "[]", "reasoning": "why"}, "<think>why</think>[]"),
    ],
)
def test_a_response_to_a_prompt_that_opens_the_reasoning_gets_its_tag(server, interface, message, text):
    server.renders = True
    answer = server.respond
    detokenized = (200, {"prompt": "assistant\n<think>\n"})
    server.respond = lambda path, body: detokenized if path == "/detokenize" else answer(path, body)
    server.answer = lambda number, times: message
    endpoint = asyncio.run(resolve(Endpoint(base_url=server.url, model="m", interface=interface)))
    assert endpoint.opens_think and endpoint.interface == interface
    assert run(server, [0], interface=interface, opens_think=True)[0] == {0: text}
