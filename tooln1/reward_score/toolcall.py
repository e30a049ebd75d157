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
"""Rule-based reward for tool calling: reason in <think>, call in <tool_call>, and call just what the reference calls.

The rule is Tool-N1's (https://arxiv.org/abs/2505.00024). The profile "strict" accepts this grammar, with space, tab, CR
and LF allowed around every piece, and nothing else anywhere:

    reply     = "<think>" reasoning "</think>" "<tool_call>" calls "</tool_call>"
    reasoning = text, not blank, up to the first "</think>", free of "<think>", "<tool_call>" and "</tool_call>"
    calls     = a JSON array (RFC 8259) of objects with exactly the keys "name" (string) and "arguments" (object)

The first "<tool_call>" divides a reply: the reasoning part must fill all before it, the calls part all from it on, and
each is judged on its own. A tag inside a JSON string is only text. Calls match as a multiset, arguments as JSON values:
key order is free, list order is not, and 1, 1.0, true and "1" are four different values. A repeated key is an error.

The profile "paper" returns what the paper's released scorer returns, leniency included (tags anywhere, the last pair of
call tags counts, NaN and further keys pass), and 0 where that scorer raises.

Any reply gets a score, in time linear in its length. A broken ground truth raises.
"""

import json
import math
import re
from collections import Counter
from functools import lru_cache

THINK, END_THINK, CALL, END_CALL = "<think>", "</think>", "<tool_call>", "</tool_call>"
SPACE = " \t\r\n"  # a bare strip() and "\s" also take NBSP, U+2028 and others, which JSON does not
_OPENING = re.compile(f"[{SPACE}]*{THINK}[{SPACE}]*")
PAPER_TURN = "<|im_start|>assistant"
MOST_DIGITS = 4300  # CPython's default bound on the text of an integer
_CACHED_ROWS = 2048  # the rollouts of a prompt share its ground truth; holds the paper's batch of 1024 twice

_VARIANTS = {
    "binary": lambda reasoned, named, matched: float(reasoned and matched),
    "binary_no_reason": lambda reasoned, named, matched: float(matched),
    "partial_reason": lambda reasoned, named, matched: 0.2 * reasoned + 0.8 * matched,
    "partial_reason_name": lambda reasoned, named, matched: 0.2 * reasoned + (0.8 if matched else 0.2 * named),
}


# In Python 1 == 1.0 == True. Decoded to a 1-tuple, which JSON yields nowhere else, a number equals only its own kind,
# and comparing stays in C. An integer keeps its text, so that its length costs nothing; other numbers become floats.
def _int(text):
    return ("0",) if text == "-0" else (text,)


def _float(text):
    value = float(text)
    return (value,) if math.isfinite(value) else (text,)  # as floats, 1e400 and 1e500 would be equal


def _object(pairs):
    # Parsers disagree on what a repeated key means: the scorer could see one call, and the tool be given another.
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object repeats a key")
    return value


def _constant(text):
    raise ValueError(f"{text} is not JSON")


def _object_form(pairs):
    if len(pairs) < 2:
        return _NO_CALL
    if len(pairs) == 2:  # dict() would cost more than all else here
        (first, name), (second, arguments) = pairs
        if first == "name" and second == "arguments":
            return {"name": name, "arguments": arguments}
        if first != second and first != "name" and first != "arguments":
            return _NO_CALL
    return _object(pairs)


STRICT_JSON = json.JSONDecoder(object_pairs_hook=_object, parse_int=_int, parse_float=_float, parse_constant=_constant)
# Reads the grammar and the names, but no values: a number is its length, and one dict stands for objects that are no
# calls and repeat no key. The first key shows cheaply that a list is not of calls, unless it is written with escapes.
_NO_CALL = {}
_FORM = json.JSONDecoder(object_pairs_hook=_object_form, parse_int=len, parse_float=len, parse_constant=_constant)
_FIRST_KEY = re.compile(rf'\[[{SPACE}]*(?:\]|{{[{SPACE}]*"(?:name"|arguments"|[^"\\]*\\))')


