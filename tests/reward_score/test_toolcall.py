# Copyright 2026 The tooln1 authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The reward's contract, as tables of (reply, ground truth, expected, remark) and as properties of random replies.

Not covered: speed. That time is linear is checked by counting what is scanned and called, so that a busy machine cannot
fail the suite.
"""

import copy
import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tooln1.reward_score.toolcall import compute_score

KEYS = ("score", "acc", "format", "tool_name", "arguments")
VARIANTS = ("binary", "binary_no_reason", "partial_reason", "partial_reason_name")
PROFILES = ("strict", "paper")
THINK = "<think>one call will do</think>"
F1 = '{"name": "f", "arguments": {"x": 1}}'
F2 = '{"name": "f", "arguments": {"x": 2}}'
G1 = '{"name": "g", "arguments": {"x": 1}}'
G2 = '{"name": "g", "arguments": {"x": 2}}'
ONE = f"[{F1}]"
TWO = '[{"name": "f", "arguments": {"x": 1}}, {"name": "g", "arguments": {"y": [1, 2], "z": {"a": null}}}]'


def called(text, before=THINK):
    return f"{before}<tool_call>{text}</tool_call>"


def f(x):
    """The text of a single call whose argument is the JSON text x."""
    return f'[{{"name": "f", "arguments": {{"x": {x}}}}}]'


def judge(reply, reference=ONE, profile="strict", variant="binary", **kwargs):
    result = compute_score("toolcall/synthetic", reply, reference, profile=profile, variant=variant, **kwargs)
    assert tuple(result) == KEYS and all(type(value) is float for value in result.values())
    return result


def paid(reply, reference=ONE, profile="strict", variant="binary"):
    return judge(reply, reference, profile, variant)["score"]


def flags(reply, reference=ONE, profile="strict"):
    """The diagnostics as a word: f(ormat), n(ame), a(rguments), in capitals where they hold."""
    result = judge(reply, reference, profile)
    return "".join("fna"[i].upper() if result[key] else "fna"[i] for i, key in enumerate(KEYS[2:]))


def table(*rows):
    return [pytest.param(*row[:-1], id=row[-1]) for row in rows]


@pytest.mark.parametrize(
    "reply, reference, expected",
    table(
        (called(ONE), ONE, "FNA", "the plain reply"),
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
        (called(ONE) * 2, ONE, "fna", "the whole reply twice"),
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
        ("", ONE, "fna", "an empty reply"),
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
def test_strict_reads_the_grammar_and_nothing_else(reply, reference, expected):
    assert flags(reply, reference) == expected
    assert paid(reply, reference) == float(expected == "FNA")


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
    assert paid(called(text), variant="partial_reason_name") == 0.2, "the reasoning part stands on its own"


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


@pytest.mark.parametrize("tag", ["<think>", "</think>", "<tool_call>", "</tool_call>", "</tool_call></tool_call>"])
def test_a_tag_in_a_json_string_is_only_text(tag):
    calls = json.dumps([{"name": tag, "arguments": {tag: tag + tag}}])
    assert flags(called(calls), calls) == "FNA"


GAMING = table(
    (called(ONE, "</think>never mind<think>"), 1.0, "think tags in the wrong order"),
    (called(f(2)) + called(ONE, ""), 1.0, "several guesses in a row"),
    (called(ONE) + " Anything else?", 1.0, "trailing chatter"),
    (called(ONE, "<think></think>"), 1.0, "no thought"),
    (called(ONE, "") + THINK, 1.0, "an afterthought"),
    (called(f'[{F1[:-1]}, "why": "<think></think>"}}]', ""), 1.0, "think tags inside the JSON"),
    (called('[{"name":"f","arguments":{"x":2,"x":1}}]'), 1.0, "two values for one argument"),
    (called(json.dumps(ONE)), 1.0, "calls encoded twice"),
    (called(F1), 1.0, "an object for an array"),
    (called(f'[{F1[:-1]}, "note": "or should x be 2?"}}]'), 1.0, "a note beside the call"),
    (called(f"[{F1},{F2}]"), 0.0, "a list of guesses"),
)


@pytest.mark.parametrize("reply, paper", GAMING)
def test_gaming_pays_nothing_in_strict_whatever_paper_pays(reply, paper):
    assert (paid(reply), paid(reply, profile="paper")) == (0.0, paper)


@pytest.mark.parametrize(
    "reply, expected",
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
@pytest.mark.parametrize("profile", PROFILES)
def test_variants_pay_their_shares(profile, reply, expected):
    results = [judge(reply, ONE, profile, variant) for variant in VARIANTS]
    assert tuple(result["score"] for result in results) == expected
    assert {result["acc"] for result in results} == {expected[0]}, "acc is the binary reward whatever the variant"


TAGS = "<think></think>"


@pytest.mark.parametrize(
    "reply, reference, expected",
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
def test_paper_scores_as_released(reply, reference, expected):
    assert paid(reply, reference, "paper") == expected


@pytest.mark.parametrize(
    "reply, expected",
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
def test_paper_gives_nothing_where_the_released_scorer_raises(reply, expected):
    assert paid(reply, ONE, "paper", "partial_reason") == expected
    assert paid(reply, ONE, "paper") == 0.0


@pytest.mark.parametrize(
    "reply, expected",
    table(
        (called(ONE, TAGS), "FNA", "all right"),
        (called(ONE, ""), "fNA", "no reasoning"),
        (called(f(2)), "FNa", "names"),
        (called(f"[{G1}]"), "Fna", "form"),
        (called("[5]"), "fna", "no calls"),
        (called("5"), "fna", "raises there"),
    ),
)
def test_paper_diagnostics(reply, expected):
    assert flags(reply, ONE, "paper") == expected


@pytest.mark.parametrize(
    "before, after, strict",
    table(
        ("", "", 1.0, "tags are ordinary text to its tokenizer"),
        ("\n\n", "\n", 1.0, "line breaks of its chat template"),
        ("", "<|eot_id|>", 0.0, "an end marker that decoding did not skip"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\n", "", 0.0, "a header that decoding did not skip"),
    ),
)
def test_llama_replies(before, after, strict):
    reply = before + called(f"\n{ONE}\n", THINK + "\n") + after
    assert (paid(reply), paid(reply, profile="paper")) == (strict, 1.0)


UNITS = [*'<[]{}1-"\\ \n\u00a0\x00\ud800\udfff\U0001f525a', '"",', "1,", "1.5,", "0.", "1e", "null,", "{},", F1 + ","]
UNITS += ["<think>", "</think>", TAGS, "<tool_call>", "</tool_call>", "<tool_call></tool_call>", called("[]")]
UNITS += ["</tool_call", "[{", '{"a":', '{"name":', '\\"', "\\u0041", "\\ud800", "<|im_start|>assistant"]
FRAMES = ["%s", f"{THINK}%s", called("[]", "<think>%s</think>"), called("%s"), called("[%s]"), called("[%snull]")]
FRAMES += [called(f("%s")), called(f('"%s"')), called(f("[%snull]")), called("[]") + "%s"]


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_degenerate_replies_score_zero_in_silence(unit, profile, capfd, caplog):
    for frame in FRAMES:
        assert judge(frame % (unit * (9_000 // len(unit))), ONE, profile)["score"] == 0.0
    assert not caplog.records and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "value",
    table(
        ("[" * 100_000 + "]" * 100_000, "deep lists"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "deep objects"),
        ("9" * 1_000_000, "a million digits"),
        ("0." + "1" * 1_000_000, "a million decimals"),
        ("1e" + "9" * 1_000_000, "a million digits of exponent"),
        ('"' + "\\ud800" * 100_000 + '"', "lone surrogates, escaped"),
        ('"' + "\ud800" * 100_000 + '"', "lone surrogates, raw"),
    ),
)
def test_extreme_values_score_zero(value, profile):
    assert judge(called(f(value)), ONE, profile)["acc"] == 0.0


def test_a_huge_integer_matches_itself_in_strict():
    assert paid(called(f("9" * 99_999)), f("9" * 99_999)) == 1.0
    assert paid(called(f("9" * 99_998 + "8")), f("9" * 99_999)) == 0.0


ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates too, which text() leaves out
FRAGMENTS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_start|>assistant", THINK, called(ONE), ONE]
FRAGMENTS += [F1, F2, G1, *'[]{},:"\\1-<', '"name"', '"arguments"', '"f"', "1.0", "true", "null", "NaN", "1e999"]
FRAGMENTS += ["9" * 5000, "[" * 2000, *" \n\u00a0\u2028\ufeff\x00\ud800", "text"]


@st.composite
def damaged(draw):
    """A right reply with a few spans cut, or doubled, or moved, or with something put in."""
    reply = called(draw(st.sampled_from([ONE, TWO, "[]"])))
    for _ in range(draw(st.integers(1, 4))):
        start, stop = sorted(draw(st.tuples(*[st.integers(0, len(reply))] * 2)))
        piece = draw(st.sampled_from(["", reply[start:stop], *FRAGMENTS]))
        if draw(st.booleans()):
            reply = reply[:start] + reply[stop:]
        at = draw(st.integers(0, len(reply)))
        reply = reply[:at] + piece + reply[at:]
    return reply


REPLIES = ANY_TEXT | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join) | damaged()


@settings(max_examples=1500, deadline=None)
@given(REPLIES, st.sampled_from(["[]", ONE, TWO]), st.sampled_from(VARIANTS))
def test_any_text_gets_five_floats(reply, reference, variant):
    strict, paper = (judge(reply, reference, profile, variant) for profile in PROFILES)
    for result in (strict, paper):
        assert all(result[key] in (0.0, 1.0) for key in KEYS[1:])
        assert result["acc"] <= result["arguments"] <= result["tool_name"] and result["acc"] <= result["format"]
        assert result["acc"] == 1.0 or result["score"] < 1.0 or variant == "binary_no_reason"
    if reply.count("</tool_call>") == 1 and "<|im_start|>" not in reply:
        assert strict["acc"] <= paper["acc"], "tags in strings apart, strict pays only where paper does"


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
JSON_VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3), max_leaves=8
)
CALLS = st.lists(
    st.fixed_dictionaries({"name": ANY_TEXT, "arguments": st.dictionaries(ANY_TEXT, JSON_VALUES, max_size=4)}),
    max_size=4,
).map(lambda calls: json.loads(json.dumps(calls)))  # two surrogates that make a pair come back as one character
# Few values, easily confused with each other, so that random lists are often almost equal.
NEAR = st.sampled_from([1, 1.0, True, "1", 0, False, [], {}, [1], [True], {"a": 1}, {"a": 1.0}])
NEAR_CALLS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("fg"), "arguments": st.dictionaries(st.sampled_from("xy"), NEAR)}),
    max_size=3,
)


def exact(value):
    """A hashable stand-in for a JSON value: an oracle that shares nothing with the scorer."""
    if isinstance(value, dict):
        return "object", frozenset((key, exact(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(exact(item) for item in value)
    return type(value).__name__, value


def shuffled(value, random):
    """The same value with the keys of every object in a random order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key], random) for key in random.sample(list(value), len(value))}
    return [shuffled(item, random) for item in value] if isinstance(value, list) else value


