# Copyright 2025 Individual Contributor: The tooln1 authors
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
"""The reward of the paper's released scorer, leniency included, for those who rerun Tool-N1's experiments.

    text before the last "<|im_start|>assistant" is ignored
    reasoning counts if "<think>" and "</think>" both occur anywhere
    pairs of call tags are matched from the left: each starts at the next "<tool_call>" and ends at the first
        "</tool_call>" after it
    the inside of the last pair is decoded as JSON, NaN and Infinity included; a decoded string is decoded once more; a
        decoded object becomes a list of one
    every item must be an object with "name" and "arguments"; further keys pass
    two empty lists match, one empty list never does; else the multisets of (name, JSON dump of the arguments with
        sorted keys) must be equal

A response on which the released scorer raises (a bare number, true, deep nesting, a huge integer) earns 0.
"""

import json
from collections import Counter
from functools import lru_cache
from typing import Any

from tooln1.reward_score.toolcall import CALL, END_CALL, END_THINK, THINK, make_result, read_ground_truth

TURN = "<|im_start|>assistant"
_dump = json.JSONEncoder(sort_keys=True).encode


class ScorerRaises(ValueError):
    """Raised for calls on which the released scorer raises."""


def last_turn(response: str) -> str:
    """Return the part of a response that is scored."""
    return response.rpartition(TURN)[2]


def find_calls(turn: str) -> tuple[int, int]:
    """Return where the inside of the last pair of call tags starts and ends; (0, 0) without a pair."""
    start = stop = end = 0
    while (tag := turn.find(CALL, end)) >= 0 and (close := turn.find(END_CALL, tag)) >= 0:
        start, stop, end = tag + len(CALL), close, close + len(END_CALL)
    return start, stop


def decode_calls(text: str) -> list[dict[str, Any]]:
    """Decode the inside of a pair.

    Raises:
        ScorerRaises: The released scorer raises.
        ValueError: The released scorer finds no list of calls; a JSONDecodeError if the text is not JSON.
    """
    try:
        calls = json.loads(text.strip())
        if isinstance(calls, str):
            calls = json.loads(calls)
    except json.JSONDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise ScorerRaises(f"a huge integer or deep nesting: {error}") from None
    if isinstance(calls, int | float):  # true and false too
        raise ScorerRaises("a number or a boolean is no list")
    calls = [calls] if isinstance(calls, dict) else calls
    if calls is None or not all(map(_is_call, calls)):
        raise ValueError('an item is not an object with "name" and "arguments"')
    return list(calls)  # an empty string passes like an empty list


def _is_call(item):
    return isinstance(item, dict) and "name" in item and "arguments" in item


@lru_cache(2048)  # the rollouts of a prompt share their ground truth
def _decode_ground_truth(text):
    calls = json.loads(text)
    if not isinstance(calls, list) or not all(map(_is_call, calls)):
        raise ValueError('not a JSON array of objects with "name" and "arguments"')
    return _pairs(calls), _count_names(calls), _count_calls(calls)


def _pairs(calls):
    return [(call["name"], call["arguments"]) for call in calls]


def _count_names(calls):
    return Counter(call["name"] for call in calls)


def _count_calls(calls):
    return Counter((name, _dump(arguments)) for name, arguments in _pairs(calls))


def compute_score(
    data_source, solution_str, ground_truth, extra_info=None, *, variant="binary", prompt_opens_think=False, **_
):
    """Score one response as the released scorer does. Arguments, result and errors: `toolcall.compute_score`."""
    expected, expected_names, expected_calls = read_ground_truth(_decode_ground_truth, ground_truth, extra_info)
    turn = last_turn(THINK + solution_str if prompt_opens_think else solution_str)
    reasoned = THINK in turn and END_THINK in turn
    formed = named = matched = False
    try:
        calls = decode_calls(turn[slice(*find_calls(turn))])
        formed = True
        named = _count_names(calls) == expected_names
        # Equal dumps come from calls that are equal in Python, where 1 == 1.0 == True. Others need no dump.
        matched = named and all(pair in expected for pair in _pairs(calls)) and _count_calls(calls) == expected_calls
    except (ScorerRaises, RecursionError):
        reasoned = formed = named = matched = False
    except (TypeError, ValueError):  # a name that cannot be hashed; no list of calls
        pass
    return make_result(variant, reasoned, formed, named, matched)
