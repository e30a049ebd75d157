"""The grammar of demanded calls in vLLM's own xgrammar: what it allows, and that it always compiles."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("vllm", reason="vLLM is not installed")

from tooln1.tools import ToolListError

POINT = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"], "additionalProperties": False}
SCHEMAS = [
    {
        "name": "f",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
    {
        "name": 'g "é"',
        "parameters": {
            "type": "object",
            "properties": {"p": {"$ref": "#/$defs/P"}},
            "required": ["p"],
            "$defs": {"P": POINT},
        },
    },
    {"name": "k", "parameters": {"properties": {"p": {"$ref": "#/$defs/P"}}, "$defs": {"P": {"type": "string"}}}},
    {"type": "function", "function": {"name": "h", "parameters": {"n": {"type": "List[int], optional"}}}},
]
F, G, H, K = (
    '{"name": "f", "arguments": {"city": "</tool_call>"}}',
    '{"name": "g \\"é\\"", "arguments": {"p": {"x": 1.5}}}',
    '{"name": "h", "arguments": {"anything": [null]}}',
    '{"name": "k", "arguments": {"p": "x"}}',
)


@pytest.fixture(scope="module")
def compiler():
    import xgrammar

    characters = [bytes([number]) for number in range(256)]
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo(characters, stop_token_ids=[0]))


@pytest.fixture(scope="module")
def allows(compiler):
    """Runs a grammar with xgrammar on single bytes: whether it allows a whole response."""
    import xgrammar

    def run(response, schemas=SCHEMAS, **options):
        from tooln1.serve.vllm_parsers import build_constraint

        tag = build_constraint(schemas, **{"name": None, "several": True, "reasons": False, **options})
        matcher = xgrammar.GrammarMatcher(compiler.compile_structural_tag(json.dumps(tag)))
        return all(map(matcher.accept_token, response.encode())) and matcher.accept_token(0)

    return run


@pytest.mark.parametrize(
    "inside, options, allowed",
    [
        (f"[{F}]", {}, True),
        (f"[{F}, {G}, {K}, {F}]", {}, True),  # g and k mean different things by P
        (f"[{H}]", {}, True),  # no JSON Schema: any object is allowed
        ("[]", {}, False),
        (f"[{F}, ]", {}, False),
        ('[{"name": "f", "arguments": {"city": 1}}]', {}, False),
        ('[{"name": "g \\"é\\"", "arguments": {"p": {"y": 1}}}]', {}, False),
        ('[{"name": "j", "arguments": {}}]', {}, False),
        (f"[{F}, {F}]", {"several": False}, False),
        (f"[{F}]", {"several": False}, True),
        (f"[{G}]", {"name": 'g "é"'}, True),
        (f"[{G}]", {"name": "f"}, False),
    ],
)
def test_the_grammar_of_demanded_calls(inside, options, allowed, allows):
    assert allows(f"<tool_call>{inside}</tool_call>", **options) == allowed


@pytest.mark.parametrize(
    "opening, allowed",
    [
        ("<think>1 < 2, <b></think>\n", True),
        ("", False),
        ("<think>a<think>b</think>\n", False),
        ("<think>a<tool_call></think>\n", False),
    ],
)
def test_the_grammar_of_the_reasoning_before_them(opening, allowed, allows):
    assert allows(f"{opening}<tool_call>[{F}]</tool_call>", reasons=True) == allowed
    inside = opening.removeprefix("<think>")
    assert allows(f"{inside}<tool_call>[{F}]</tool_call>", reasons=True, opened=True) == allowed


def chain(number):
    schema = {"type": "integer"}
    for _ in range(number):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


X = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
HUGE = {"type": "string", "pattern": "^(ab{1,9000}c{1,9000}){1,12000}$"}
ANYTHING = '{"anything": [null]}'


@pytest.mark.parametrize(
    "schema, allowed, refused",
    [
        ({"$defs": None, **X}, '{"x": 1}', '{"x": "1"}'),
        (
            {**X, "properties": {**X["properties"], "in": {"$ref": "#"}}},
            '{"x": 1, "in": {"x": 2}}',
            '{"x": 1, "in": {}}',
        ),
        (
            {**X, "properties": {**X["properties"], "y": {"$ref": "#/properties/x"}}},
            '{"x": 1, "y": 2}',
            '{"x": 1, "y": ""}',
        ),
        ({"anyOf": [X, {"type": "object", "properties": {"y": {}}, "required": ["y"]}]}, '{"y": null}', '{"x": ""}'),
        ({"$ref": "#/$defs/A", "$defs": {"A": X}, "x-further": [1]}, '{"x": 1}', "{}"),
        ({"type": "object", "properties": {"x": True}}, '{"x": [1]}', "[]"),
        # No grammar, no object, no end, or other values too: any object.
        (True, ANYTHING, "1"),
        (False, ANYTHING, "1"),
        ({"$ref": "#"}, ANYTHING, "1"),
        ({"$ref": "#/nowhere"}, ANYTHING, "1"),
        ({"type": "string"}, ANYTHING, '"x"'),
        ({"type": ["object", "null"]}, ANYTHING, "null"),
        ({"type": "object", "properties": {"x": False}, "required": ["x"]}, ANYTHING, "1"),
        ({"type": "object", "properties": {"x": {"$ref": "#"}}, "required": ["x"]}, ANYTHING, "1"),
        (
            {**X, "properties": {"x": {"type": "string", "pattern": "^a{1,150}$"}}},
            ANYTHING,
            "1",
        ),  # xgrammar's own fault
        # Too much work.
        (HUGE, ANYTHING, "1"),
        ({**X, "properties": {"x": HUGE}}, ANYTHING, "1"),
        (chain(300), ANYTHING, "1"),
    ],
)
def test_any_schema_gives_a_grammar_that_fits_it_or_any_object(schema, allowed, refused, allows):
    tools = [{"name": name, "parameters": schema} for name in "fg"]
    for arguments, expected in ((allowed, True), (refused, False)):
        calls = ", ".join(f'{{"name": "{name}", "arguments": {arguments}}}' for name in "fg")
        assert allows(f"<tool_call>[{calls}]</tool_call>", tools) == expected


NAMES = st.sampled_from(["x", "y", "type", "$ref", "é"])
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["string", "object", "#", "#/properties/x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
REFERENCES = st.sampled_from(
    ["#", "#/", "#/properties/x", "#/$defs/A", "#/$defs/B", "#/anyOf/0", "#A", "http://x/y", "", "#/%"]
)
RANDOM = st.recursive(
    st.booleans() | ANY,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(
                ["object", "array", "string", "integer", "null", "List[int]", ["object", "null"], 7]
            ),
            "properties": st.dictionaries(NAMES, inner, max_size=3) | ANY,
            "required": st.lists(NAMES, max_size=2) | ANY,
            "additionalProperties": inner,
            "patternProperties": st.dictionaries(st.sampled_from(["^x", "(", "a{9}"]), inner, max_size=1),
            "items": inner,
            "prefixItems": st.lists(inner, max_size=2),
            "anyOf": st.lists(inner, max_size=2) | ANY,
            "oneOf": st.lists(inner, max_size=2),
            "allOf": st.lists(inner, max_size=2),
            "not": inner,
            "$ref": REFERENCES | ANY,
            "$defs": st.dictionaries(st.sampled_from("AB"), inner, max_size=2) | ANY,
            "enum": st.lists(ANY, max_size=2),
            "const": ANY,
            "pattern": st.sampled_from(["^a+$", "[", "^(a|b){3}$", "\\", "(?=a)"]),
            "minLength": st.integers(-1, 5) | ANY,
            "maxItems": st.integers(-1, 3),
            "minProperties": st.integers(0, 3),
            "format": st.sampled_from(["date", "uuid", "nonsense"]),
            "x-unknown": ANY,
        },
    ),
    max_leaves=12,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(RANDOM, min_size=1, max_size=2))
def test_random_schemas_compile_and_lead_to_arguments_that_can_be_read(compiler, schemas):
    import xgrammar

    from tooln1.serve.responses import read_calls
    from tooln1.serve.schemas import write_shortest
    from tooln1.serve.vllm_parsers import build_constraint

    tools = [{"name": f"t{n}", "parameters": schema} for n, schema in enumerate(schemas)]
    try:
        tag = json.dumps(build_constraint(tools, name=None, several=True, reasons=False))
    except ToolListError:  # parameters that are no schema: HTTP 400
        return
    written = write_shortest(xgrammar.GrammarMatcher(compiler.compile_structural_tag(tag)))
    [call] = read_calls(written.decode())
    assert call.name in {tool["name"] for tool in tools} and isinstance(json.loads(call.arguments), dict)
