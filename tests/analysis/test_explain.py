"""The reasons: correct exactly where the reward is 1, in shared words, with a place inside the response."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toolcall_cases import F1, F2, G1, GAMING, ONE, REWARDS, THINK, TWO, called, f, judge, table
from toolcall_fuzz import GROUND_TRUTHS, RESPONSES

from benchmarks.reward import FRAMES, UNITS
from tooln1.analysis.explain import CORRECT, explain, mark

CITY = '[{"name": "go", "arguments": {"to": {"city": "Oslo", "zip": [1, 2]}, "by": "rail"}}]'


def shown(response, ground_truth=ONE, reward="strict"):
    """The reason, the detail, and the response from the marked place on."""
    why = explain(response, ground_truth, reward=reward)
    return why.reason, why.detail, None if why.position is None else response[why.position :][:6]


@pytest.mark.parametrize(
    "response, ground_truth, expected",
    table(
        (called(ONE), ONE, (CORRECT, "", None), "nothing"),
        ("", ONE, ("does not start with <think>", "the response is empty", ""), "empty"),
        (" Sure! " + called(ONE), ONE, ("does not start with <think>", None, "Sure! "), "chatter before"),
        (called(ONE, "<think> \n</think>"), ONE, ("blank reasoning", None, " \n</th"), "blank reasoning"),
        (called(ONE, "<think>a"), ONE, ("no </think>", "before <tool_call>", "<tool_"), "left open"),
        ("<think>a", ONE, ("no </think>", "before the response ends", ""), "cut in the reasoning"),
        (called(ONE, "<think>a<think>b</think>"), ONE, ("a tag inside the reasoning", "<think>", "<think"), "tag"),
        (called(ONE, THINK + " so "), ONE, ("text between reasoning and calls", "so ", "so <to"), "chatter between"),
        (THINK, ONE, ("no <tool_call>", "the response ends after the reasoning", ""), "no calls"),
        (f"{THINK}<tool_call>{ONE}", ONE, ("no </tool_call>", "the response ends inside the calls", ""), "cut"),
        (called(ONE) + " Done.", ONE, ("text after the calls", "Done.", "Done."), "chatter after"),
        (called(ONE) + called(f(2), ""), ONE, ("text after the calls", None, "<tool_"), "a second guess"),
        (called(ONE + ONE), ONE, ("text after the calls", None, ONE[:6]), "two arrays"),
        (called("[oops]"), ONE, ("calls are not JSON", "Expecting value", "oops]<"), "no JSON"),
        (called(f("NaN")), ONE, ("calls are not JSON", "NaN is not JSON", ONE[:6]), "NaN"),
        (called("[" * 9999 + "]" * 9999), ONE, ("nested too deeply", None, "[" * 6), "deep nesting"),
        (called('[{"name":"f","arguments":{"x":1,"x":1}}]'), ONE, ("calls are not JSON", None, '[{"nam'), "repeated"),
        (called(F1), ONE, ("not a list of calls", "not a single JSON array", F1[:6]), "one object"),
        (called(f"[{F1}, 5]"), ONE, ("not a list of calls", None, ONE[:6]), "an item that is no call"),
        (called(f"[{F2}, {F1}]"), ONE, ("wrong number of calls", "2 instead of 1", F2[:6]), "a guess too many"),
        (called("[]"), ONE, ("wrong number of calls", "0 instead of 1", "[]</to"), "a call too few"),
        (called(f"[{G1}]"), ONE, ("wrong tool", "g instead of f", '"g", "'), "another tool"),
        (called(f(2)), ONE, ("wrong arguments", "x is 2 instead of 1", "2}}]</"), "another value"),
        (called(f('"1"')), ONE, ("wrong arguments", 'x is "1" instead of 1', '"1"}}]'), "another type"),
        (called(f('1, "y": 3')), ONE, ("wrong arguments", "y is 3 instead of nothing", "3}}]</"), "one more"),
        (called(ONE.replace('"x": 1', "")), ONE, ("wrong arguments", "x is nothing instead of 1", "{}}]</"), "less"),
        (called(f"[{G1},{F2}]"), f"[{F1},{G1}]", ("wrong arguments", "x is 2 instead of 1", "2}}]</"), "one of two"),
        (
            called(CITY.replace("2]", "3]")),
            CITY,
            ("wrong arguments", "to.zip[1] is 3 instead of 2", '3]}, "'),
            "deep inside",
        ),
        (
            called(CITY.replace(", 2]", "]")),
            CITY,
            ("wrong arguments", "to.zip[1] is nothing instead of 2", "[1]}, "),
            "a shorter list",
        ),
    ),
)
def test_strict_reasons(response, ground_truth, expected):
    reason, detail, place = shown(response, ground_truth)
    assert (reason, place) == (expected[0], expected[2])
    assert expected[1] in (None, detail)


@pytest.mark.parametrize(
    "response, ground_truth, expected",
    table(
        ("chat " + called(ONE) + " chat", ONE, (CORRECT, "", None), "chatter is free"),
        (THINK, ONE, ("no pair of <tool_call> and </tool_call>", None, "<think"), "no pair"),
        (called(ONE, ""), ONE, ("no <think>", "anywhere in the response", "<tool_"), "no reasoning"),
        (called(ONE) + called("[oops]", ""), ONE, ("calls are not JSON", None, "oops]<"), "the last pair"),
        (called("5"), ONE, ("the released scorer raises", None, "5</too"), "a number"),
        (called("[5]"), ONE, ("not a list of calls", None, "[5]</t"), "no calls"),
        (called(f("1.0")), ONE, ("wrong arguments", "x is 1.0 instead of 1", "1.0}}]"), "another dump"),
        (called(F2), ONE, ("wrong arguments", "x is 2 instead of 1", "2}}</t"), "an object for a list"),
        (called(json.dumps(f(2))), ONE, ("wrong arguments", None, '"[{\\"n'), "decoded twice"),
        ("<|im_start|>assistant" + called(f(2)), ONE, ("wrong arguments", "x is 2 instead of 1", "2}}]</"), "a turn"),
    ),
)
def test_paper_reasons(response, ground_truth, expected):
    reason, detail, place = shown(response, ground_truth, "paper")
    assert (reason, place) == (expected[0], expected[2])
    assert expected[1] in (None, detail)


def agree(response, ground_truth, reward):
    why = explain(response, ground_truth, reward=reward)
    assert (why.reason == CORRECT) == (judge(response, ground_truth, reward)["acc"] == 1.0)
    assert (why.position is None) == (why.reason == CORRECT)
    assert why.position is None or 0 <= why.position <= len(response)
    assert "\n" not in why.detail and len(why.detail) < 300
    assert len(mark(response, why.position or 0).splitlines()) == 2


@settings(max_examples=300, deadline=None)
@given(RESPONSES, GROUND_TRUTHS, st.sampled_from(REWARDS))
def test_the_reason_is_correct_exactly_where_the_reward_is_one(response, ground_truth, reward):
    agree(response, ground_truth, reward)


@pytest.mark.parametrize("reward", REWARDS)
def test_degenerate_responses_have_reasons(reward):
    for response in [frame % (unit * 200) for frame in FRAMES for unit in UNITS] + [case[1] for case in GAMING]:
        for ground_truth in (ONE, TWO, "[]"):
            agree(response, ground_truth, reward)


def test_values_nested_almost_too_deeply_have_a_reason():
    ground_truth = f("[" * 900 + "1" + "]" * 900)
    for depth in range(880, 1000, 40):
        for reward in REWARDS:
            agree(called(f("[" * depth + "]" * depth)), ground_truth, reward)


def test_the_mark_stands_below_the_place():
    line, caret = mark("a" * 300 + "X" + "b" * 300, 300).splitlines()
    assert line[caret.index("^")] == "X" and line[0] == line[-1] == "…"
    line, caret = mark("one\n\x00\ud800two", 6).splitlines()
    assert line == "one\\n\\x00\\ud800two" and line[caret.index("^") :] == "two"
    assert mark("", 0).splitlines() == ["", "^"]


def test_a_broken_ground_truth_raises():
    with pytest.raises(ValueError, match="broken ground truth"):
        explain(called(ONE), "[")
