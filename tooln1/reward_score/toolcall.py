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
"""Rule-based reward of Tool-N1 (https://arxiv.org/abs/2505.00024): reason, then make exactly the expected tool calls.

    response  = "<think>" reasoning "</think>" "<tool_call>" calls "</tool_call>"
    reasoning = text, not blank, up to the first "</think>", free of "<think>", "<tool_call>" and "</tool_call>"
    calls     = a JSON array (RFC 8259) of objects with exactly the keys "name" (string) and "arguments" (object)

White space (space, tab, CR, LF) is allowed around every piece; nothing else may stand before, between or after. The
first "<tool_call>" divides a response: the text before it must be the reasoning part, the rest the calls part, and each
part is judged by itself. A tag inside a JSON string is only text. An object that repeats a key is an error. Calls match
as a multiset, arguments as JSON values: key order is free, list order is not, and 1, 1.0, true and "1" are four values.
Any response gets a score, in time linear in its length.
"""

import json
import math
import re
from functools import lru_cache

THINK, END_THINK, CALL, END_CALL = TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
SPACE = " \t\r\n"  # a bare strip() and "\s" also take NBSP, U+2028 and others, which JSON does not
_OPENING = re.compile(f"[{SPACE}]*{THINK}[{SPACE}]*")

VARIANTS = {
    "binary": lambda reasoned, named, matched: float(reasoned and matched),
    "binary_no_reason": lambda reasoned, named, matched: float(matched),
    "partial_reason": lambda reasoned, named, matched: 0.2 * reasoned + 0.8 * matched,
    "partial_reason_name": lambda reasoned, named, matched: 0.2 * reasoned + (0.8 if matched else 0.2 * named),
}


def split_response(response: str) -> tuple[bool, str]:
    """Return whether the reasoning part is well-formed, and the text between the call tags ("" if one is missing)."""
    opening = _OPENING.match(response)
    start = opening.end() if opening else 0
    # No tag starts before the first "<", and one character is found many times faster than a word.
    first = max(0, response.find("<", start))
    tag = response.find(CALL, first)
    stop = len(response) if tag < 0 else tag
    end = response.find(END_THINK, first, stop)
    reasoned = (
        opening is not None
        and start < end  # not blank: the opening includes the white space after <think>
        and (first == end or response.find(THINK, first, end) < 0 and response.find(END_CALL, first, end) < 0)
        and not response[end + len(END_THINK) : stop].strip(SPACE)
    )
    calls = response[stop + len(CALL) :].rstrip(SPACE)
    return reasoned, calls[: -len(END_CALL)] if calls.endswith(END_CALL) else ""


# In Python 1 == 1.0 == True. As a 1-tuple, which JSON yields nowhere else, a number equals only its own kind.
def _int(text):
    return ("0",) if text == "-0" else (text,)  # as text, because int() takes quadratic time


def _float(text):
    value = float(text)
    return (value,) if math.isfinite(value) else (text,)  # as floats, 1e400 and 1e500 would be equal


def _object(pairs):
    value = dict(pairs) if pairs else {}
    if len(value) != len(pairs):  # parsers disagree on which value holds: the tool could be given another call
        raise ValueError("an object repeats a key")
    return value


def _constant(text):
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant)


def decode_calls(text: str, decoder: json.JSONDecoder = _DECODER) -> list[dict]:
    """Decode a JSON array of calls, numbers as 1-tuples; ValueError or RecursionError if it is malformed."""
    text = text.strip(SPACE)
    calls, end = decoder.raw_decode(text)
    if end < len(text) or type(calls) is not list:
        raise ValueError("not a single JSON array")
    for position, call in enumerate(calls):
        named = type(call) is dict and len(call) == 2 and type(call.get("name")) is str
        if not named or type(call.get("arguments")) is not dict:
            raise ValueError(f'item {position} is not an object of exactly "name" (string) and "arguments" (object)')
    return calls


_decode_ground_truth = lru_cache(2048)(decode_calls)  # the rollouts of a prompt share their ground truth


def read_ground_truth(decode, ground_truth, extra_info):
    """Return ``decode(ground_truth)``; a ValueError that names the row if the ground truth is broken."""
    try:
        if not isinstance(ground_truth, str):
            raise TypeError(f"JSON text expected, not {type(ground_truth).__name__}")
        return decode(ground_truth)
    except (TypeError, ValueError, RecursionError) as error:
        index = (extra_info or {}).get("index")
        row = "" if index is None else f" of row {index}"
        raise ValueError(f"broken ground truth{row}: {error}; it reads {ground_truth!r:.200}") from error


def _is_permutation(items, expected):
    left = list(expected)
    for item in items:
        if item not in left:
            return False
        left.remove(item)
    return not left


def make_result(variant: str, reasoned: bool, formed: bool, named: bool, matched: bool) -> dict[str, float]:
    """Return what `compute_score` returns."""
    if variant not in VARIANTS:
        raise ValueError(f"{variant=} is not one of {', '.join(VARIANTS)}")
    return {
        "score": VARIANTS[variant](reasoned, named, matched),
        "acc": float(reasoned and matched),
        "format": float(reasoned and formed),
        "tool_name": float(named),
        "arguments": float(matched),
    }


def compute_score(
    data_source, solution_str, ground_truth, extra_info=None, *, variant="binary", prompt_opens_think=False, **_
):
    """Score one response of a tool-calling model; ValueError if the ground truth is broken or the variant unknown.

    Args:
        data_source (str): Not read; the rule is the same for every source.
        solution_str (str): The decoded response, any text.
        ground_truth (str): JSON text of the expected calls, ``[{"name": ..., "arguments": {...}}, ...]``.
        extra_info (dict | None): Its ``index``, if it has one, names the row in an error.
        variant (str): What ``score`` pays: a key of VARIANTS.
        prompt_opens_think (bool): The prompt ends with ``<think>``, so that the response begins inside the reasoning.

    Returns:
        dict[str, float]: ``score``, the reward; ``acc``, the binary reward in every variant; ``format``, 1 if both
        parts are well-formed; ``tool_name``, 1 if the names match; ``arguments``, 1 if the calls match.
    """
    expected = read_ground_truth(_decode_ground_truth, ground_truth, extra_info)
    reasoned, text = split_response(THINK + solution_str if prompt_opens_think else solution_str)
    try:
        # Only what ends like a list of objects, or an empty one, is decoded: a collapsed model rarely gets that far.
        if not text.rstrip(SPACE)[:-1].rstrip(SPACE).endswith(("}", "[")):
            raise ValueError("not a list of calls")
        calls = decode_calls(text)
        matched = calls == expected or _is_permutation(calls, expected)
        named = matched or _is_permutation([call["name"] for call in calls], [call["name"] for call in expected])
        formed = True
    except (ValueError, RecursionError):
        formed = named = matched = False
    return make_result(variant, reasoned, formed, named, matched)
