"""What the tests of serving share: prepared rows with the requests that a client would send for them."""

import json

import pyarrow.parquet as pq
import pytest

from tooln1.prompt import split_system

CALL = ("<tool_call>", "</tool_call>")

# A conversation as ToolACE has it: system text, calls as text, results, an answer in words, a second question.
TOOLS = [
    {
        "name": "Wettervorhersage für Städte",
        "description": 'Says "sun" & <rain>.\nTwo lines {tools}',
        "parameters": {
            "type": "dict",
            "properties": {"city": {"type": "string", "default": "Köln 😀"}, "days": {"type": "float", "max": 1e3}},
            "required": ["city"],
        },
        "required": None,
    },
    {"name": "clock", "description": "", "parameters": {"type": "dict", "properties": {}}},
]
CONVERSATION = {
    "system": "You are an expert. Here is a list of functions in JSON format that you can invoke:\n"
    + json.dumps(TOOLS, ensure_ascii=False)
    + "\nThe current time is 2024-09-01 09:00:00.",
    "conversations": [
        {"from": "user", "value": "Wie wird das Wetter in Köln? 'quote' \"quote\""},
        {"from": "assistant", "value": '[Wettervorhersage für Städte(city="Köln", days=2.0), clock()]'},
        {"from": "tool", "value": '[{"name": "clock", "results": {"time": "09:00", "é": null}}]'},
        {"from": "assistant", "value": "Sonnig, <b>warm</b>."},
        {"from": "user", "value": "Und in Bonn?"},
        {"from": "assistant", "value": '[Wettervorhersage für Städte(city="Bonn", days=1)]'},
    ],
}


@pytest.fixture(scope="session")
def toolace_rows(tmp_path_factory):
    """The parquet file of the conversation, written by data_prep/toolace.py with the thinking template."""
    from data_prep.toolace import main

    folder = tmp_path_factory.mktemp("toolace")
    (folder / "raw.json").write_text(json.dumps([CONVERSATION] * 2, ensure_ascii=False), encoding="utf-8")
    main(["--input", str(folder / "raw.json"), "--output", str(folder / "rows")])
    return max(folder.glob("rows/*.parquet"), key=lambda path: pq.read_metadata(path).num_rows)


def as_request(messages):
    """The tools and messages with which an OpenAI client asks what a prepared prompt asks."""
    context, tools = split_system(messages[0]["content"])
    asked = [{"role": "system", "content": context}] if context else []
    for message in messages[1:]:
        text, mark, block = message["content"].partition(CALL[0])
        if message["role"] == "assistant" and mark:
            calls = json.loads(block.removesuffix(CALL[1]))
            asked.append({"role": "assistant", "content": text.strip() or None, "tool_calls": as_tool_calls(calls)})
        elif message["role"] == "tool":
            asked.append({"role": "tool", "content": message["content"], "tool_call_id": "call_0"})
        else:
            asked.append(dict(message))
    return {"messages": asked, "tools": [{"type": "function", "function": tool} for tool in tools]}


def as_tool_calls(calls):
    """Calls as a client sends them back."""
    written = [{"name": call["name"], "arguments": json.dumps(call["arguments"])} for call in calls]
    return [{"id": f"call_{index}", "type": "function", "function": call} for index, call in enumerate(written)]


@pytest.fixture(scope="session")
def to_request():
    """Turns a prepared prompt into a request."""
    return as_request
