"""Tool lists: the shapes that come into one, what is kept, and what is refused and why."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1.tools import TOOL_REASONS, ToolListError, fits_plainly, normalize_tools, schema_fault

KEYS = ["name", "type", "function", "parameters", "inputSchema", "properties", "required", "anyOf", "schema", "x"]
SHARED = Path(__file__).parents[2] / "shared" / "cases"

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
REST = {"name": "t", "description": "d"}
TOOL = {**REST, "parameters": SCHEMA}
WITHOUT_REQUIRED = {"type": "dict", "properties": SCHEMA["properties"]}
LISTED = [{"name": "city", "in": "query", "required": True, "schema": {"type": "string"}}]


@pytest.mark.parametrize(
    "tools",
    [
        [TOOL],
        [{**TOOL, "parameters": {**SCHEMA, "type": "dict"}, "required": None}],  # ToolACE
        [{**REST, "parameters": WITHOUT_REQUIRED, "required": ["city"]}],
        [{**REST, "parameters": {**SCHEMA["properties"], "required": ["city"]}}],  # flat, as xLAM
        [{"type": "function", "function": TOOL}],  # OpenAI
        [{"type": "function", **TOOL, "strict": None}],  # the same, Responses
        [{**REST, "type": "custom", "input_schema": SCHEMA}],  # Anthropic
        {"jsonrpc": "2.0", "result": {"tools": [{**REST, "inputSchema": SCHEMA}]}},  # MCP
        {"tools": [{**REST, "arguments": SCHEMA}]},
        [{**REST, "schema": SCHEMA}],
        [{**REST, "parameters": {"schema": SCHEMA}}],
        [{**REST, "parameters": LISTED}],  # OpenAPI
        TOOL,
        json.dumps([TOOL]),
        [json.dumps(TOOL)],
        json.dumps(TOOL, indent=1),
    ],
)
def test_tool_lists_come_into_one_shape(tools):
    assert normalize_tools(tools) == [TOOL]


def test_text_may_hold_a_tool_a_line():
    assert normalize_tools(f"{json.dumps(TOOL)}\n\n{json.dumps(TOOL)}\n") == [TOOL, TOOL]


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [SCHEMA, {"type": "object"}], "title": "t"},
        {"oneOf": [SCHEMA]},
        {"allOf": [SCHEMA, {"$ref": "#/$defs/A"}], "$defs": {"A": {"minProperties": 1}}},
        {"$ref": "#/$defs/A", "$defs": {"A": SCHEMA}},
        {"type": ["object", "null"], "properties": {"x": True}},
        {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
        {"additionalProperties": False},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        True,
        False,
    ],
)
def test_a_json_schema_stays_whole(schema):
    assert normalize_tools([{**REST, "parameters": schema}]) == [{**REST, "parameters": schema}]


@pytest.mark.skipif(not SHARED.is_dir(), reason="no shared cases beside the checkout")
@pytest.mark.parametrize("case", ["t_anyof", "t_inputSchema"])
def test_schemas_of_the_shared_cases(case):
    [tool] = json.loads((SHARED / f"{case}.json").read_text())[0]["tools"]
    schema = tool.get("parameters") or tool["inputSchema"]
    assert normalize_tools([tool])[0] == {"name": "f", "description": tool.get("description", ""), "parameters": schema}


def test_flat_parameters_stay_as_written():
    flat = {
        "type": {"type": "str, optional", "description": "kind", "default": "x"},
        "properties": {"type": "List[int]", "description": "ids"},
        "schema": {"type": "object", "description": "of a table"},
    }
    [tool] = normalize_tools([{"name": "t", "description": "d", "parameters": flat}])
    assert tool["parameters"] == {"type": "object", "properties": flat}


@pytest.mark.parametrize("parameters", [None, {}, [], {"type": "dict"}, {"type": "dict", "properties": None}])
def test_a_tool_without_parameters_has_none(parameters):
    [tool] = normalize_tools([{"name": "t", "parameters": parameters, "results": None}])
    assert tool == {"name": "t", "description": "", "parameters": {"type": "object", "properties": {}}}


tool_parts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(KEYS), tool_parts, max_size=6))
def test_any_tool_is_refused_or_normalised_once_and_for_all(tool):
    try:
        normal = normalize_tools([tool])
    except ToolListError as error:
        assert error.reason in TOOL_REASONS
        return
    assert normalize_tools(normal) == normal
    assert list(normal[0])[:3] == ["name", "description", "parameters"]


def test_further_keys_of_a_tool_are_kept():
    tool = {"type": "function", "function": {"name": "t", "strict": True, "parameters": {"x": {"type": "int"}}}, "v": 2}
    [normal] = normalize_tools([tool])
    assert (normal["strict"], normal["v"]) == (True, 2)
    assert normalize_tools([normal]) == [normal]
    assert "strict" not in normalize_tools([{"name": "t", "strict": False}])[0]


@pytest.mark.parametrize(
    "tools, reason",
    [
        ("[{", "tools_not_json"),
        ("[" * 100_000, "tools_not_json"),
        (5, "tools_not_list"),
        ([5], "bad_tool"),
        ([{"description": "no name"}], "bad_tool"),
        ([{"name": " "}], "bad_tool"),
        ([{"name": "t", "parameters": [1]}], "bad_parameters"),
        ([{"name": "t", "parameters": [{"name": {}}]}], "bad_parameters"),
    ],
)
def test_tool_lists_are_refused_with_the_reason(tools, reason):
    with pytest.raises(ToolListError) as error:
        normalize_tools(tools)
    assert error.value.reason == reason


def fault(arguments, parameters):
    return schema_fault(
        {"name": "t", "arguments": arguments}, normalize_tools([{"name": "t", "parameters": parameters}])
    )


RECURSIVE = {"properties": {"x": {"type": "integer"}, "in": {"$ref": "#"}}, "required": ["x"]}


@pytest.mark.parametrize(
    "arguments, parameters, found",
    [
        ({"city": "x"}, SCHEMA, None),
        ({}, SCHEMA, "t, $: 'city' is a required property"),
        ({"city": 1}, SCHEMA, "t, $.city: 1 is not of type 'string'"),
        ({"x": 1, "in": {"x": "1"}}, RECURSIVE, "$.in.x: '1' is not of type 'integer'"),
        ({"x": None}, {"x": {"type": "str"}}, "None is not of type 'string'"),
        ({"x": {}}, {"x": {"type": "List[int], optional"}}, "{} is not of type 'array'"),
        ({"x": [1]}, {"x": {"type": "List[int], optional"}}, None),
        ({"x": "aab"}, {"x": {"type": "string", "pattern": "^a*$"}}, "'aab' does not match"),
        (
            {"x": "a" * 5000 + "b"},
            {"x": {"type": "string", "pattern": "^(a|a)*$"}},
            "does not match",
        ),  # no backtracking
        ({"x": 1}, False, "False schema does not allow"),
        # What cannot be judged allows anything.
        ({"x": 1}, {"x": {"type": "Tensor"}}, None),
        ({"x": 1}, {"x": "int"}, None),
        ({"x": "b"}, {"x": {"type": "string", "pattern": "(?<!a)c"}}, None),
        ({"x": 1}, {"$ref": "http://localhost:1/schema"}, None),
        ({"x": 1}, {"$ref": "#"}, None),
        ({"x": {}}, {"x": {"type": "object", "required": True}}, None),
    ],
)
def test_a_call_is_held_against_its_tools_schema(arguments, parameters, found):
    text = fault(arguments, parameters)
    assert found in text if found else text is None


def test_a_call_to_no_listed_tool_is_a_fault_and_of_two_tools_one_must_fit():
    tools = normalize_tools([{"name": "t", "parameters": {"x": {"type": kind}}} for kind in ("int", "str")])
    assert schema_fault({"name": "t", "arguments": {"x": "1"}}, tools) is None
    assert "not of type" in schema_fault({"name": "t", "arguments": {"x": []}}, tools)
    assert schema_fault({"name": "u", "arguments": {}}, tools) == "'u' is not in the tool list"


VALUES = st.sampled_from(["a", 1, 1.0, True, None, [], {}])
SCHEMAS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "object", ["string", "null"]]),
        "description": st.just("x"),
        "default": VALUES,
        "enum": st.just(["b"]),
    },
)
PARAMETERS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["object", "object", "array"]),
        "properties": st.dictionaries(st.sampled_from("xy"), SCHEMAS),
    },
    optional={"required": st.sampled_from([["x"], ["x", "y"]]), "additionalProperties": st.booleans()},
)


@given(st.dictionaries(st.sampled_from("xy"), VALUES), PARAMETERS)
def test_the_quick_check_lets_pass_only_what_jsonschema_does(arguments, parameters):
    if fits_plainly(arguments, parameters):
        assert jsonschema.Draft202012Validator(parameters).is_valid(arguments)
