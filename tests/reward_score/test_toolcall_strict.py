"""The strict reward as tables of (response, ground truth, expected, remark): grammar, JSON values, variants."""

import json

import pytest
from toolcall_cases import (
    F1,
    F2,
    G1,
    G2,
    GAMING,
    ONE,
    REWARDS,
    THINK,
    TWO,
    VARIANTS,
    called,
    f,
    flags,
    judge,
    paid,
    table,
)


@pytest.mark.parametrize(
    "response, ground_truth, expected",
    table(
        (called(ONE), ONE, "FNA", "the plain response"),
        (called(TWO), TWO, "FNA", "two calls"),
        (called(f"[{F1},{G2}]"), f"[{G2},{F1}]", "FNA", "the order of calls is free"),
        (called('[{"arguments":{"x":1},"name":"f"}]'), ONE, "FNA", "the order of keys is free"),
        (called(f"\n[\r\n\t{F1} ]\n", f" \t\r\n{THINK}\n\n") + "\r\n ", ONE, "FNA", "white space around every piece"),
        (called("[]"), "[]", "FNA", "no tool fits"),
        (called('[{"\\u006eame": "\\u0066", "arguments": {"x": 1}}]'), ONE, "FNA", "escapes are JSON"),
        (called(ONE, "<think>if a < b, </ think> or <thinks></think>"), ONE, "FNA", "almost tags are reasoning"),
        (called(ONE, "<think>" + "</tool_cal" * 9 + "</think>"), ONE, "FNA", "cut tags are reasoning"),
        (called(ONE, "<think>\u00a0</think>"), ONE, "FNA", "NBSP is text, so this is not blank"),
        (called(ONE, ""), ONE, "fNA", "no reasoning"),
        (called(ONE, "<think></think>"), ONE, "fNA", "empty reasoning"),
        (called(ONE, "<think> \t\r\n</think>"), ONE, "fNA", "blank reasoning"),
        (called(ONE, "<think>a<think>b</think>"), ONE, "fNA", "think tag in the reasoning"),
        (called(ONE, "<think>a</tool_call>b</think>"), ONE, "fNA", "closing call tag in the reasoning"),
        (called(ONE, "<think>a</think>b</think>"), ONE, "fNA", "two ends of reasoning"),
        (called(ONE, "<think>a</think><think>b</think>"), ONE, "fNA", "two blocks of reasoning"),
        (called(ONE, "</think>a<think>"), ONE, "fNA", "think tags in the wrong order"),
        (called(ONE, "<think>a"), ONE, "fNA", "reasoning left open"),
        (called(ONE, "a</think>"), ONE, "fNA", "reasoning never opened"),
        (called(ONE, "<THINK>a</THINK>"), ONE, "fNA", "tags are case-sensitive"),
        (called(ONE, "< think>a</think>"), ONE, "fNA", "tags have no inner white space"),
        (called(ONE, "Sure! " + THINK), ONE, "fNA", "chatter before"),
        (called(ONE, THINK + " So: "), ONE, "fNA", "chatter between"),
        (called(ONE, THINK + "\u00a0"), ONE, "fNA", "NBSP between is chatter"),
        (called(ONE, "\ufeff" + THINK), ONE, "fNA", "a byte order mark before is chatter"),
        (called(ONE, THINK + "\x0b"), ONE, "fNA", "vertical tab is chatter"),
        (called(ONE) + " Done.", ONE, "fna", "trailing chatter"),
        (called(ONE) + "\u2028", ONE, "fna", "U+2028 after is chatter"),
        (called(ONE) + "\x00", ONE, "fna", "NUL after is chatter"),
        (called(ONE) + "<|eot_id|>", ONE, "fna", "a marker that decoding should have skipped"),
        (called("\u00a0" + ONE), ONE, "fna", "NBSP before the array"),
        (called(ONE + "\u2003"), ONE, "fna", "em space after the array"),
        (called(ONE) * 2, ONE, "fna", "the whole response twice"),
        (called(ONE) + called(f(2), ""), ONE, "fna", "two guesses, the first right"),
        (called(f(2)) + called(ONE, ""), ONE, "fna", "two guesses, the last right"),
        (called(ONE + f(2)), ONE, "fna", "two arrays"),
        (called(ONE + "</tool_call>"), ONE, "fna", "closed twice"),
        (called("<tool_call>" + ONE), ONE, "fna", "opened twice"),
        (f"{THINK}<tool_call>{ONE}", ONE, "fna", "never closed"),
        (f"{THINK}{ONE}</tool_call>", ONE, "fna", "never opened"),
        (f"{THINK}{ONE}", ONE, "fna", "no call tags"),
        (called(ONE, "") + THINK, ONE, "fna", "reasoning after the calls"),
        (f"<think>a{called(ONE, '')}</think>", ONE, "fna", "calls inside the reasoning"),
        (called(ONE, "<think>now <tool_call> follows</think>"), ONE, "fna", "the first call tag starts the calls"),
        (THINK, ONE, "fna", "nothing but reasoning"),
        ("", ONE, "fna", "an empty response"),
        (called(f"[{F1},{F2}]"), ONE, "Fna", "a right call and a guess"),
        (called(f"[{F1},{F1}]"), ONE, "Fna", "the right call twice"),
        (called("[]"), ONE, "Fna", "a call left out"),
        (called(ONE), "[]", "Fna", "a call where none fits"),
        (called(f"[{G1}]"), ONE, "Fna", "another tool"),
        (called(ONE.replace("f", "F")), ONE, "Fna", "names are case-sensitive"),
        (called(f(2)), ONE, "FNa", "another value"),
        (called('[{"name":"f","arguments":{}}]'), ONE, "FNa", "an argument left out"),
        (called('[{"name":"f","arguments":{"x":1,"y":1}}]'), ONE, "FNa", "an argument too many"),
        (called(f"[{F1},{F1},{F2}]"), f"[{F1},{F2},{F2}]", "FNa", "a multiset, not a set"),
        (called(f"[{F2},{F1},{F2}]"), f"[{F1},{F2},{F2}]", "FNA", "a multiset in another order"),
        (called(f"[{F1},{G1}]"), f"[{F1},{G2}]", "FNa", "one call right, one wrong"),
        (called(f"[{F1},{G2}]"), f"[{F2},{G1}]", "FNa", "the values swapped between the tools"),
    ),
)
def test_strict_reads_the_grammar_and_nothing_else(response, ground_truth, expected):
    assert flags(response, ground_truth) == expected
    assert paid(response, ground_truth) == float(expected == "FNA")