def paths_in(value, path=()):
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from paths_in(item, (*path, key))


@settings(max_examples=300, deadline=None)
@given(CALLS, st.sampled_from(PROFILES), st.sampled_from([None, 1, "\t"]))
def test_the_reference_itself_scores_one(calls, profile, indent):
    # "<" is escaped because the paper profile ends a pair at a tag inside a string.
    reply = called(json.dumps(calls, indent=indent).replace("<", "\\u003c"))
    assert judge(reply, json.dumps(calls), profile) == dict.fromkeys(KEYS, 1.0)


@settings(max_examples=300, deadline=None)
@given(CALLS, st.randoms(use_true_random=False), st.booleans())
def test_order_of_keys_and_calls_is_free(calls, random, escaped):
    other = [shuffled(call, random) for call in random.sample(calls, len(calls))]
    assert paid(called(json.dumps(other, ensure_ascii=escaped)), json.dumps(calls)) == 1.0


@settings(max_examples=400, deadline=None)
@given(CALLS, st.data())
def test_any_change_to_one_argument_scores_zero(calls, data):
    paths = [(i, "arguments", *path) for i, call in enumerate(calls) for path in paths_in(call["arguments"])]
    assume(paths)
    *way, last = data.draw(st.sampled_from(paths))
    parent = changed = copy.deepcopy(calls)
    for key in way:
        parent = parent[key]
    change = data.draw(st.sampled_from(["replace", "remove", "rename"]))
    if change == "replace":
        parent[last] = data.draw(NEAR | JSON_VALUES)
    elif change == "rename" and isinstance(parent, dict):
        new = data.draw(ANY_TEXT)
        parent[new] = parent.pop(last)
    else:
        del parent[last]
    changed = json.loads(json.dumps(changed))
    assume(exact(changed) != exact(calls))  # the draw may have put back what was there
    result = judge(called(json.dumps(changed)), json.dumps(calls))
    assert result == {"score": 0.0, "acc": 0.0, "format": 1.0, "tool_name": 1.0, "arguments": 0.0}


