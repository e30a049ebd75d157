"""The paper reward as tables: what the paper's released scorer returns, and 0 where it raises."""

import json

import pytest
from toolcall_cases import F1, F2, G1, ONE, VARIANTS, called, f, flags, paid, table

TAGS = "<think></think>"


@pytest.mark.parametrize(
    "response, ground_truth, expected",
    table(
        (called(ONE, TAGS), ONE, 1.0, "both think tags suffice"),
        (called(ONE, "</think>x<think>"), ONE, 1.0, "in any order"),
        (called(ONE, "<think>"), ONE, 0.0, "but both"),
        (called(ONE, "</think>"), ONE, 0.0, "but both, again"),
        ("chat " + called(ONE, TAGS + " chat ") + " chat", ONE, 1.0, "chatter anywhere"),
        (TAGS + "<|im_start|>assistant\n" + called(ONE, ""), ONE, 0.0, "what comes before the last turn is ignored"),
        (called("[oops]") + "<|im_start|>assistant" + called(ONE), ONE, 1.0, "so is a wrong call there"),
        (called(ONE) + "<|im_start|>assistant", ONE, 0.0, "an empty last turn"),
        (called(ONE) + "<|im_start|>user", ONE, 1.0, "only the assistant's turns count"),
        (called(ONE) + called(f(2)), ONE, 0.0, "the last pair counts"),
        (called(f(2)) + called(ONE), ONE, 1.0, "the last pair counts, here for the better"),
        (called(ONE) + "<tool_call>[]", ONE, 1.0, "a tag without an end is no pair"),
        (called(ONE) + "[]</tool_call>", ONE, 1.0, "nor is an end without a tag"),
        (called("<tool_call>" + ONE), ONE, 0.0, "a pair starts at its first tag"),
        ("</tool_call>" + called(ONE), ONE, 1.0, "an end before any tag is passed over"),
        (called(f('"</tool_call>"')), f('"</tool_call>"'), 0.0, "a pair ends even inside a string"),
        (called(f"\u00a0\u2028\x1f {ONE}\v"), ONE, 1.0, "stripped of all that Python calls white space"),
        (called("\ufeff" + ONE), ONE, 0.0, "which a byte order mark is not"),
        (called(json.dumps(f" {ONE}\n")), ONE, 1.0, "a string is decoded once more"),
        (called(json.dumps(F1)), ONE, 1.0, "to an object, too"),
        (called(json.dumps(json.dumps(ONE))), ONE, 0.0, "but only once"),
        (called('"oops"'), ONE, 0.0, "a string that does not decode"),
        (called(F1), ONE, 1.0, "an object is a list of one"),
        (called("{}"), ONE, 0.0, "an empty object is no call"),
        (called("{}"), "[]", 0.0, "nor an empty list"),
        (called("[]"), "[]", 1.0, "two empty lists match"),
        (called("[]"), ONE, 0.0, "one empty list never matches"),
        (called(ONE), "[]", 0.0, "one empty list never matches, the other way"),
        (called(""), "[]", 0.0, "nothing is not an empty list"),
        (called("null"), "[]", 0.0, "nor is null"),
        (TAGS, "[]", 0.0, "nor is no pair"),
        (called(f"[{F1},{G1}]"), f"[{G1},{F1}]", 1.0, "the order of calls is free"),
        (called(f"[{F1},{F1},{G1}]"), f"[{F1},{G1},{G1}]", 0.0, "a multiset"),
        (called('[{"arguments":{"b":2,"a":1},"name":"f"}]'), '[{"name":"f","arguments":{"a":1,"b":2}}]', 1.0, "keys"),
        (called(f("1.0")), ONE, 0.0, "numbers are compared as dumped"),
        (called(f("true")), ONE, 0.0, "so is true"),
        (called(f("-0")), f("0"), 1.0, "-0 dumps as 0"),
        (called(f("-0.0")), f("0.0"), 0.0, "-0.0 does not"),
        (called(f("1e400")), f("Infinity"), 1.0, "infinity in two notations"),
        (called(f("NaN")), f("NaN"), 1.0, "NaN"),
        (called('[{"name":"f","arguments":{"x":1},"id":7}]'), ONE, 1.0, "further keys pass"),
        (called('[{"name":"f","arguments":{"x":2,"x":1}}]'), ONE, 1.0, "the last of repeated keys counts"),
        (called('[{"name":"f","arguments":"x"}]'), '[{"name":"f","arguments":"x"}]', 1.0, "arguments may be anything"),
        (called('[{"name":["f"],"arguments":{"x":1}}]'), ONE, 0.0, "a name that cannot be hashed"),
        (called(f"[{F1},5]"), ONE, 0.0, "an item that is no object"),
        (called('[{"name":"f"}]'), ONE, 0.0, "no arguments"),
        (called('[{"arguments":{"x":1}}]'), ONE, 0.0, "no name"),
        (called(f"[{F1},]"), ONE, 0.0, "broken JSON"),
    ),
)
def test_paper_scores_as_released(response, ground_truth, expected):
    assert paid(response, ground_truth, "paper") == expected