def check_calls(calls):
    if type(calls) is not list:
        raise ValueError("not a JSON array")
    for position, call in enumerate(calls):
        named = type(call) is dict and len(call) == 2 and type(call.get("name")) is str
        if not named or type(call.get("arguments")) is not dict:
            raise ValueError(f'item {position} is not an object of exactly "name" (string) and "arguments" (object)')


@lru_cache(_CACHED_ROWS)
def _strict_reference(ground_truth):
    calls = STRICT_JSON.decode(ground_truth)
    check_calls(calls)
    # Notation is free, but the commas of two equal values differ by no more than those written as an escape, \u002c.
    most_commas = ground_truth.count(",") + ground_truth.count("\\")
    return calls, list(map(calls.count, calls)), sorted(call["name"] for call in calls), most_commas


def split_reply(reply):
    """Return whether the reasoning part is right, and all that follows the first <tool_call>, stripped."""
    opening = _OPENING.match(reply)
    start = opening.end() if opening else 0
    # No tag starts before the first "<", and a single character is found many times faster than a word.
    angle = reply.find("<", start)
    if angle < 0:
        return False, ""
    tag = reply.find(CALL, angle)
    stop = len(reply) if tag < 0 else tag
    close = reply.find(END_THINK, angle, stop)
    reasoned = (
        opening is not None
        and start < close
        and (angle == close or reply.find(THINK, angle, close) < 0 and reply.find(END_CALL, angle, close) < 0)
        and not reply[close + len(END_THINK) : stop].strip(SPACE)
    )
    return reasoned, reply[stop + len(CALL) :].strip(SPACE)


def decode_calls(text, decoder):
    """Decode the calls from what follows the tag, their items unchecked; ValueError if the grammar is broken."""
    if not text.endswith(END_CALL):  # also spares decoding a reply that was cut off
        raise ValueError(f"does not end with {END_CALL}")
    calls, end = decoder.raw_decode(text)
    if text[end:].lstrip(SPACE) != END_CALL:
        raise ValueError(f"more than {END_CALL} follows the JSON array")
    return calls


def _strict_verdict(reply, reference):
    """Return whether the reasoning part is right, the calls part is, the names are as expected, and the calls are."""
    expected, expected_counts, expected_names, most_commas = reference
    reasoned, text = split_reply(reply)
    # Values are read only where the reference bounds their number: a flood of them cannot match.
    hopeless = text.count(",") > most_commas
    try:
        if hopeless and not _FIRST_KEY.match(text):
            return reasoned, False, False, False
        calls = decode_calls(text, _FORM if hopeless else STRICT_JSON)
        if not hopeless and calls == expected:  # what equals a checked reference needs no check
            return reasoned, True, True, True
        check_calls(calls)
        # Lengths first, or a reply could have as many names sorted as it likes.
        named = len(calls) == len(expected) and sorted([call["name"] for call in calls]) == expected_names
        matched = named and not hopeless and list(map(calls.count, expected)) == expected_counts
        return reasoned, True, named, matched
    except (ValueError, RecursionError):
        return reasoned, False, False, False


_PAPER_DUMP = json.JSONEncoder(sort_keys=True).encode


def _paper_int(text):
    # CPython's own bound can be lifted by the host, and int() takes quadratic time.
    if len(text.lstrip("-")) > MOST_DIGITS:
        raise ValueError(f"an integer of more than {MOST_DIGITS} digits")
    return int(text)


def paper_decode(text):
    return json.loads(text, parse_int=_paper_int)


def paper_span(reply):
    """Return where the inside of the last pair of call tags starts and ends; twice 0 without a pair."""
    first = last = end = 0
    while (tag := reply.find(CALL, end)) >= 0 and (close := reply.find(END_CALL, tag)) >= 0:
        first, last, end = tag + len(CALL), close, close + len(END_CALL)
    return first, last


def paper_calls(text):
    """Decode the inside of a pair, an empty one included; JSONDecodeError if it does not decode."""
    calls = paper_decode(text.strip())
    if isinstance(calls, str):
        calls = paper_decode(calls)
    return [calls] if isinstance(calls, dict) else calls


def paper_formed(calls):
    return all(isinstance(call, dict) and "name" in call and "arguments" in call for call in calls)


