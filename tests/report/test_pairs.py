"""Calls beside the ground truth: which are paired, and the first line that differs."""

import json

import pytest

from tooln1.report.pairs import LONGEST_CALL, MOST_PAIRS, pair_calls


def call(name, **arguments):
    return {"name": name, "arguments": arguments}


def pairs(got, wanted, reward="strict"):
    response = f"<think>t</think><tool_call>{json.dumps(got)}</tool_call>"
    found = pair_calls(response, json.dumps(wanted), reward)
    return [(one and one.split("\n")[0], other and other.split("\n")[0], line) for one, other, line in found]


@pytest.mark.parametrize(
    "got, wanted, expected",
    [
        ([call("f", x=1)], [call("f", x=1)], [("f", "f", None)]),
        ([], [], []),
        # The name is line 0, the opening bracket line 1.
        ([call("f", x="1")], [call("f", x=1)], [("f", "f", 2)]),
        ([call("f", x=1.0)], [call("f", x=1)], [("f", "f", 2)]),
        ([call("f", a=1, b=2)], [call("f", b=2, a=1)], [("f", "f", None)]),
        ([call("f", a=1, b=2)], [call("f", a=1, b=3)], [("f", "f", 3)]),
        ([call("g", x=1)], [call("f", x=1)], [("g", "f", 0)]),
        ([call("f", x=1)], [call("f", x=1), call("g")], [("f", "f", None), (None, "g", 0)]),
        ([call("f"), call("f")], [call("f")], [("f", "f", None), ("f", None, 0)]),
        # In any order, equal calls belong together, then equal names.
        ([call("g", x=2), call("f", x=1)], [call("f", x=1), call("g", x=3)], [("f", "f", None), ("g", "g", 2)]),
    ],
)
@pytest.mark.parametrize("reward", ["strict", "paper"])
def test_pairs(got, wanted, expected, reward):
    assert pairs(got, wanted, reward) == expected


@pytest.mark.parametrize(
    "response", ["", "<think>t</think>", "<think>t</think><tool_call>[}</tool_call>", "[" * 100_000]
)
def test_calls_that_cannot_be_read_have_no_pairs(response):
    assert pair_calls(response, "[]") is None


def test_a_flood_of_calls_is_cut():
    got = [call("f", x=number) for number in range(5000)]
    assert len(pairs(got, [call("g")])) == MOST_PAIRS


def test_a_long_call_is_cut():
    (one,) = pair_calls(f"<think>t</think><tool_call>[{json.dumps(call('f', x='a' * 50_000))}]</tool_call>", "[]")
    assert len(one[0]) == LONGEST_CALL + 1
