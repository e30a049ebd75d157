"""Random responses: right ones damaged piece by piece, words of the grammar in any order, and raw text.

    python tests/support/toolcall_fuzz.py --count 1000000 --seed 0

scores a million of them with both rewards, about 500 a second and core, and stops at the first that breaks a promise.
"""

import argparse
import json
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from toolcall_cases import F1, F2, G1, KEYS, ONE, REWARDS, THINK, TWO, VARIANTS, called, judge
from tqdm import tqdm

CHUNK = 2_000  # hypothesis keeps a record of all that it has drawn
ANY_TEXT = st.text(st.characters(exclude_categories=()))  # surrogates too, which text() leaves out
TAG_WORDS = ["<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_start|>assistant", "<|eot_id|>"]
ODD_TEXT = [*" \n\t\u00a0\u2028\ufeff\x00\x1f\x85\ud800\udfff\U0001f525", "\ud83d\ude00", "```json\n", "//", "text"]
JSON_WORDS = [
    *'[]{},:"\\-',
    *'"name" "arguments" "f" 1.0 true null NaN -Infinity 1e999 -0 \\ud800 \\u0000 \\u002c'.split(),
]
JSON_WORDS += ["9" * 5000, "0." + "1" * 5000, "'", F1, F2, G1, ONE, json.dumps(ONE)]
LONG = [*'<think> <tool_call> </tool_call> 1, [], {}, {"a":1}, a \\ " \u00e9'.split(), " ", F1 + ","]
DEEP = [("[", "]"), ('{"a":', "}"), ('{"name":', "}"), ("[{", "}]"), ("<think>", "</think>"), TAG_WORDS[2:4]]
VALUES = [1, 1.0, True, "1", 0, -0.0, None, [], {}, [1], {"x": 1}, "f", "<tool_call>", "a,b", 10**400, "\ud800"]

WORDS = st.sampled_from([*TAG_WORDS, *ODD_TEXT, *JSON_WORDS, THINK, called(ONE)])
GROUND_TRUTHS = st.sampled_from(
    ["[]", ONE, TWO, f"[{F1},{F2},{F1}]", '[{"name":"f","arguments":{"x":"a,b","y":-0.0}}]']
)


@st.composite
def swapped_types(draw):
    """Calls in which one part at any depth is another JSON value."""
    calls = json.loads(draw(GROUND_TRUTHS))
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
    """A right response with pieces cut, doubled, moved, wrapped in tags or replaced, or a span of text damaged."""
    calls = draw(GROUND_TRUTHS | swapped_types())
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


RESPONSES = (
    ANY_TEXT | st.lists(WORDS, max_size=12).map("".join) | floods() | floods().map(called) | damaged() | damaged()
)
EXAMPLES = st.tuples(RESPONSES, GROUND_TRUTHS, st.sampled_from(VARIANTS))


def examine(response, ground_truth, variant):
    """Score a response with both rewards and check all that must hold for any text."""
    strict, paper = (judge(response, ground_truth, reward, variant) for reward in REWARDS)
    for result in (strict, paper):
        assert all(result[key] in (0.0, 1.0) for key in KEYS[1:])
        assert result["acc"] <= result["arguments"] <= result["tool_name"] and result["acc"] <= result["format"]
        assert result["acc"] == 1.0 or result["score"] < 1.0 or variant == "binary_no_reason"
        assert result["score"] in (0.0, 0.2, 0.4, 0.8, 1.0)
    if response.count("</tool_call>") == 1 and "<|im_start|>" not in response and "-0" not in response + ground_truth:
        assert strict["acc"] <= paper["acc"], "strict pays only where paper does: but for tags in strings and for -0.0"


def examine_chunk(count, number):
    """Examine ``count`` responses that are drawn with the seed ``number``."""
    options = {"database": None, "deadline": None, "suppress_health_check": list(HealthCheck)}
    test = given(EXAMPLES)(lambda example: examine(*example))
    seed(number)(settings(max_examples=count, phases=[Phase.generate, Phase.shrink], **options)(test))()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="responses to score (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="decides the responses (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="default: one for each core")
    arguments = parser.parse_args()
    chunks = -(-arguments.count // CHUNK)
    first = arguments.seed * 1_000_000
    with ProcessPoolExecutor(arguments.processes) as pool:
        scored = pool.map(partial(examine_chunk, CHUNK), range(first, first + chunks))
        list(tqdm(scored, total=chunks, unit_scale=CHUNK, unit=" responses", disable=None))
    print(f"{chunks * CHUNK} responses scored by both rewards, nothing raised (seed {arguments.seed})")


if __name__ == "__main__":
    main()
