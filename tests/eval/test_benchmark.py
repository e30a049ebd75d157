"""What is read from a response, in plain values, and which cases no model can have right."""

import json

import pytest

from tooln1.eval.benchmark import Case, mean, read_response
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
    case = Case("x", "x", [{"role": "system", "content": "Call in <tool_call></tool_call>."}], [])
    assert not case.wants_reasoning
    assert read_response(f"<tool_call>{CALLS}</tool_call>", reasoning=False).calls == json.loads(CALLS)
    assert read_response("<tool_call>[1]</tool_call>", reasoning=False).problem.startswith("not a list of calls")


def test_a_mean_needs_all_its_values():
    assert mean([0.5, 1.0]) == 0.75
    assert mean([0.5, None]) is None and mean([]) is None
