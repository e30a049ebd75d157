"""The parsers as vLLM uses them: registered by their file, composed by its parser manager, whole and streamed."""

import copy
import json
from itertools import accumulate

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("vllm", reason="vLLM is not installed")

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.parser import ParserManager
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager

from tooln1.prompt import TAGS
from tooln1.serve.command import PARSERS
from tooln1.tools import ToolListError

CALLS = '<tool_call>[{"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}]</tool_call>'
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("f", "g")
]
NAMED = {"type": "function", "function": {"name": "f"}}


@pytest.fixture(scope="module", autouse=True)
def plugin():
    """What --tool-parser-plugin and --reasoning-parser-plugin do."""
    ToolParserManager.import_tool_parser(str(PARSERS))
    ReasoningParserManager.import_reasoning_parser(str(PARSERS))


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture
def new_parser(tokenizer):
    """Makes vLLM's parser for one response."""

    def make(direct=False):
        names = ("tool_n1_direct", None) if direct else ("tool_n1", "tool_n1")
        return ParserManager.get_parser(*names, enable_auto_tools=True)(tokenizer, None)

    return make


def ask(**fields):
    messages = [{"role": "user", "content": "x"}]
    return ChatCompletionRequest(**{"model": "m", "messages": messages, "tools": TOOLS, **fields})


def whole(parser, response, request):
    """(reasoning, content, calls) of a response in one piece, nothing and empty text being the same."""
    reasoning, content, calls = parser.parse(response, request, enable_auto_tools=True)
    return reasoning or "", content or "", [(call.name, call.arguments) for call in calls or []]


def streamed(parser, pieces, request, prompt=(1, 2)):
    """The same, put together from the deltas as a client does."""
    reasoning, content, calls = "", "", {}
    for number, piece in enumerate(pieces):
        finished = number == len(pieces) - 1
        delta = parser.parse_delta(piece, [7] * len(piece), request, prompt_token_ids=list(prompt), finished=finished)
        if delta is None:
            continue
        reasoning, content = reasoning + (delta.reasoning or ""), content + (delta.content or "")
        for call in delta.tool_calls:
            assert call.id and call.type == "function" and call.index not in calls
            calls[call.index] = (call.function.name, call.function.arguments)
    assert list(calls) == list(range(len(calls)))
    return reasoning, content, list(calls.values())


BOTH = [("f", '{"a": 1}'), ("g", "{}")]


@pytest.mark.parametrize(
    "response, fields, expected",
    [
        (f"<think>why</think>\n{CALLS}", {}, ("why", "", BOTH)),
        (f"<think>why</think>\n{CALLS}", {"tool_choice": "required"}, ("why", "", BOTH)),
        (f"<think>why</think>\n{CALLS}", {"tool_choice": NAMED}, ("why", "", BOTH)),
        ("<think>why</think>\n<tool_call>[]</tool_call>", {}, ("why", "", [])),
        # Who may not call gets the text of the model.
        (f"<think>why</think>\n{CALLS}", {"tool_choice": "none"}, ("why", f"\n{CALLS}", [])),
        (f"<think>why</think>\n{CALLS}", {"tools": None}, ("why", f"\n{CALLS}", [])),
        # Malformed, before the calls or in them.
        (CALLS, {}, ("", CALLS, [])),
        (f"<think>why</think>{CALLS}.", {"tool_choice": "required"}, ("why", f"{CALLS}.", [])),
        ("<think>why</think>\n<tool_call>[{", {}, ("why", "\n<tool_call>[{", [])),
        ("<think>why</thi", {}, ("why</thi", "", [])),
        ("", {}, ("", "", [])),
    ],
)
def test_a_response_whole_and_streamed(response, fields, expected, new_parser):
    request = ask(**fields)
    assert whole(new_parser(), response, request) == expected
    assert streamed(new_parser(), list(response) or [""], request) == expected
    assert streamed(new_parser(), [response], request) == expected


OPENS = "{{ messages }}{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}"