@pytest.mark.parametrize(
    "text",
    table(
        ("5", "a number"),
        ("true", "a literal"),
        ("null", "null"),
        ('"[]"', "a string"),
        (F1, "one object, not an array"),
        (json.dumps(ONE), "an array encoded twice"),
        ("", "nothing"),
        ("[", "an array left open"),
        (f"[{F1},]", "a trailing comma"),
        (ONE + ",", "a comma after the array"),
        (ONE + "]", "a bracket too many"),
        (f"```json\n{ONE}\n```", "a code fence"),
        (ONE + " // done", "a comment"),
        (F1 + "\n" + F1, "a call a line"),
        (ONE.replace('"', "'"), "Python's quotes"),
        (f("True"), "Python's True"),
        (f("NaN"), "NaN"),
        (f("Infinity"), "Infinity"),
        (f("-Infinity"), "-Infinity"),
        (f("01"), "a leading zero"),
        (f(".5"), "a bare fraction"),
        (f("+1"), "a plus sign"),
        (f("0x1"), "a hexadecimal number"),
        (f("1_0"), "an underscore in a number"),
        (f("\u0661"), "an Arabic digit"),
        (f('"a\nb"'), "a raw line break in a string"),
        (f('"\\q"'), "an unknown escape"),
        ('[{"name": "f", "arguments": {x: 1}}]', "a bare key"),
        ('[{"name": "f", "arguments": {"x": 1, "x": 1}}]', "a repeated argument, though the same"),
        ('[{"name": "f", "arguments": {"x": 2, "x": 1}}]', "a repeated argument, the last right"),
        ('[{"name": "f", "arguments": {"x": 1, "\\u0078": 1}}]', "a repeated argument behind an escape"),
        ('[{"name": "g", "name": "f", "arguments": {"x": 1}}]', "a repeated name, the last right"),
        ('[{"name": "f", "arguments": {"x": 2}, "arguments": {"x": 1}}]', "repeated arguments, the last right"),
        ('[{"name": "f", "arguments": {"x": 1}, "id": 0}]', "a further key"),
        ('[{"name": "f", "args": {"x": 1}}]', "another key"),
        ('[{"name": "f"}]', "no arguments"),
        ('[{"arguments": {"x": 1}}]', "no name"),
        ('[{"name": "f", "arguments": [1]}]', "a list of arguments"),
        ('[{"name": "f", "arguments": null}]', "null arguments"),
        ('[{"name": "f", "arguments": "{\\"x\\": 1}"}]', "arguments encoded twice"),
        ('[{"name": ["f"], "arguments": {"x": 1}}]', "a name that is a list"),
        ('[{"name": 1, "arguments": {"x": 1}}]', "a name that is a number"),
        (f"[{ONE}]", "an array in an array"),
        (f"[{F1}, null]", "null among the calls"),
        (f"[{F1}, 5]", "a number among the calls"),
    ),
)
def test_strict_refuses_what_is_not_an_array_of_calls(text):
    assert flags(called(text)) == "fna"
    assert paid(called(text), variant="partial_reason_name") == 0.2, "the reasoning part is judged by itself"


