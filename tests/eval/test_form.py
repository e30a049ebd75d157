"""How a conversation becomes a request, and what is read from a response, in plain values."""

import json

import pytest

from tooln1.errors import UserError
from tooln1.eval.benchmark import Case, mean
from tooln1.eval.form import Form, load_form_template, read_response
from tooln1.prompt import load_template
from tooln1.reward_score.toolcall import compute_score

CALLS = '[{"name": "f", "arguments": {"a": 1, "b": 1.5, "c": true, "d": null, "e": [1], "f": {"g": "h"}}}]'
GOOD = f"<think>so it is</think>\n<tool_call>{CALLS}</tool_call>"


@pytest.mark.parametrize(
    "response, problem",
    [
        ("", "does not start with <think>: the response is empty"),
        (GOOD + " Done.", "text after the calls: Done."),
        (GOOD.replace("1.5", "NaN"), "calls are not JSON"),
        (GOOD.replace('"c": true', '"a": true'), "calls are not JSON"),
        (GOOD.replace("[1]", "[" * 500 + "]" * 500), "nested too deeply"),
        (GOOD.replace("[1]", "[" * 100_000 + "]" * 100_000), "nested too deeply"),
    ],
)
def test_a_response_that_breaks_the_grammar_has_no_calls_and_a_reason(response, problem):
    reading = read_response(response)
    assert reading.calls is None
    assert reading.problem.startswith(problem)


@pytest.mark.parametrize(
    "text, value",
    [
        ('"\\ud800"', "?"),  # half a character as an escape
        ('"\ud800"', "?"),  # and as it is
        ('"\\u00e9"', "é"),
        ("1e400", "1e400"),  # too large for a float
        ("9" * 5000, "9" * 5000),  # and for Python's default limit on integers
        ("-0", 0),
    ],
)
def test_values_that_cannot_be_written_again_are_replaced(text, value):
    response = f'<think>a</think><tool_call>[{{"name": "f", "arguments": {{"a": {text}}}}}]</tool_call>'
    [call] = read_response(response).calls
    assert call["arguments"] == {"a": value}
    json.dumps(call, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("response", ["", "x", GOOD, GOOD[3:], GOOD + "x", GOOD.replace("so it is", "")])
def test_a_response_has_calls_where_the_reward_sees_the_format(response):
    assert (read_response(response).calls is not None) == (compute_score("x", response, "[]")["format"] == 1)


def test_a_prompt_that_asks_for_no_reasoning_needs_none():
    case = Case("x", "x", [], [{"role": "user", "content": "Hello"}], [])
    form = Form("Call one of {tools} in <tool_call></tool_call>.")
    assert form.read(case, {"response": f"<tool_call>{CALLS}</tool_call>"}).calls == json.loads(CALLS)
    assert read_response(f"<tool_call>{CALLS}</tool_call>", reasoning=False).calls == json.loads(CALLS)
    assert read_response("<tool_call>[1]</tool_call>", reasoning=False).problem.startswith("not a list of calls")


BLOCK = '<tool_call>[{"name": "f", "arguments": {"a": 1}}]</tool_call>'


@pytest.mark.parametrize(
    "response, calls",
    [
        (BLOCK, [{"name": "f", "arguments": {"a": 1}}]),
        (f"Let me see. <think>{BLOCK} <tool_call>[]</tool_call>", [{"name": "f", "arguments": {"a": 1}}]),  # the first
        ("<think>t</think><tool_call>\n[]\n</tool_call>", []),
        (BLOCK.replace("1", "NaN"), [{"name": "f", "arguments": {"a": "NaN"}}]),
        (BLOCK.replace('"name"', '"x": 0, "name"'), [{"name": "f", "arguments": {"a": 1}}]),
        (BLOCK.replace("[", "").replace("]", ""), None),  # one call without its list
        ("<tool_call>[1]</tool_call>", None),
        ("<tool_call>5</tool_call>", None),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", None),
        ("<tool_call>[]", None),
        ("", None),
    ],
)
def test_the_papers_reader_takes_the_first_block(response, calls):
    reading = Form("", reader="paper").read(Case("x", "x", [], [], []), {"response": response})
    assert reading.calls == calls and bool(reading.problem) == (calls is None)


TOOLS = [
    {"name": "math.gcd", "parameters": {"type": "dict", "properties": {"a": {"type": "float"}}, "required": ["a"]}},
    {"name": "math/gcd", "description": "d", "parameters": {"b": {"type": "list(str)"}, "type": {"type": "any"}}},
]
TURNS = [
    {"role": "user", "content": "go"},
    {"role": "assistant", "content": "", "calls": [{"name": "math.gcd", "arguments": {"a": 1}}]},
    {"role": "tool", "content": "7"},
    {"role": "assistant", "calls": [{"name": "math.gcd", "arguments": {"a": 2}}]},
    {"role": "user", "content": "more", "tools": [{"name": "late", "parameters": {}}]},
]


def test_the_native_form_sends_tools_and_calls_as_openai_does():
    request = Form("", native=True).request(Case("x", "x", [], [], TOOLS, "It is May."), TURNS)
    functions = [tool["function"] for tool in request["tools"]]
    assert [one["name"] for one in functions] == ["math_gcd", "math_gcd_1", "late"]
    schema = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}
    assert functions[0]["parameters"] == schema
    items = {"type": "array", "items": {}}
    assert functions[1]["parameters"]["properties"] == {"b": items, "type": {}}
    system, user, called, result, text, last = request["messages"]
    assert (system["content"], user["content"], last["content"]) == ("It is May.", "go", "more")
    [made] = called["tool_calls"]
    assert made["function"] == {"name": "math_gcd", "arguments": '{"a": 1}'}
    assert result == {"role": "tool", "tool_call_id": made["id"], "content": "7"}
    assert text["content"].startswith('<tool_call>[{"name": "math.gcd"')  # no result: servers refuse such a call


