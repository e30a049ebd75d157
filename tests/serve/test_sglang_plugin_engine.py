"""The plugin under SGLang's own parser classes, whole and streamed."""

import pytest

pytest.importorskip("sglang", reason="SGLang is not installed (examples/setup_gpu.sh sglang)")

from sglang.srt.entrypoints.openai.protocol import Tool
from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.parser.reasoning_parser import ReasoningParser

from tooln1.serve.sglang_plugin import register

CALLS = '<tool_call>[{"name": "f", "arguments": {"a": "é</tool_call>"}}, {"name": "f", "arguments": {}}]</tool_call>'
BOTH = [(0, "f", '{"a": "é</tool_call>"}'), (1, "f", "{}")]


@pytest.fixture
def parsers():
    """Makes the two parsers of one answer."""
    register()
    tools = [Tool(type="function", function={"name": "f", "parameters": {}})]
    return lambda: (ReasoningParser("tool_n1", True, True), FunctionCallParser(tools, "tool_n1"))


def items(calls):
    return [(call.tool_index, call.name, call.parameters) for call in calls]


def whole(reasoning_parser, call_parser, response):
    reasoning, text = reasoning_parser.parse_non_stream(response)
    text, calls = call_parser.parse_non_stream(text) if call_parser.has_tool_call(text) else (text, [])
    return reasoning, text, items(calls)


def streamed(reasoning_parser, call_parser, pieces):
    reasoning, content, found = "", "", []
    for piece in pieces:
        thought, text = reasoning_parser.parse_stream_chunk(piece)
        text, calls = call_parser.parse_stream_chunk(text)
        reasoning, content, found = reasoning + thought, content + text, found + items(calls)
    return reasoning, content, found


@pytest.mark.parametrize(
    "response, expected",
    [
        (f"<think>why</think>\n{CALLS}\n", ("why", "", BOTH)),
        ("<think>why</think>\nWarm.", ("why", "\nWarm.", [])),
        (CALLS, ("", CALLS, [])),
        (f"<think> </think>{CALLS}", ("", f"<think> </think>{CALLS}", [])),
        (f"<think>why {CALLS}", ("why ", CALLS, [])),
        ("Warm.", ("", "Warm.", [])),
    ],
)
def test_a_response_whole_and_streamed(response, expected, parsers):
    assert whole(*parsers(), response) == expected
    for size in (1, 2, 3, 5, 8):
        pieces = [response[start : start + size] for start in range(0, len(response), size)]
        assert streamed(*parsers(), pieces) == expected


@pytest.mark.parametrize(
    "block", ["<tool_call>[]</tool_call>", "<tool_call>[{", f"{CALLS} more"], ids=["empty", "cut off", "more"]
)
def test_a_whole_response_without_calls_keeps_its_text(block, parsers):
    assert whole(*parsers(), f"<think>why</think>{block}") == ("why", block, [])
