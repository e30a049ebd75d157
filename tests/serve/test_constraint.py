"""The grammar of a reply that must call, run by xgrammar itself on single characters."""

import json

import pytest

pytest.importorskip("xgrammar", reason="xgrammar comes with vLLM")

import xgrammar

from tooln1.serve.constraint import ANY_OBJECT, build_constraint

POINT = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"], "additionalProperties": False}
TOOLS = [
    {
        "name": "f",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
    {
        "name": "g",
        "parameters": {
            "type": "object",
            "properties": {"p": {"$ref": "#/$defs/P"}},
            "required": ["p"],
            "$defs": {"P": POINT},
        },
    },
    {"type": "function", "function": {"name": "h", "parameters": {"n": {"type": "List[int], optional"}}}},
]
F, G, H = (
    '{"name": "f", "arguments": {"city": "</tool_call>"}}',
    '{"name": "g", "arguments": {"p": {"x": 1.5}}}',
    '{"name": "h", "arguments": {"anything": [null]}}',
)


@pytest.fixture(scope="module")
def compiler():
    characters = [chr(number) for number in range(256)]
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo(characters, stop_token_ids=[0]))


def allows(compiler, tag, reply):
    matcher = xgrammar.GrammarMatcher(compiler.compile_structural_tag(json.dumps(tag)))
    return all(map(matcher.accept_token, reply.encode())) and matcher.accept_token(0)


@pytest.mark.parametrize(
    "inside, settings, allowed",
    [
        (f"[{F}]", {}, True),
        (f"[{F}, {G}, {F}]", {}, True),
        (f"[{H}]", {}, True),  # no JSON Schema, so any object will do
        ("[]", {}, False),
        (F, {}, False),
        ('[{"name": "f", "arguments": {"city": 1}}]', {}, False),
        ('[{"name": "g", "arguments": {"p": {"y": 1}}}]', {}, False),
        ('[{"name": "k", "arguments": {}}]', {}, False),
        (f"[{F}, {F}]", {"several": False}, False),
        (f"[{G}]", {"name": "g"}, True),
        (f"[{G}]", {"name": "f"}, False),
    ],
)
def test_the_calls(inside, settings, allowed, compiler):
    tag = build_constraint(TOOLS, **{"name": None, "several": True, "reasons": False, **settings})
    assert allows(compiler, tag, f"<tool_call>{inside}</tool_call>") == allowed


@pytest.mark.parametrize(
    "opening, allowed",
    [
        ("<think>1 < 2, <b></think>\n", True),
        ("", False),
        ("<think></think>\n", False),
        ("<think> </think>\n", False),
        ("<think>a<think>b</think>\n", False),
        ("<think>a<tool_call></think>\n", False),
    ],
)
def test_the_reasoning(opening, allowed, compiler):
    tag = build_constraint(TOOLS, name=None, several=True, reasons=True)
    assert allows(compiler, tag, f"{opening}<tool_call>[{F}]</tool_call>") == allowed


def test_definitions_of_one_name_that_differ_leave_the_second_tool_any_object():
    other = {"name": "k", "parameters": {**TOOLS[1]["parameters"], "$defs": {"P": {"type": "string"}}}}
    tag = build_constraint([TOOLS[1], other], name=None, several=True, reasons=False)
    schema = tag["format"]["elements"][0]["content"]["json_schema"]
    assert schema["$defs"] == {"P": POINT}
    assert schema["items"]["anyOf"][1]["properties"]["arguments"] == ANY_OBJECT