@settings(max_examples=1000, deadline=None)
@given(NEAR_CALLS, NEAR_CALLS)
def test_strict_agrees_with_an_oracle_on_near_misses(calls, reference):
    result = judge(called(json.dumps(calls)), json.dumps(reference))
    assert result["arguments"] == float(Counter(map(exact, calls)) == Counter(map(exact, reference)))
    assert result["tool_name"] == float(Counter(c["name"] for c in calls) == Counter(c["name"] for c in reference))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "ground_truth",
    table(
        ("", "empty"),
        ("f(x=1)", "not JSON"),
        (f"[{F1}", "cut"),
        (ONE + " ok", "something after"),
        ("5", "a number"),
        ("null", "null"),
        ('"[]"', "encoded twice"),
        (F1, "one object"),
        ("[5]", "an item that is no object"),
        ('[{"name": "f"}]', "no arguments"),
        ('[{"arguments": {}}]', "no name"),
        ('[{"name": ["f"], "arguments": {}}]', "a name that is a list"),
        ("[" * 99999, "deep nesting"),
        (None, "missing"),
        ([{"name": "f", "arguments": {}}], "decoded already"),
        (b"[]", "bytes"),
        (5, "no text"),
    ),
)
def test_a_broken_ground_truth_raises_and_names_the_row(ground_truth, profile):
    for reply in ("", called("[]")):
        for index in (17, 0):
            with pytest.raises(ValueError, match=f"broken ground truth of row {index}: "):
                compute_score("d", reply, ground_truth, {"index": index}, profile=profile)
        for extra_info in (None, {}, {"index": None}, {"split": "train"}):
            with pytest.raises(ValueError, match="broken ground truth: "):
                compute_score("d", reply, ground_truth, extra_info, profile=profile)