@pytest.mark.parametrize(
    "response, expected",
    table(
        (called("[oops]"), 0.2, "undecodable is no result"),
        (called('"oops"'), 0.2, "also at the second decoding"),
        (called("null"), 0.2, "null is no result"),
        (called('[{"name": [], "arguments": {}}]'), 0.2, "an unhashable name is no match"),
        (called("[5]"), 0.2, "a list of no objects"),
        (called("5"), 0.0, "a bare number raises there"),
        (called("-1.5"), 0.0, "or a float"),
        (called("NaN"), 0.0, "or NaN"),
        (called("true"), 0.0, "or true"),
        (called("false"), 0.0, "or false"),
        (called('"5"'), 0.0, "or a number decoded twice"),
        (called("[" + "9" * 4301 + "]"), 0.0, "or a huge integer"),
        (called("[-" + "9" * 4300 + "]"), 0.2, "one digit fewer is but a number in a list"),
        (called("[" * 99999 + "]" * 99999), 0.0, "or deep nesting"),
        (called("[" * 99999), 0.0, "even unclosed"),
        (called(json.dumps("[" * 99999)), 0.0, "or within a string"),
    ),
)
def test_paper_gives_nothing_where_the_released_scorer_raises(response, expected):
    scores = [paid(response, ONE, "paper", variant) for variant in VARIANTS]
    assert scores == [0.0, 0.0, expected, expected]


@pytest.mark.parametrize(
    "response, ground_truth, expected",
    table(
        (called(f("[1,true]")), f("[1.0,1]"), "FNa", "equal in Python, but dumped otherwise"),
        (called(f("[NaN,1]")), f("[NaN,1]"), "FNA", "NaN within a list"),
        (called(f"[{F1},{F2}]"), f"[{F2},{F2}]", "FNa", "a multiset though each call occurs"),
        (called(f"[{F1},{F1}]"), f"[{F1},{F2}]", "FNa", "the other way"),
        (called(f("[" + "1," * 999 + "1]")), ONE, "FNa", "a flood of numbers"),
    ),
)
def test_paper_compares_the_dumps(response, ground_truth, expected):
    assert flags(response, ground_truth, "paper") == expected


@pytest.mark.parametrize(
    "response, expected",
    table(
        (called(ONE, TAGS), "FNA", "all right"),
        (called(ONE, ""), "fNA", "no reasoning"),
        (called(f(2)), "FNa", "names"),
        (called(f"[{G1}]"), "Fna", "form"),
        (called("[5]"), "fna", "no calls"),
        (called("5"), "fna", "raises there"),
    ),
)
def test_paper_diagnostics(response, expected):
    assert flags(response, ONE, "paper") == expected
