"""Random replies for the reward: right ones damaged piece by piece, words of the grammar in any order, and raw text.

test_toolcall_fuzz.py draws a few thousand, fuzz_million.py as many as it is told to.
"""

import json

from hypothesis import strategies as st
from toolcall_cases import F1, F2, G1, KEYS, ONE, PROFILES, THINK, TWO, VARIANTS, called, judge

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates too, which text() leaves out
TAG_WORDS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_start|>assistant", "<|eot_id|>"]
ODD_TEXT = [*" \n\t\u00a0\u2028\ufeff\x00\x1f\x85\ud800\udfff\U0001f525", "\ud83d\ude00", "```json\n", "//", "text"]
JSON_WORDS = [*'[]{},:"\\-', '"name"', '"arguments"', '"f"', "1.0", "true", "null", "NaN", "-Infinity", "1e999", "-0"]
JSON_WORDS += [
    "9" * 5000,
    "0." + "1" * 5000,
    "\\ud800",
    "\\u0000",
    "\\u002c",
    "'",
    "//",
    F1,
    F2,
    G1,
    ONE,
    json.dumps(ONE),
]
LONG = [
    "<think>",
    "<tool_call>",
    "</tool_call>",
    "1,",
    "[],",
    "{},",
    " ",
    "a",
    "\\",
    '"',
    "\u00e9",
    '{"a":1},',
    F1 + ",",
]
DEEP = [
    ("[", "]"),
    ('{"a":', "}"),
    ('{"name":', "}"),
    ("[{", "}]"),
    ("<think>", "</think>"),
    ("<tool_call>", "</tool_call>"),
]
VALUES = [1, 1.0, True, "1", 0, -0.0, None, [], {}, [1], {"x": 1}, "f", "<tool_call>", "a,b", 10**400, "\ud800"]

WORDS = st.sampled_from([*TAG_WORDS, *ODD_TEXT, *JSON_WORDS, THINK, called(ONE)])
REFERENCES = st.sampled_from(["[]", ONE, TWO, f"[{F1},{F2},{F1}]", '[{"name":"f","arguments":{"x":"a,b","y":-0.0}}]'])


@st.composite
def swapped_types(draw):
    """Calls in which one part at any depth is another JSON value."""
    calls = json.loads(draw(REFERENCES))
    parent, key = [calls], 0
    while isinstance(parent[key], list | dict) and parent[key] and draw(st.booleans()):
        parent, keys = parent[key], list(parent[key]) if isinstance(parent[key], dict) else range(len(parent[key]))
        key = draw(st.sampled_from(keys))
    parent[key] = draw(st.sampled_from(VALUES))
    return json.dumps(parent[0] if parent is not calls and isinstance(parent, list) and key == 0 else calls)


@st.composite
def floods(draw):
    """A unit repeated, or a pair of brackets nested, hundreds to thousands of times."""
    count = draw(st.sampled_from([2, 300, 990, 3000]))
    if draw(st.booleans()):
        return draw(st.sampled_from(LONG)) * count
    opening, closing = draw(st.sampled_from(DEEP))
    return opening * count + draw(st.sampled_from(["", "1"])) + closing * draw(st.sampled_from([count, count - 1, 0]))


@st.composite
def damaged(draw):
    """A right reply with a few pieces cut, doubled, moved, wrapped in tags or replaced, or a span of text damaged."""
    calls = draw(REFERENCES | swapped_types())
    pieces = [
        "<think>",
        draw(st.sampled_from(["one call", "a < b", ""])),
        "</think>",
        "<tool_call>",
        calls,
        "</tool_call>",
    ]
    for change in draw(st.lists(st.sampled_from("cdmwrsi"), min_size=1, max_size=4)):
        at = draw(st.integers(0, len(pieces) - 1))
        if change == "c":
            pieces[at] = ""
        elif change == "d":
            pieces.insert(at, pieces[at])
        elif change == "m":
            pieces.insert(draw(st.integers(0, len(pieces) - 1)), pieces.pop(at))
        elif change == "w":
            pieces[at] = draw(st.sampled_from(TAG_WORDS)) + pieces[at] + draw(st.sampled_from(TAG_WORDS))
        elif change == "r":
            pieces[at] = draw(WORDS | floods())
        else:
            start = draw(st.integers(0, len(pieces[at])))
            stop = start if change == "i" else draw(st.integers(start, len(pieces[at])))
            pieces[at] = pieces[at][:start] + draw(WORDS | floods()) + pieces[at][stop:]
    return "".join(pieces)


REPLIES = ANY_TEXT | st.lists(WORDS, max_size=12).map("".join) | floods() | floods().map(called) | damaged() | damaged()
EXAMPLES = st.tuples(REPLIES, REFERENCES, st.sampled_from(VARIANTS))


def examine(reply, reference, variant):
    """Score a reply in both profiles and check all that must hold for any text whatever."""
    strict, paper = (judge(reply, reference, profile, variant) for profile in PROFILES)
    for result in (strict, paper):
        assert all(result[key] in (0.0, 1.0) for key in KEYS[1:])
        assert result["acc"] <= result["arguments"] <= result["tool_name"] and result["acc"] <= result["format"]
        assert result["acc"] == 1.0 or result["score"] < 1.0 or variant == "binary_no_reason"
        assert result["score"] in (0.0, 0.2, 0.4, 0.8, 1.0)
    if reply.count("</tool_call>") == 1 and "<|im_start|>" not in reply and "-0" not in reply + reference:
        assert strict["acc"] <= paper["acc"], (
            "tags in strings and signed zeros apart, strict pays only where paper does"
        )