VALUES = (
    "1 1.0 true 0 0.0 false null [] {} [1] [1.0] [true] [null] [[1]] [1,2] [2,1] [1,1] 2 1.5 1e400 1e401 -1e400 "
    '9007199254740993 9007199254740992 "" "1" "0" "null" ["1"] {"1":1} {"a":1} {"a":1.0} {"a":1,"b":1} "é" "e\\u0301" '
    '"<tool_call>" "</tool_call>" "<think>" "</think>" "\\ud800" "\\u0000" "\\u00201"'
).split() + ["9" * 5000, "9" * 4999 + "8"]


def test_each_json_value_equals_itself_alone():
    for left in VALUES:
        for right in VALUES:
            assert paid(called(f(right)), f(left)) == float(left == right), f"{left[:20]} against {right[:20]}"


@pytest.mark.parametrize(
    "left, right",
    table(
        ("100.0", "1e2", "one float in two notations"),
        ("1.5", "15E-1", "with an exponent"),
        ("0.1", "0.1000000000000000055511151231257827", "a float written out"),
        ("0", "-0", "the integer zero has no sign"),
        ("0.0", "-0.0", "both zeros are zero"),
        ('"/"', '"\\/"', "one string in two notations"),
        ('"\U0001f600"', '"\\ud83d\\ude00"', "a pair of surrogates"),
        ('{"a":1,"b":[{"c":2,"d":3}]}', '{ "b": [ {"d":3, "c":2} ], "a": 1 }', "key order and white space, nested"),
    ),
)
def test_notation_is_free(left, right):
    assert paid(called(f(right)), f(left)) == 1.0


ONES = "1," * 2000 + "1"


@pytest.mark.parametrize(
    "response, ground_truth, expected",
    table(
        (f(f"[{ONES}]"), ONE, "FNa", "a flood of numbers"),
        (f(f"[{ONES}]"), f(f"[{ONES}]"), "FNA", "a flood of numbers, as expected"),
        (f(f"[{ONES},1]"), f(f"[{ONES}]"), "FNa", "one number more"),
        (f(f'[{ONES},{{"a":1,"a":1}}]'), ONE, "fna", "a flood with a repeated key"),
        (f"[{F1}{(',' + F1) * 300}]", ONE, "Fna", "a flood of calls"),
        (f"[{F1}{(',' + F1) * 300},{{}}]", ONE, "fna", "a flood of calls, the last of them empty"),
        (f"[{F1}{(',' + F1) * 300}]", f"[{F1}{(',' + F1) * 300}]", "FNA", "a flood of calls, as expected"),
    ),
)
def test_a_flood_of_values_is_judged_like_a_few(response, ground_truth, expected):
    assert flags(called(response), ground_truth) == expected


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<tool_call>", "</tool_call>", "</tool_call></tool_call>"])
def test_a_tag_in_a_json_string_is_only_text(tag):
    calls = json.dumps([{"name": tag, "arguments": {tag: tag + tag}}])
    assert flags(called(calls), calls) == "FNA"


@pytest.mark.parametrize("attempt, response, strict, paper", GAMING, ids=[case[0] for case in GAMING])
def test_attempts_at_gaming_earn_what_the_page_says(attempt, response, strict, paper):
    assert (paid(response), paid(response, reward="paper")) == (strict, paper)
    assert strict == 0.0 and len(GAMING) >= 17


@pytest.mark.parametrize(
    "response, expected",
    table(
        (called(ONE), (1.0, 1.0, 1.0, 1.0), "reasoning and match"),
        (called(ONE, ""), (0.0, 1.0, 0.8, 0.8), "match alone"),
        (called(f(2)), (0.0, 0.0, 0.2, 0.4), "reasoning and the name"),
        (called(f(2), ""), (0.0, 0.0, 0.0, 0.2), "the name alone"),
        (called(f"[{G1}]"), (0.0, 0.0, 0.2, 0.2), "reasoning and another tool"),
        (called(f"[{G1}]", ""), (0.0, 0.0, 0.0, 0.0), "another tool"),
        (called("[oops]"), (0.0, 0.0, 0.2, 0.2), "reasoning and no JSON"),
        (THINK, (0.0, 0.0, 0.2, 0.2), "reasoning alone"),
        ("", (0.0, 0.0, 0.0, 0.0), "nothing"),
    ),
)
@pytest.mark.parametrize("reward", REWARDS)
def test_variants_pay_their_shares(reward, response, expected):
    results = [judge(response, ONE, reward, variant) for variant in VARIANTS]
    assert tuple(result["score"] for result in results) == expected
    assert {result["acc"] for result in results} == {expected[0]}, "acc is the binary reward in every variant"
