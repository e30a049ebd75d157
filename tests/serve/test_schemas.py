"""How much work a constraint is said to be."""

import json
import math

import pytest

from tooln1.serve.schemas import MAX_COST, cost

STRING = {"type": "string"}


def nested(depth):
    schema = STRING
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def named(number, schema=STRING):
    return {"type": "object", "properties": {f"p{n}": schema for n in range(number)}}


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        True,
        named(100, {"type": "integer", "description": "what it means, at some length", "minimum": 0}),
        nested(20),
        {"enum": [f"value {n}" for n in range(800)]},
        {**STRING, "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
        {**STRING, "pattern": r"^\+?[1-9]\d{1,14}(\.\d{2})?$", "maxLength": 1000},
        {**named(40), "minProperties": 1},
        {"description": "{curly} { and [square] } braces, {0} and a lone {9}"},
    ],
)
def test_what_tools_have_is_within_the_limits(schema):
    assert cost(schema) <= MAX_COST


@pytest.mark.parametrize(
    "schema",
    [
        {**STRING, "pattern": "^(ab{1,9000}c{1,9000}){1,12000}$"},
        {**STRING, "pattern": "^a{1,9000}$"},
        {**STRING, "pattern": "((((a{9}){9}){9}){9}){9}"},
        {**STRING, "pattern": "(a{ 99, 99 } ) {99}"},
        {**STRING, "pattern": "a{" + "9" * 5000 + "}"},
        {**STRING, "pattern": "a{10,999}"},
        {"patternProperties": {"^a{1,9000}$": True}},
        {"patternProperties": {f"^{n}.*x$": True for n in range(60)}},
        {**named(100), "minProperties": 50},
        {"type": "object", "properties": {f"p{n}": {**STRING, "maxLength": 1000 + n} for n in range(10)}},
        {"type": "object", "properties": {f"p{n}": {**STRING, "maxLength": -1e300 * n} for n in range(10)}},
        nested(300),
        json.loads("[" * 900 + "]" * 900),
        named(2000),
        {"const": "x" * 100_000},
        {"enum": list(range(3000))},
    ],
)
def test_what_compiles_for_long_is_beyond_them(schema):
    assert cost(schema) > MAX_COST


def test_a_number_that_is_none_does_not_lift_the_limits():
    schemas = {f"p{n}": {**STRING, "maxLength": math.nan, "minLength": n} for n in range(300)}
    assert not cost({"properties": schemas}) <= MAX_COST
