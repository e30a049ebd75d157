"""A real server, started by `tooln1 serve` and asked by the openai client.

The model is the untrained tiny one, so a request that wants a certain response brings a grammar that allows no other.
Engine, detokenizer, parsers and protocol then have it as from any model. Prompts are compared as the token ids that the
server reports.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

pytest.importorskip("vllm", reason="vLLM is not installed")
pytest.importorskip("openai", reason="the client is not installed")

import openai

from tooln1.endpoint import render
from tooln1.prompt import build_messages, format_response, load_template, split_system
from tooln1.serve.server import free_port

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {"x": {}}}}}
    for name in ("f", "g")
]
ASKED = [{"role": "user", "content": "x"}]
CALLS = [{"name": "f", "arguments": {"x": "é</tool_call>"}}, {"name": "g", "arguments": {}}]
RESPONSE = format_response(CALLS, "both")


@pytest.fixture(scope="module")
def client(model_server):
    return openai.OpenAI(base_url=model_server, api_key="none", max_retries=1, timeout=120)


@pytest.fixture(scope="module")
def model(client):
    return client.models.list().data[0].id


@pytest.fixture
def ask(client, model):
    """Sends a request; `response` is what the model is made to write."""

    def send(response=None, messages=ASKED, **fields):
        body = fields.pop("extra_body", {})
        if response is not None:
            body = {**body, **only(response)}
        return client.chat.completions.create(
            model=model, messages=messages, extra_body=body, **{"temperature": 0, "max_tokens": 300, **fields}
        )

    return send


def only(response):
    """The part of a request's body that leaves the model nothing else to write."""
    constant = {"type": "structural_tag", "format": {"type": "const_string", "value": response}}
    return {"structured_outputs": {"structural_tag": json.dumps(constant)}}


def answer(response):
    """(reasoning, content, calls, finish reason) of a whole answer."""
    message, calls = response.choices[0].message, response.choices[0].message.tool_calls or []
    named = [(call.function.name, json.loads(call.function.arguments)) for call in calls]
    return message.reasoning, message.content, named, response.choices[0].finish_reason


def collect(stream):
    """The same of a stream's deltas."""
    reasoning, content, calls, reason = "", "", {}, None
    for chunk in stream:
        delta, reason = chunk.choices[0].delta, chunk.choices[0].finish_reason or reason
        reasoning += getattr(delta, "reasoning", None) or ""
        content += delta.content or ""
        for call in delta.tool_calls or []:
            name, arguments = calls.get(call.index, ("", ""))
            calls[call.index] = (name + (call.function.name or ""), arguments + (call.function.arguments or ""))
    return reasoning, content, [(name, json.loads(arguments)) for name, arguments in calls.values()], reason


@pytest.mark.parametrize(
    "response, fields, expected",
    [
        (RESPONSE, {}, ("both", None, [("f", CALLS[0]["arguments"]), ("g", {})], "tool_calls")),
        (RESPONSE, {"parallel_tool_calls": False}, ("both", None, [("f", CALLS[0]["arguments"])], "tool_calls")),
        (format_response([], "none fits"), {}, ("none fits", "", [], "stop")),
        # Malformed: the text itself.
        (RESPONSE[:-1], {}, ("both", "\n" + RESPONSE.partition("\n")[2][:-1], [], "stop")),
        (RESPONSE.partition("\n")[2], {}, (None, RESPONSE.partition("\n")[2], [], "stop")),
        # Without tools, nothing is a call.
        (RESPONSE, {"tools": None}, ("both", "\n" + RESPONSE.partition("\n")[2], [], "stop")),
        (RESPONSE, {"tool_choice": "none"}, ("both", "\n" + RESPONSE.partition("\n")[2], [], "stop")),
    ],
)
def test_a_response_whole_and_streamed(response, fields, expected, ask):
    fields = {"tools": TOOLS, **fields}
    fields = {key: value for key, value in fields.items() if value is not None}
    assert answer(ask(response, **fields)) == expected
    reasoning, content, *rest = expected
    assert collect(ask(response, stream=True, **fields)) == (reasoning or "", content or "", *rest)


def test_a_response_that_is_cut_off_calls_nothing(ask):
    for response in (
        answer(ask(RESPONSE, tools=TOOLS, max_tokens=12)),
        collect(ask(RESPONSE, tools=TOOLS, max_tokens=12, stream=True)),
    ):
        assert response[2:] == ([], "length")


