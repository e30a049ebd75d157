"""Asking: no case is lost or counted twice, whatever the endpoint does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from oracle import Server, say

from tooln1.endpoint import Endpoint, resolve
from tooln1.errors import UserError
from tooln1.eval.cases import Case
from tooln1.eval.reply import read_reply
from tooln1.eval.runner import Replies, collect
from tooln1.prompt import build_messages

TOOL = {"name": "f", "parameters": {"properties": {"n": {"type": "integer"}}}}


class Numbers:
    """Forty cases that ask for a number each."""

    cases = [
        Case(
            id=str(number),
            category="numbers",
            messages=build_messages([TOOL], [{"role": "user", "content": f"call it with {number}"}]),
            reference=[{"name": "f", "arguments": {"n": number}}],
        )
        for number in range(40)
    ]


@pytest.fixture
def server(server):
    server.know(Numbers)
    return server


def run(server, folder, count=40, settings=None, **options):
    """Ask for the cases; return the replies by id and the unanswered with their reasons."""
    endpoint = Endpoint(
        base_url=server.url, **{"model": "oracle", "interface": "chat", "retries": 2, "concurrency": 4, **options}
    )
    prompts = [(("numbers", case.id), case.messages) for case in Numbers.cases[:count]]
    with Replies(folder / "replies.jsonl", settings or {}) as replies:
        unanswered = collect(prompts, endpoint, replies)
        found = {name: line["reply"] for (_, name), line in replies.by_case.items()}
    return found, {name: reason for (_, name), reason in unanswered.items()}


ALL = {case.id: say(case) for case in Numbers.cases}


def lines(folder):
    return (folder / "replies.jsonl").read_text().splitlines()


def test_every_case_is_asked_once_and_its_reply_kept(tmp_path, server):
    found, unanswered = run(server, tmp_path)
    assert found == ALL and not unanswered
    assert set(server.asked.values()) == {1}
    body = server.bodies[0]
    assert body["messages"] in [case.messages for case in Numbers.cases]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("oracle", 0.0, 8192)
    assert "seed" not in body and "tools" not in body


def test_a_second_run_asks_nothing(tmp_path, server):
    run(server, tmp_path)
    found, unanswered = run(server, tmp_path)
    assert found == ALL and not unanswered
    assert sum(server.asked.values()) == 40


def test_sampling_sends_its_seed(tmp_path, server):
    run(server, tmp_path, count=1, temperature=0.7, seed=5, extra={"top_p": 0.9})
    assert (server.bodies[0]["seed"], server.bodies[0]["temperature"], server.bodies[0]["top_p"]) == (5, 0.7, 0.9)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_fails_for_a_while_is_repeated(tmp_path, server, status):
    server.answer = lambda case, times: say(case) if times == 3 else (status, {"error": {"message": "busy"}})
    found, unanswered = run(server, tmp_path)
    assert found == ALL and not unanswered
    assert len(lines(tmp_path)) == 41


def test_a_connection_that_breaks_off_is_tried_again(tmp_path, server):
    server.answer = lambda case, times: say(case) if times == 2 else None
    found, unanswered = run(server, tmp_path)
    assert found == ALL and not unanswered


def test_a_case_that_stays_without_a_reply_is_reported_and_asked_by_the_next_run(tmp_path, server):
    server.answer = lambda case, times: (500, {}) if case.id in ("3", "7") else say(case)
    found, unanswered = run(server, tmp_path)
    assert found.keys() == ALL.keys() - {"3", "7"}
    assert unanswered.keys() == {"3", "7"} and all("500" in reason for reason in unanswered.values())
    server.answer = lambda case, times: say(case)
    found, unanswered = run(server, tmp_path)
    assert found == ALL and not unanswered
    assert len(lines(tmp_path)) == 41


def test_time_outs_are_reported(tmp_path, server):
    def answer(case, times):
        time.sleep(0.6 if case.id == "5" else 0)
        return say(case)

    server.answer = answer
    found, unanswered = run(server, tmp_path, timeout=0.3, retries=0)
    assert found.keys() == ALL.keys() - {"5"}
    assert "timed out" in unanswered["5"].lower()


def test_an_endpoint_that_keeps_failing_is_left_alone_and_the_rest_is_unanswered(tmp_path, server):
    server.answer = lambda case, times: say(case) if sum(server.asked.values()) <= 8 else (500, {})
    found, unanswered = run(server, tmp_path, retries=0)
    assert found.keys() | unanswered.keys() == ALL.keys()
    assert not found.keys() & unanswered.keys()
    assert any(reason.startswith("not asked: the endpoint kept failing") for reason in unanswered.values())
    assert sum(server.asked.values()) < 40


def test_a_server_that_dies_loses_nothing_that_was_answered(tmp_path, server):
    # Dead for the client: from the tenth request on, every connection breaks off.
    server.answer = lambda case, times: say(case) if sum(server.asked.values()) < 10 else None
    found, unanswered = run(server, tmp_path, retries=0, concurrency=1)
    assert len(found) == 9 and found.keys() | unanswered.keys() == ALL.keys()
    other = Server()
    other.know(Numbers)
    again, unanswered = run(other, tmp_path)
    other.close()
    assert again == ALL and not unanswered
    assert sum(other.asked.values()) == 40 - len(found)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_takes_no_request_ends_the_run_at_once(tmp_path, server, status):
    server.answer = lambda case, times: (status, {"error": {"message": "no"}})
    with pytest.raises(UserError, match=f"{status}.*check address, model and key"):
        run(server, tmp_path)
    assert sum(server.asked.values()) <= 8


def test_prompts_that_are_refused_are_reported_and_stop_nothing(tmp_path, server):
    server.answer = lambda case, times: (400, {"error": {"message": "too long"}}) if int(case.id) < 30 else say(case)
    found, unanswered = run(server, tmp_path, concurrency=1)
    assert len(found) == 10 and len(unanswered) == 30
    assert "too long" in unanswered["0"]


LONG = f"<think>{'x' * 100_000}</think>\n<tool_call>[]</tool_call>"


@pytest.mark.parametrize("split", [False, True])
def test_long_replies_arrive_whole(tmp_path, split):
    server = Server(split=split)
    server.know(Numbers)
    server.answer = lambda case, times: LONG
    found, _ = run(server, tmp_path, count=2)
    server.close()
    assert set(found.values()) == {LONG}


def chat(content):
    return b'{"choices": [{"message": {"role": "assistant", "content": "' + content + b'"}, "finish_reason": "stop"}]}'


@pytest.mark.parametrize(
    "content, reply",
    [
        (b"a\xff\xfeb", "a��b"),  # no UTF-8
        (b"a\\ud800b", "a?b"),  # half a character
        (b"", ""),
        (b"\\u0000\\u2028", "\x00\u2028"),
    ],
)
def test_any_text_is_kept_and_read_again(tmp_path, server, content, reply):
    server.answer = lambda case, times: (200, chat(content))
    assert run(server, tmp_path, count=1)[0] == {"0": reply}
    assert run(server, tmp_path, count=1)[0] == {"0": reply}
    assert read_reply(reply).calls is None


@pytest.mark.parametrize(
    "body", [b"", b"not json", b"[]", b"{}", b'{"choices": []}', b'{"choices": 1}', b'{"choices": ["x"]}']
)
def test_a_response_without_a_reply_is_unanswered(tmp_path, server, body):
    server.answer = lambda case, times: (200, body)
    found, unanswered = run(server, tmp_path, count=2, retries=0)
    assert not found and len(unanswered) == 2


def test_the_raw_text_comes_through_completions_where_the_server_renders_prompts(tmp_path):
    """With a reasoning parser, a chat would lose what stood before the opening tag."""
    server = Server(completions=True, split=True)
    server.know(Numbers)
    server.answer = lambda case, times: f"Well. {say(case)}"
    endpoint = prepare(server.url)
    assert (endpoint.model, endpoint.interface) == ("oracle", "completions")
    found, _ = run(server, tmp_path, interface=endpoint.interface)
    server.close()
    assert found == {name: f"Well. {reply}" for name, reply in ALL.items()}
    completion = next(body for body in server.bodies if "prompt" in body)
    assert completion["max_tokens"] == 8192 and "messages" not in completion


def test_a_chat_with_the_reasoning_apart_is_put_together(tmp_path):
    server = Server(split=True)
    server.know(Numbers)
    assert prepare(server.url).interface == "chat"
    found, _ = run(server, tmp_path)
    server.close()
    assert {name: read_reply(reply).calls for name, reply in found.items()} == {
        case.id: case.reference for case in Numbers.cases
    }


def prepare(url):
    return resolve(Endpoint(base_url=url, model="", interface="auto", retries=0))


def test_nobody_there_is_one_line():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(UserError, match=rf"{url}.*check the address"):
        prepare(url)


def test_no_more_requests_are_open_than_asked_for(tmp_path, server):
    def answer(case, times):
        time.sleep(0.02)
        return say(case)

    server.answer = answer
    run(server, tmp_path, concurrency=5)
    assert 2 <= server.most_open <= 5


@pytest.mark.parametrize("cut", [1, 30])
def test_half_a_line_at_the_end_is_asked_again(tmp_path, server, cut):
    run(server, tmp_path, count=5)
    path = tmp_path / "replies.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    found, _ = run(server, tmp_path, count=5)
    assert len(found) == 5 and sum(server.asked.values()) == 6
    assert len(lines(tmp_path)) == 6


def test_a_reply_that_stands_twice_counts_once(tmp_path, server):
    run(server, tmp_path, count=2)
    path = tmp_path / "replies.jsonl"
    head, first, second = path.read_text().splitlines()
    path.write_text("\n".join([head, first, second, json.dumps({**json.loads(first), "reply": "other"})]) + "\n")
    found, _ = run(server, tmp_path, count=2)
    assert found == {name: ALL[name] for name in ("0", "1")}


def test_a_folder_of_other_settings_is_refused_and_the_difference_named(tmp_path, server):
    run(server, tmp_path, count=1, settings={"model": "a", "temperature": 0})
    with pytest.raises(UserError) as refused:
        run(server, tmp_path, count=1, settings={"model": "b", "temperature": 0})
    message = str(refused.value)
    assert '{"model": "a"}' in message and '{"model": "b"}' in message and "choose another --output" in message


KILLED = """
import sys
sys.path[:0] = {path!r}
from test_runner import Numbers, run
class Remote:
    url = {url!r}
import pathlib
run(Remote, pathlib.Path({folder!r}), concurrency=2)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path, server):
    def answer(case, times):
        time.sleep(0.03)
        return say(case)

    server.answer = answer
    code = KILLED.format(path=sys.path, url=server.url, folder=str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "no_proxy": "127.0.0.1"})
    while len(server.asked) < 10:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len((tmp_path / "replies.jsonl").read_bytes().split(b"\n")) - 2
    time.sleep(0.2)  # what was on its way
    asked = sum(server.asked.values())
    assert 0 < kept < 40
    found, unanswered = run(server, tmp_path)
    assert found == ALL and not unanswered
    assert sum(server.asked.values()) - asked == 40 - kept
