"""What the reward's tests, its benchmark and its page share: replies, attempts at gaming, degenerate replies."""

import json

from tooln1.reward_score import reward_function

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
    result = reward_function(profile)("toolcall/synthetic", reply, reference, variant=variant, **kwargs)
    assert tuple(result) == KEYS and all(type(value) is float for value in result.values())
    return result


def paid(reply, reference=ONE, profile="strict", variant="binary"):
    return judge(reply, reference, profile, variant)["score"]


def flags(reply, reference=ONE, profile="strict"):
    """The diagnostics as a word: f(ormat), n(ame), a(rguments), in capitals where they hold."""
    result = judge(reply, reference, profile)
    return "".join("fna"[i].upper() if result[key] else "fna"[i] for i, key in enumerate(KEYS[2:]))


def table(*rows):
    """Rows of test parameters whose last item is the remark that names the case."""
    import pytest

    return [pytest.param(*row[:-1], id=row[-1]) for row in rows]


TAGS = "<think></think>"

# (reply, what the attempt is): each is a try to be paid for less than the reference call. docs/reward.md lists them.
GAMING = [
    (called(ONE, "</think>never mind<think>"), "think tags in the wrong order"),
    (called(ONE, "<think></think>"), "no thought"),
    (called(ONE, "") + THINK, "an afterthought"),
    (called(f'[{F1[:-1]}, "why": "<think></think>"}}]', ""), "think tags inside the JSON"),
    (f"<think>so {called(ONE, '')}</think>", "the calls inside the reasoning"),
    (called(f(2)) + called(ONE, ""), "several guesses in a row, the last right"),
    (called(f"[{F1},{F2}]"), "a list of guesses"),
    (called(f"[{F1},{F1}]"), "the right call twice"),
    (called('[{"name":"f","arguments":{"x":2,"x":1}}]'), "two values for one argument"),
    (called(f'[{F1[:-1]}, "note": "or should x be 2?"}}]'), "a note beside the call"),
    (called(ONE) + " Anything else?", "trailing chatter"),
    ("Sure!" + called(ONE), "leading chatter"),
    (called(f(2)) + "<|im_start|>assistant\n" + called(ONE), "a second turn that it writes itself"),
    (called(json.dumps(ONE)), "calls encoded twice"),
    (called(F1), "an object for an array"),
    (called(f('"1"')), "the number as text"),
    (called(f("true")), "true for 1"),
]

# A degenerate reply is a unit, repeated, in a frame. No reference call comes out of any.
UNITS = list('<[]{}1-"\\ \n\u00a0\x00\ud800\udfff\U0001f525a')
UNITS += [
    '"",',
    "1,",
    "1.5,",
    "0.",
    "1e",
    "null,",
    "true,",
    "NaN,",
    "{},",
    "[],",
    '{"a":1},',
    '{"a":1,"b":2},',
    '"a":1,',
]
UNITS += ["<think>", "</think>", TAGS, "<tool_call>", "</tool_call>", "<tool_call></tool_call>", called("[]")]
UNITS += ["</tool_call", "[{", '{"a":', '{"name":', '\\"', "\\u0041", "\\ud800", "<|im_start|>assistant", F1 + ","]
FRAMES = ["%s", f"{THINK}%s", called("[]", "<think>%s</think>"), called("%s"), called("[%s]"), called("[%snull]")]
FRAMES += [called(f("%s")), called(f('"%s"')), called(f("[%snull]")), called(f('{%s"z":0}')), called("[]") + "%s"]