def prompt_ids(response):
    return response.model_extra["prompt_token_ids"]


def test_a_tools_result_is_fed_back_as_in_training(ask, tiny_model):
    from transformers import AutoTokenizer

    message = ask(RESPONSE, tools=TOOLS).choices[0].message
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"é": 1}'}
    messages = [*ASKED, message.model_dump(exclude_none=True), result, {"role": "user", "content": "next"}]
    response = ask(messages=messages, tools=TOOLS, max_tokens=1, extra_body={"return_token_ids": True})
    turns = [*ASKED, {"role": "assistant", "calls": CALLS}, result, messages[-1]]
    expected = AutoTokenizer.from_pretrained(tiny_model).apply_chat_template(
        build_messages(TOOLS, turns, template=load_template("compact")), add_generation_prompt=True, return_dict=False
    )
    assert prompt_ids(response) == expected


def trained_prompts(path, model_folder):
    """(token ids, messages) of a file's rows, as verl's data set and agent loop make them."""
    from omegaconf import OmegaConf
    from transformers import AutoTokenizer
    from verl.utils.dataset.rl_dataset import RLHFDataset
    from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    rows = RLHFDataset([str(path)], tokenizer, OmegaConf.create({"filter_overlong_prompts": False}))
    builder = create_continuous_token_builder(tokenizer, hf_model_type="qwen2")
    for row in rows:
        yield list(builder.build_initial_tokens(row["raw_prompt"])), row["raw_prompt"]


def as_request(messages):
    """The tools and messages with which an OpenAI client asks what a row's prompt asks."""
    context, tools = split_system(messages[0]["content"], load_template("compact"))
    asked = [{"role": "system", "content": context}] if context else []
    for message in messages[1:]:
        text, tag, block = message["content"].partition("<tool_call>")
        if message["role"] == "assistant" and tag:
            calls = json.loads(block.removesuffix("</tool_call>"))
            functions = [{"name": call["name"], "arguments": json.dumps(call["arguments"])} for call in calls]
            calls = [{"id": f"{place}", "type": "function", "function": one} for place, one in enumerate(functions)]
            asked.append({"role": "assistant", "content": text.strip() or None, "tool_calls": calls})
        else:
            asked.append({**message, "tool_call_id": "0"} if message["role"] == "tool" else message)
    return {"messages": asked, "tools": [{"type": "function", "function": tool} for tool in tools]}


async def evaluated_prompts(address, model, prompts):
    """The token ids from which evaluation lets the server continue."""
    async with openai.AsyncOpenAI(base_url=address, api_key="none") as client:
        return [(await render(client, model, messages))["tokens"] for messages in prompts]


def test_training_serving_and_evaluation_see_the_same_prompt(client, ask, model, tiny_data, tiny_model):
    prompts = list(trained_prompts(tiny_data / "test.parquet", tiny_model))[::5]
    assert any(message["role"] == "tool" for _, messages in prompts for message in messages)
    fields = {"max_tokens": 1, "extra_body": {"return_token_ids": True}}
    for ids, messages in prompts:
        assert prompt_ids(ask(**as_request(messages), **fields)) == ids
        # Messages of build_messages, without tools: what evaluation sends to a server that cannot render.
        assert prompt_ids(ask(messages=messages, **fields)) == ids
    evaluated = asyncio.run(evaluated_prompts(str(client.base_url), model, [messages for _, messages in prompts]))
    assert evaluated == [ids for ids, _ in prompts]


DEEP = json.dumps({"x": 1}).replace("1", "[" * 5000 + "]" * 5000)


def tool_calls(arguments):
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    return [*ASKED, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "a", "content": ""}]


def with_schema(schema):
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}]}


HUGE = {"type": "string", "pattern": "^(ab{1,9000}c{1,9000}){1,12000}$"}
CHAIN = {}
for _ in range(300):
    CHAIN = {"type": "object", "properties": {"a": CHAIN}}