def _paper_count(pairs):
    return Counter((name, _PAPER_DUMP(arguments)) for name, arguments in pairs)


@lru_cache(_CACHED_ROWS)
def _paper_reference(ground_truth):
    calls = paper_decode(ground_truth)
    if not isinstance(calls, list) or not paper_formed(calls):
        raise ValueError('not a JSON array of objects with "name" and "arguments"')
    pairs = [(call["name"], call["arguments"]) for call in calls]
    return pairs, Counter(name for name, _ in pairs), _paper_count(pairs)


def _paper_verdict(reply, reference):
    """Return the same four as _strict_verdict."""
    expected, expected_names, expected_count = reference
    reply = reply.rpartition(PAPER_TURN)[2]
    reasoned = THINK in reply and END_THINK in reply
    try:
        calls = paper_calls(reply[slice(*paper_span(reply))])
        if isinstance(calls, int | float):  # also true and false: the released scorer raises
            return False, False, False, False
        # The items of a string decoded twice are its letters: only an empty one passes, like an empty list.
        if calls is None or not paper_formed(calls):
            return reasoned, False, False, False
        pairs = [(call["name"], call["arguments"]) for call in calls]
        try:
            named = Counter(name for name, _ in pairs) == expected_names
        except TypeError:  # a name that cannot be hashed
            return reasoned, True, False, False
        # Equal dumps come from values that are equal in Python, where 1 == 1.0 == True: most others need no dump.
        matched = named and all(pair in expected for pair in pairs) and _paper_count(pairs) == expected_count
        return reasoned, True, named, matched
    except json.JSONDecodeError:
        return reasoned, False, False, False
    except (ValueError, RecursionError):  # a huge integer, deep nesting: the released scorer raises
        return False, False, False, False


_PROFILES = {"strict": (_strict_reference, _strict_verdict), "paper": (_paper_reference, _paper_verdict)}


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str,
    extra_info: dict | None = None,
    *,
    variant: str = "binary",
    profile: str = "strict",
    **_,
) -> dict[str, float]:
    """Score one reply of a tool-calling model against its reference calls. Further keywords are ignored.

    Args:
        data_source: Not read; the rule is the same for every source.
        solution_str: The decoded reply, any text at all.
        ground_truth: JSON text of the reference calls, ``[{"name": ..., "arguments": {...}}, ...]``.
        extra_info: Its ``index``, where it has one, names the row in an error.
        variant: What ``score`` pays: ``binary`` 1 for reasoning and match; ``binary_no_reason`` 1 for a match;
            ``partial_reason`` 0.2 for reasoning and 0.8 for a match; ``partial_reason_name`` the same, and 0.2 for the
            right names without a match.
        profile: ``strict`` or ``paper``; see the module's docstring.

    Returns:
        Five floats on every path: ``score``, what trains; ``acc``, the binary reward whatever the variant; ``format``,
        1 if the reasoning part and the calls part are both right in form; ``tool_name``, 1 if the names equal the
        reference's as a multiset; ``arguments``, 1 if the calls do. The last two do not depend on the reasoning.

    Raises:
        ValueError: The ground truth is broken, or the variant or profile is unknown. Never because of the reply.
    """
    if profile not in _PROFILES or variant not in _VARIANTS:
        raise ValueError(f"{profile=} is not of {list(_PROFILES)}, or {variant=} not of {list(_VARIANTS)}")
    parse_reference, judge = _PROFILES[profile]
    try:
        if not isinstance(ground_truth, str):
            raise TypeError(f"JSON text expected, not {type(ground_truth).__name__}")
        reference = parse_reference(ground_truth)
    except (TypeError, ValueError, RecursionError) as error:
        index = (extra_info or {}).get("index")
        row = "" if index is None else f" of row {index}"
        raise ValueError(f"broken ground truth{row}: {error}; it reads {ground_truth!r:.200}") from error
    reasoned, formed, named, matched = judge(solution_str, reference)
    return {
        "score": _VARIANTS[variant](reasoned, named, matched),
        "acc": float(reasoned and matched),
        "format": float(reasoned and formed),
        "tool_name": float(named),
        "arguments": float(matched),
    }