@pytest.mark.parametrize(
    "tool_calls, calls",
    [
        ([{"name": "math_gcd_1", "arguments": '{"b": ["x"]}'}], [{"name": "math/gcd", "arguments": {"b": ["x"]}}]),
        ([{"name": "other", "arguments": {"b": 1}}], [{"name": "other", "arguments": {"b": 1}}]),
        ([{"name": "other", "arguments": ""}, {"name": "x", "arguments": None}], [("other", {}), ("x", {})]),
        ([], []),
        ([{"name": "other", "arguments": "{"}], None),
        ([{"name": "other", "arguments": "[]"}], None),
        ([{"name": None, "arguments": "{}"}], None),
    ],
)
def test_native_calls_are_read_under_the_tools_own_names(tool_calls, calls):
    reading = Form("", native=True).read(Case("x", "x", [], [], TOOLS), {"response": "t", "tool_calls": tool_calls})
    pairs = calls and [one if isinstance(one, tuple) else (one["name"], one["arguments"]) for one in calls]
    assert (reading.calls and [(one["name"], one["arguments"]) for one in reading.calls]) == pairs
    assert (reading.calls is None) == (calls is None) and reading.response.startswith("t")


def test_without_known_tools_the_native_form_cannot_ask():
    with pytest.raises(UserError, match="x: only its prompt is known"):
        Form("", native=True).request(Case("x", "x", [], TURNS), TURNS)


def test_a_template_like_the_papers_shows_functions_as_they_are_and_no_system_message_of_the_case(tmp_path):
    template, own = load_form_template("model", "paper-like"), [{"role": "system", "content": "Be brief."}, *TURNS]
    case = Case("x", "x", [], [], TOOLS, "It is 2023.")
    system, *turns = Form(template).request(case, own)["messages"]
    assert system["content"].startswith("It is 2023.\n\nYou compose") and "Be brief." not in system["content"]
    told, *_ = Form(load_template()).request(case, own)["messages"]
    assert told["content"].startswith("It is 2023.\n\nBe brief.\n\nYou serve")
    assert Form("", native=True).request(case, own)["messages"][1] == own[0]
    lines = [json.dumps({"type": "function", "function": tool}) for tool in TOOLS]
    assert "<tools>\n" + "\n".join(lines) + "\n</tools>" in system["content"]
    assert turns[-1]["content"] == json.dumps({"type": "function", "function": TURNS[-1]["tools"][0]}) + "\nmore"
    (tmp_path / "own.txt").write_text("Mine: {functions}")
    assert load_form_template("model", str(tmp_path / "own.txt")) == "Mine: {functions}"
    with pytest.raises(UserError, match="must hold {tools} exactly once"):
        (tmp_path / "own.txt").write_text("none")
        load_form_template("model", str(tmp_path / "own.txt"))


def test_a_mean_needs_all_its_values():
    assert mean([0.5, 1.0]) == 0.75
    assert mean([0.5, None]) is None and mean([]) is None
