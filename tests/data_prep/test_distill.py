"""data_prep/distill.py against a local endpoint that answers rightly, wrongly or with an error, as each test says."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter

import pytest
from data_scripts import rows_of, run_script
from fake_endpoint import FakeEndpoint, completion

from tooln1.data.distill import compose_response
from tooln1.endpoint import Response
from tooln1.errors import UserError
from tooln1.prompt import format_response

pytest.importorskip("openai", reason="needs OpenAI's client (the distill extra)")

from data_prep import distill  # noqa: E402

RIGHT = "right"


class Endpoint(FakeEndpoint):
    """`answer(asked, times)` gives RIGHT, or a status and a message, the words of an error or a whole body."""

    def __init__(self, folder):
        self.truths = {row["prompt"][-1]["content"]: row["reward_model"]["ground_truth"] for row in rows_of(folder)}
        self.answer = lambda asked, times: RIGHT
        self.seconds = 0.0
        super().__init__()

    def respond(self, path, body):
        query = body["messages"][-1]["content"]
        return self.counted(query, lambda times: self._answer(query, times))

    def _answer(self, query, times):
        time.sleep(self.seconds)
        found = self.answer(query, times)
        status, content = (200, self.right(query)) if found == RIGHT else found
        if status != 200:
            return status, {"error": {"message": content}}
        if isinstance(content, bytes) or {"error", "choices"} & set(content):
            return status, content
        return 200, completion(
            message=content if isinstance(content, dict) else {"role": "assistant", "content": content}
        )

    def right(self, query):
        return format_response(json.loads(self.truths[query]), "it is so")


@pytest.fixture
def endpoint(xlam_folder, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Endpoint(xlam_folder)
    yield server
    server.close()


def run_distill(endpoint, folder, output, **options):
    return run_script(distill, output, folder, base_url=endpoint.url, model="m", **options)


def lines_of(output):
    return [json.loads(line) for line in (output / "responses.jsonl").read_text().splitlines()]


def test_rewarded_responses_become_conversations(tmp_path, endpoint, xlam_folder, capsys):
    rows, stats = run_distill(endpoint, xlam_folder, tmp_path, input_price=1, output_price=10)
    assert len(rows) == 40
    for row in rows:
        query, response = row["messages"][-2]["content"], row["messages"][-1]["content"]
        assert response == endpoint.right(query)
    assert (stats["responses"], stats["input_tokens"], stats["output_tokens"]) == (40, 4000, 400)
    assert stats["dollars"] == pytest.approx(0.004 + 0.004)
    assert "40 responses, 400 output tokens, $0.01" in capsys.readouterr().out
    body = endpoint.bodies[0]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("m", 0.6, 8192)


def test_only_responses_of_reward_one_are_kept(tmp_path, endpoint, xlam_folder):
    def answer(query, times):
        number = int(re.search(r"City (\d+)", query)[1])
        # As good as right, but the grammar or a value is not.
        wrong = [
            endpoint.right(query).replace("<think>it is so</think>", ""),
            endpoint.right(query) + " Done.",
            endpoint.right(query).replace(f'"days": {number}', f'"days": "{number}"'),
            "",
        ]
        return RIGHT if number >= 4 else (200, wrong[number])

    endpoint.answer = answer
    rows, stats = run_distill(endpoint, xlam_folder, tmp_path)
    assert len(rows) == 36
    assert stats["data_sources"]["toolcall/xlam"]["dropped"] == {"not_rewarded": 4}
    assert Counter(line.get("reward") for line in lines_of(tmp_path)) == {None: 1, 1: 36, 0: 4}


def test_several_samples_are_tried_until_one_earns_the_reward(tmp_path, endpoint, xlam_folder):
    endpoint.answer = lambda query, times: RIGHT if times == 3 else (200, "no")
    rows, _ = run_distill(endpoint, xlam_folder, tmp_path, samples=5)
    assert len(rows) == 40
    assert set(endpoint.asked.values()) == {3}


@pytest.mark.parametrize(
    "failure, words",
    [
        ((400, "too long"), "BadRequestError: Error code: 400 .*too long"),
        ((200, {"error": {"message": "out of credit"}}), "out of credit"),
        ((200, completion(message={"content": None}, finish_reason="content_filter")), "content_filter"),
    ],
)
def test_a_prompt_without_a_response_is_asked_by_the_next_run(tmp_path, endpoint, xlam_folder, capsys, failure, words):
    endpoint.answer = lambda query, times: failure if "City 7 " in query else RIGHT
    for times in (1, 2):
        rows, stats = run_distill(endpoint, xlam_folder, tmp_path, retries=0)
        assert (len(rows), stats["failed"], stats["responses"]) == (39, 1, 39)
        assert re.search(rf"1 prompts got no response \(.*{words}", capsys.readouterr().err)
        assert sum(endpoint.asked.values()) == 39 + times
    endpoint.answer = lambda query, times: RIGHT
    assert len(run_distill(endpoint, xlam_folder, tmp_path, retries=0)[0]) == len(lines_of(tmp_path)) - 1 == 40


@pytest.mark.parametrize(
    "failure, words",
    [
        ((500, "broken"), "500.*broken"),
        ((200, b"<!DOCTYPE html><title>Sign in</title>"), "not a JSON object: Sign in"),
        ((200, {"error": {"message": "out of credit"}}), "out of credit"),
        ((200, {"choices": []}), "no choice"),
    ],
)
def test_an_endpoint_that_keeps_failing_ends_the_run_and_responses_are_kept(
    tmp_path, endpoint, xlam_folder, failure, words
):
    endpoint.answer = lambda query, times: RIGHT if sum(endpoint.asked.values()) <= 10 else failure
    with pytest.raises(UserError, match=f"20 requests in a row failed .*{words}.*is kept"):
        run_distill(endpoint, xlam_folder, tmp_path, concurrency=2, retries=0)
    kept = len(lines_of(tmp_path)) - 1
    assert 8 <= kept <= 10  # two requests at a time may see the same sum
    assert not (tmp_path / "train.parquet").exists()
    endpoint.answer = lambda query, times: RIGHT
    before = sum(endpoint.asked.values())
    rows, _ = run_distill(endpoint, xlam_folder, tmp_path, concurrency=2)
    assert len(rows) == 40
    assert sum(endpoint.asked.values()) - before == 40 - kept


def test_nobody_there_is_one_line(tmp_path, xlam_folder, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(UserError, match=rf"{url}: not one request succeeded \(APIConnectionError"):
        run_script(distill, tmp_path, xlam_folder, base_url=url, model="m", limit=2, retries=0)


def test_a_killed_run_resumes(tmp_path, endpoint, xlam_folder):
    endpoint.seconds = 0.05
    options = ["--base-url", endpoint.url, "--model", "m", "--concurrency", "2"]
    command = [sys.executable, distill.__file__, "--input", xlam_folder, "--output", tmp_path, *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(endpoint.asked) < 12:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len((tmp_path / "responses.jsonl").read_bytes().splitlines()) - 1
    time.sleep(0.2)  # what was on its way
    asked = sum(endpoint.asked.values())
    assert 0 < kept < 40
    rows, _ = run_distill(endpoint, xlam_folder, tmp_path)
    assert len(rows) == 40
    assert sum(endpoint.asked.values()) - asked == 40 - kept
    # One uninterrupted run writes the same conversations.
    again, _ = run_distill(endpoint, xlam_folder, tmp_path / "other")
    assert again == rows


def test_responses_to_other_settings_do_not_mix(tmp_path, endpoint, xlam_folder):
    run_distill(endpoint, xlam_folder, tmp_path, limit=2)
    with pytest.raises(UserError, match=r"responses\.jsonl: its responses were made with .*choose another --output"):
        run_distill(endpoint, xlam_folder, tmp_path, limit=2, temperature=0.1)


@pytest.mark.parametrize(
    "content, reasoning, expected",
    [
        ("<think>a</think>\n<tool_call>[]</tool_call>", "", "<think>a</think>\n<tool_call>[]</tool_call>"),
        ("<tool_call>[]</tool_call>", "a\n", "<think>a</think>\n<tool_call>[]</tool_call>"),
        ("<tool_call>[]</tool_call>", " ", "<tool_call>[]</tool_call>"),
        ("a</think>\n<tool_call>[]</tool_call>", "", "<think>a</think>\n<tool_call>[]</tool_call>"),
        ("", "a", "<think>a</think>\n"),
        ("", "", ""),
    ],
)
def test_a_response_is_put_together_the_way_servers_take_it_apart(content, reasoning, expected):
    assert compose_response(Response(content, reasoning, "stop", 0, 0)) == expected


def test_reasoning_that_comes_apart_counts(tmp_path, endpoint, xlam_folder):
    def answer(query, times):
        calls = endpoint.right(query).split("\n", 1)[1]
        name = "reasoning_content" if "City 1" in query else "reasoning"
        return 200, {"role": "assistant", "content": calls, name: "it is so"}

    endpoint.answer = answer
    rows, _ = run_distill(endpoint, xlam_folder, tmp_path)
    assert all(row["messages"][-1]["content"] == endpoint.right(row["messages"][-2]["content"]) for row in rows)
    assert len(rows) == 40
