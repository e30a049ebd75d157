"""Tool lists: the shapes that come into one, what is kept, and what is refused and why."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1.tools import TOOL_REASONS, ToolListError, normalize_tools

KEYS = ["name", "type", "function", "parameters", "properties", "required", "description", "x"]


def test_tool_lists_come_into_one_shape():
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    expected = {"name": "t", "description": "d", "parameters": schema}
    toolace = {"name": "t", "description": "d", "parameters": {**schema, "type": "dict"}, "required": None}
    outside = {"name": "t", "description": "d", "parameters": {"type": "dict", "properties": schema["properties"]}}
    outside["required"] = ["city"]
    openai = {"type": "function", "function": {"name": "t", "description": "d", "parameters": schema}}
    for tools in ([toolace], toolace, [outside], [openai], json.dumps([toolace]), [expected]):
        assert normalize_tools(tools) == [expected]


def test_flat_parameters_stay_as_written():
    flat = {
        "type": {"type": "str, optional", "description": "kind", "default": "x"},
        "properties": {"type": "List[int]", "description": "ids"},
    }
    [tool] = normalize_tools([{"name": "t", "description": "d", "parameters": flat}])
    assert tool["parameters"] == {"type": "object", "properties": flat}


@pytest.mark.parametrize("parameters", [None, {}, {"type": "dict"}, {"type": "dict", "properties": None}])
def test_a_tool_without_parameters_has_none(parameters):
    [tool] = normalize_tools([{"name": "t", "parameters": parameters}])
    assert tool == {"name": "t", "description": "", "parameters": {"type": "object", "properties": {}}}


def test_an_empty_list_of_parameters_is_none():
    assert normalize_tools([{"name": "t", "parameters": []}])[0]["parameters"] == {"type": "object", "properties": {}}


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
    assert set(normal[0]["parameters"]) >= {"type", "properties"}
    assert normalize_tools(normal) == normal


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
    ],
)
def test_tool_lists_are_refused_with_the_reason(tools, reason):
    with pytest.raises(ToolListError) as error:
        normalize_tools(tools)
    assert error.value.reason == reason