@pytest.mark.parametrize(
    "fields, status",
    [
        ({"messages": tool_calls("{not json")}, 400),
        ({"messages": tool_calls(DEEP)}, 500),  # vLLM's own decoding gives up
        ({"messages": [{"role": "function", "content": "x"}]}, 400),
        ({"tool_choice": {"type": "function", "function": {"name": "unknown"}}}, 400),
        ({"tools": []}, 400),
        # No JSON Schema, so any object will do.
        (with_schema({"type": 7}), 200),
        (with_schema({"$defs": None, "type": "object", "properties": {"x": {"$ref": "#"}}}), 200),
        (with_schema({"$ref": "#"}), 200),
        (with_schema(True), 400),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": HUGE}}}, 400),
    ],
    ids=["arguments", "depth", "role", "choice", "no tools", "schema", "null", "circle", "boolean", "format"],
)
def test_a_bad_request_is_answered_and_the_server_lives(fields, status, ask):
    fields = {"tools": TOOLS, "tool_choice": "required", "max_tokens": 1, **fields}
    if status == 200:
        ask(**fields)
    else:
        with pytest.raises(openai.APIStatusError) as error:
            ask(**fields)
        assert error.value.status_code == status
    assert answer(ask(RESPONSE, tools=TOOLS))[-1] == "tool_calls"


@pytest.mark.parametrize(
    "schema", [HUGE, {"type": "object", "properties": {"x": HUGE}}, CHAIN], ids=["root", "inside", "deep"]
)
def test_a_schema_that_compiles_for_long_keeps_nobody_waiting(schema, ask, client):
    done = threading.Event()

    def watch():
        """The longest time that another client waits for an answer."""
        longest = 0.0
        while not done.is_set():
            start = time.monotonic()
            ask(max_tokens=1)
            longest = max(longest, time.monotonic() - start)
        return longest

    with ThreadPoolExecutor() as pool:
        longest = pool.submit(watch)
        start = time.monotonic()
        try:
            ask(tool_choice="required", max_tokens=1, **with_schema(schema))
        except openai.BadRequestError as error:
            assert "tools: nested more than 128 levels deep" in str(error)
        seconds = time.monotonic() - start
        done.set()
        assert longest.result() < 10 and seconds < 10


@pytest.fixture(scope="module")
def guarded(tiny_model, tmp_path_factory):
    """A server with a key, and its log: (process, address, log)."""
    log = tmp_path_factory.mktemp("guarded") / "log.txt"
    port = free_port()
    options = ["--port", str(port), "--api-key", "secret", "--max-num-seqs", "16", "--shutdown-timeout", "5"]
    command = [sys.executable, "-m", "tooln1.cli", "serve", str(tiny_model), *options]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 600
    while status(f"{address}/health") != 200:
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.5)
    yield process, address, log
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def status(address, key=None, **fields):
    """The HTTP status of a request, None if there is no answer."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    body = json.dumps(fields).encode() if fields else None
    try:
        with urllib.request.urlopen(urllib.request.Request(address, body, headers), timeout=120) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def test_the_key_is_needed_everywhere_and_shown_nowhere(guarded):
    process, address, log = guarded
    body = {"messages": ASKED, "max_tokens": 1}
    for path, fields in {
        "/v1/models": {},
        "/metrics": {},
        "/version": {},
        "/openapi.json": {},
        "/invocations": body,
        "/tokenize": {"prompt": "x"},
        "/v1/chat/completions": body,
        "/v1/responses": {"input": "x", "max_output_tokens": 1},
    }.items():
        assert status(address + path, **fields) == status(address + path, "other", **fields) == 401, path
        assert status(address + path, "secret", **fields) == 200, path
    assert status(f"{address}/health") == status(f"{address}/ping") == 200
    assert "secret" not in log.read_text()
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    assert len(family) > 1 and not any("secret" in " ".join(one.cmdline()) for one in family)
    listening = {one.laddr.ip for member in family for one in member.net_connections() if one.status == "LISTEN"}
    assert listening <= {"127.0.0.1", "::1"}


def test_sigterm_ends_running_requests_within_a_bound(guarded):
    """The last test: it ends the server."""
    process, address, log = guarded
    body = {"messages": ASKED, "max_tokens": 8000, "ignore_eos": True, "tool_choice": "none"}
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(status, f"{address}/v1/chat/completions", "secret", **body) for _ in range(12)]
        while not re.search(r"Running: [1-9]", log.read_text()) and not all(one.done() for one in answers):
            time.sleep(0.5)
        start = time.monotonic()
        process.terminate()
        process.wait(60)
        assert time.monotonic() - start < 5 + 15 + 10
        assert [one.result(10) for one in answers]  # each ended, with a response or an error
    assert status(f"{address}/health") is None