@pytest.mark.parametrize("by_variable", [False, True])
def test_a_chat_template_may_open_the_reasoning(by_variable, tokenizer, tmp_path, monkeypatch):
    tokenizer = copy.copy(tokenizer)
    if by_variable:  # as `tooln1 serve --chat-template` sets it
        (tmp_path / "opens.jinja").write_text(OPENS)
        monkeypatch.setenv("TOOLN1_CHAT_TEMPLATE", str(tmp_path / "opens.jinja"))
    else:
        tokenizer.chat_template = OPENS

    def new(**options):
        made = ParserManager.get_parser("tool_n1", "tool_n1", enable_auto_tools=True)
        return made(tokenizer, None, **({"chat_template_kwargs": options} if options else {}))

    inside, outside = f"why</think>\n{CALLS}", f"<think>why</think>\n{CALLS}"
    assert whole(new(), inside, ask()) == streamed(new(), list(inside), ask()) == ("why", "", BOTH)
    assert whole(new(enable_thinking=False), outside, ask()) == ("why", "", BOTH)
    for options, begin in ((None, ""), ({"enable_thinking": False}, "<think>")):
        request = new().adjust_request(ask(tool_choice="required", chat_template_kwargs=options))
        assert json.loads(request.structured_outputs.structural_tag)["format"]["elements"][0]["begin"] == begin


def test_tags_in_the_prompt_are_no_reasoning_of_the_response(new_parser, tokenizer):
    prompt = tokenizer("Reason in <think></think>, call in <tool_call></tool_call>")["input_ids"]
    assert streamed(new_parser(), ["<think>a</think>", CALLS], ask(), prompt) == ("a", "", BOTH)


@pytest.mark.parametrize(
    "response, expected",
    [(CALLS, ("", "", BOTH)), (f"<think>a</think>{CALLS}", ("", f"<think>a</think>{CALLS}", []))],
)
def test_a_model_trained_without_reasoning(response, expected, new_parser):
    assert whole(new_parser(direct=True), response, ask()) == expected
    assert streamed(new_parser(direct=True), list(response), ask()) == expected


PIECES = st.sampled_from([*TAGS, *TAGS, "<", "</tool", "\n", "é😀", "why", CALLS, CALLS[11:-12], '"</tool_call>"'])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PIECES, max_size=10).map("".join),
    st.lists(st.integers(1, 30), min_size=1, max_size=60),
    st.sampled_from(["auto", "none"]),  # of a demanded call vLLM leaves blank content out, but only when not streaming
)
def test_the_deltas_of_any_stream_add_up_to_the_whole_answer(new_parser, response, lengths, choice):
    ends = [end for end in accumulate(lengths) if end < len(response)]
    pieces = [response[start:end] for start, end in zip([0, *ends], [*ends, len(response)], strict=True)]
    request = ask(tool_choice=choice)
    assert streamed(new_parser(), pieces, request) == whole(new_parser(), response, request)


@pytest.mark.parametrize(
    "choice, parallel, names, only_one",
    [
        ("required", True, ["f", "g"], False),
        ("required", False, ["f", "g"], True),
        (NAMED, True, ["f"], True),
    ],
)
def test_a_demanded_call_constrains_the_response(choice, parallel, names, only_one, new_parser):
    request = ask(tool_choice=choice, parallel_tool_calls=parallel, response_format={"type": "json_object"})
    request = new_parser().adjust_request(request)
    thought, _, block = json.loads(request.structured_outputs.structural_tag)["format"]["elements"]
    assert thought["begin"] == "<think>" and block["begin"] == "<tool_call>["
    assert [call["begin"] for call in block["content"]["tags"]] == [
        f'{{"name": "{name}", "arguments": ' for name in names
    ]
    assert block["content"]["stop_after_first"] is only_one
    assert request.response_format is None


@pytest.mark.parametrize("fields", [{}, {"tool_choice": "none"}, {"tools": None}])
def test_other_requests_are_not_constrained(fields, new_parser):
    assert new_parser().adjust_request(ask(**fields)).structured_outputs is None


def test_tags_that_are_special_tokens_are_not_left_out_of_the_text(new_parser, tokenizer):
    assert new_parser().adjust_request(ask()).skip_special_tokens
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>"]})
    assert not new_parser().adjust_request(ask()).skip_special_tokens


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
