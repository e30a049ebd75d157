"""What is read from a reply: the reward's strict grammar, in plain values."""

import json

import pytest

from tooln1.eval.reply import read_reply
from tooln1.reward_score.toolcall import compute_score

CALLS = '[{"name": "f", "arguments": {"a": 1, "b": 1.5, "c": true, "d": null, "e": [1], "f": {"g": "h"}}}]'
GOOD = f"<think>so it is</think>\n<tool_call>{CALLS}</tool_call>"


def test_values_are_plain():
    assert read_reply(GOOD).calls == json.loads(CALLS)


@pytest.mark.parametrize(
    "reply, fault",
    [
        ("", "does not start with <think>: the response is empty"),
        ("I cannot help.", "does not start with <think>: I cannot help."),
        (f"<tool_call>{CALLS}</tool_call>", "does not start with <think>"),
        ("<think> </think><tool_call>[]</tool_call>", "blank reasoning"),
        (GOOD + " Done.", "text after the calls: Done."),
        (GOOD[:-12], "no </tool_call>"),
        (GOOD.replace('"name"', '"nom"'), "not a list of calls"),
        (GOOD.replace("1.5", "NaN"), "calls are not JSON"),
        (GOOD.replace('"c": true', '"a": true'), "calls are not JSON"),
        (GOOD.replace("[1]", "[" * 500 + "]" * 500), "nested too deeply"),
        (GOOD.replace("[1]", "[" * 100_000 + "]" * 100_000), "nested too deeply"),
        (f"<think>{'x' * 100_000}", "no </think>"),
        ("<tool_call>" * 10_000, "does not start with <think>"),
    ],
)
def test_what_is_not_of_the_grammar_has_no_calls_and_a_reason(reply, fault):
    reading = read_reply(reply)
    assert reading.calls is None
    assert reading.fault.startswith(fault)


@pytest.mark.parametrize(
    "text, value",
    [
        ('"\\ud800"', "?"),  # half a character as an escape
        ('"\ud800"', "?"),  # and as it is
        ('"\\u00e9"', "é"),
        ("1e400", "1e400"),  # too large for a float
        ("9" * 5000, "9" * 5000),  # and for Python's default bound on integers
        ("-0", 0),
    ],
)
def test_values_that_cannot_be_written_again_are_replaced(text, value):
    [call] = read_reply(f'<think>a</think><tool_call>[{{"name": "f", "arguments": {{"a": {text}}}}}]</tool_call>').calls
    assert call["arguments"] == {"a": value}
    json.dumps(call, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize("reply", ["", "x", GOOD, GOOD[3:], GOOD + "x", GOOD.replace("so it is", "")])
def test_a_reply_has_calls_where_the_reward_sees_the_format(reply):
    assert (read_reply(reply).calls is not None) == (compute_score("x", reply, "[]")["format"] == 1)


def test_reasoning_is_not_asked_for_where_the_template_asks_for_none():
    assert read_reply(f"<tool_call>{CALLS}</tool_call>", reasoning=False).calls == json.loads(CALLS)
    assert read_reply("Sorry.", reasoning=False).fault
    assert read_reply("<tool_call>[1]</tool_call>", reasoning=False).fault.startswith("not a list of calls")
