"""Masking a tool's JSON Schema: parameters get other names wherever they stand, and nothing else does."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tooln1.calls import CallReader
from tooln1.data.augment import mask
from tooln1.tool_schema import parameter_names, rename_parameters
from tooln1.tools import normalize_tools

INTEGER = {"type": "integer"}
X = {"type": "object", "properties": {"x": INTEGER}, "required": ["x"], "additionalProperties": False}


def masked(schema, arguments):
    tools = normalize_tools([{"name": "f", "parameters": schema}])
    [tool], [call], _ = mask(tools, [{"name": "f", "arguments": arguments}], [], random.Random(0))
    return tool["parameters"], call["arguments"]


def test_parameters_are_renamed_and_nothing_else():
    inner = {"type": "object", "properties": {"x": INTEGER}, "required": ["x"]}
    schema = {
        "type": "object",
        "properties": {
            "a/b ~é": INTEGER,
            "x": {"$ref": "#/properties/a~1b%20~0é"},
            "$ref": inner,
            "default": {"$ref": "#/properties/$ref/properties/x", "default": {"x": 1}},
            "enum": {"$ref": "#/$defs/x"},
        },
        "required": ["x", "default", "other"],
        "dependentRequired": {"x": ["$ref"]},
        "$defs": {"x": inner},
    }
    assert rename_parameters(schema, {"a/b ~é": "A", "x": "X/", "$ref": "R", "default": "D", "enum": "E"}) == {
        "type": "object",
        "properties": {
            "A": INTEGER,
            "X/": {"$ref": "#/properties/A"},
            "R": inner,
            "D": {"$ref": "#/properties/R/properties/x", "default": {"x": 1}},
            "E": {"$ref": "#/$defs/x"},
        },
        "required": ["X/", "D", "other"],
        "dependentRequired": {"X/": ["R"]},
        "$defs": {"x": inner},
    }


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [X, {"type": "object"}]},
        {"$ref": "#/$defs/enum", "$defs": {"enum": X}},
        {"allOf": [{"$ref": "#/$defs/A"}, {"required": ["x"]}], "$defs": {"A": X}},
        {"type": "object", "if": X, "then": {"minProperties": 1}, "else": {"required": ["y"]}},
        {"type": ["object", "null"], "properties": {"x": True}, "dependentSchemas": {"x": {"required": ["x"]}}},
    ],
)
def test_parameters_are_found_wherever_a_schema_declares_them(schema):
    new_schema, arguments = masked(schema, {"x": 1})
    assert Draft202012Validator(new_schema).is_valid(arguments)
    assert parameter_names(schema) == ["x"] and parameter_names(new_schema) == list(arguments) != ["x"]
    assert '"x"' not in json.dumps(new_schema)


@pytest.mark.parametrize(
    "schema, arguments",
    [
        ({"type": "object", "properties": {"x": INTEGER, "in": {"$ref": "#"}}}, {"x": 1, "in": {"x": 2}}),
        ({"type": "object", "properties": {"x": INTEGER}, "propertyNames": {"maxLength": 1}}, {"x": 1}),
        ({"enum": [{"x": 1}], "properties": {"x": INTEGER}}, {"x": 1}),
        (True, {"x": 1}),
    ],
)
def test_parameters_that_cannot_be_renamed_keep_their_names(schema, arguments):
    assert masked(schema, arguments)[1] == arguments
    assert masked(schema, arguments)[0] == normalize_tools([{"name": "f", "parameters": schema}])[0]["parameters"]


NAMES = st.sampled_from(["x", "y", "type", "enum", "properties"])
SCHEMAS = st.recursive(
    st.sampled_from(
        [True, INTEGER, {"type": "string"}, {"$ref": "#"}, {"$ref": "#/properties/x"}, {"$ref": "#/$defs/A"}]
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
            "dependentRequired": st.dictionaries(NAMES, st.lists(NAMES, max_size=1), max_size=1),
            "enum": st.just([1, "a", {"x": 1}]),
            "$defs": st.fixed_dictionaries({"A": inner}),
        },
    ),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(NAMES, st.sampled_from([1, "a", {"x": 1}, {"y": "a"}]), max_size=3)


@settings(max_examples=50, deadline=None)
@given(SCHEMAS.filter(lambda schema: isinstance(schema, dict) and "type" not in schema), ARGUMENTS)
def test_arguments_fit_the_masked_schema_if_they_fit_the_schema(schema, arguments):
    schema = normalize_tools([{"name": "f", "parameters": {"anyOf": [{}], **schema}}])[0]["parameters"]

    def fits(schema, arguments):
        try:
            return Draft202012Validator(schema).is_valid(arguments)
        except BaseException as error:  # a reference that leads nowhere, or in a circle
            assert not isinstance(error, KeyboardInterrupt)
            return None

    assert fits(*masked(schema, arguments)) == fits(schema, arguments)


def test_written_calls_are_read_against_parameters_of_any_schema():
    [tool] = normalize_tools([{"name": "f", "parameters": {"anyOf": [{"properties": {"a b": INTEGER}}]}}])
    assert CallReader([tool]).read("[f(a b=1)]") == [{"name": "f", "arguments": {"a b": 1}}]
    assert CallReader([{**tool, "parameters": True}]).read("[f(a=1)]") == [{"name": "f", "arguments": {"a": 1}}]