def test_the_error_says_what_is_wrong_and_shows_the_value():
    with pytest.raises(ValueError, match=r"item 1 is not an object .*; it reads '\[.*, 5\]'$"):
        judge("", f"[{F1}, 5]")
    with pytest.raises(ValueError, match="JSON text expected, not list; it reads "):
        judge("", [{"name": "f", "arguments": {}}])


@pytest.mark.parametrize(
    "ground_truth",
    table(
        ('[{"name": "f", "arguments": {}, "id": 0}]', "a further key"),
        (f("NaN"), "NaN"),
        ('[{"name": "f", "arguments": {"x": 1, "x": 1}}]', "a repeated key"),
        ('[{"name": "f", "arguments": []}]', "a list of arguments"),
        ('[{"name": 1, "arguments": {}}]', "a name that is a number"),
    ),
)
def test_a_reference_outside_the_strict_grammar_is_broken_in_strict_only(ground_truth):
    with pytest.raises(ValueError, match="row 3"):
        judge(called("[]"), ground_truth, extra_info={"index": 3})
    assert paid(called(ground_truth), ground_truth, "paper") == 1.0


@pytest.mark.parametrize("choice", [{"variant": "binry"}, {"profile": "Strict"}, {"variant": None}], ids=str)
def test_an_unknown_variant_or_profile_is_named(choice):
    with pytest.raises(ValueError, match=str(*choice.values())):
        judge("", **choice)


def test_verl_calls_it_by_keyword_and_adds_keywords_of_its_own():
    result = compute_score(
        data_source="toolcall/xlam",
        solution_str=called(ONE),
        ground_truth=ONE,
        extra_info={"index": 0, "num_turns": None, "rollout_reward_scores": {}},
        reward_router_address="localhost:1",
        reward_model_tokenizer=None,
    )
    assert result == dict.fromkeys(KEYS, 1.0)


def test_threads_and_profiles_share_a_reference_without_disturbing_it():
    references = [f"[{F1},{G2}]", f"[{G2},{F1}]", f"[{F1},{F1}]", ONE, "[]"]
    jobs = [(called(text), reference, p) for text in references for reference in references for p in PROFILES] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda job: judge(*job), jobs)) == [judge(*job) for job in jobs]


def test_importing_it_brings_in_the_standard_library_only():
    code = (
        "import sys; old = set(sys.modules); import tooln1.reward_score.toolcall; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - old} - set(sys.stdlib_module_names))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["tooln1"]


class Counted(str):
    """A reply that counts the characters its searches pass over."""

    scanned = 0

    def find(self, sub, start=0, end=None):
        end = len(self) if end is None else end
        at = super().find(sub, start, end)
        Counted.scanned += max(0, (end if at < 0 else at + len(sub)) - start)
        return at

    def __contains__(self, sub):
        return self.find(sub) >= 0

    def rpartition(self, sep):
        Counted.scanned += len(self)
        return tuple(map(Counted, super().rpartition(sep)))


def calls_made(function):
    """How many functions, Python's and C's, are called while function() runs."""
    count = 0

    def profiler(_, event, __):
        nonlocal count
        count += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(profiler)
    try:
        function()
    finally:
        sys.setprofile(previous)
    return count


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_work_grows_no_faster_than_the_reply(unit, profile):
    for frame in FRAMES:
        made = []
        for size in (2_000, 8_000):
            reply = Counted(frame % (unit * (size // len(unit))))
            Counted.scanned = 0
            made.append(calls_made(lambda reply=reply: judge(reply, ONE, profile)))
            assert Counted.scanned <= 8 * len(reply)
        assert made[1] <= 4 * made[0] + 100
