"""Why a response earns what it earns: the reason, one line about it, and the place where the response first goes wrong.

`explain` reads responses with the functions of the rewards, and says "correct" exactly where `compute_score` returns
``acc`` 1. It is about ten times slower than the reward.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tooln1.files import shorten, visible
from tooln1.reward_score import reward_function, toolcall, toolcall_paper
from tooln1.reward_score.toolcall import CALL, END_CALL, END_THINK, SPACE, THINK

CORRECT = "correct"
# Only the end of a value is wanted: its numbers are not computed, so that their length costs nothing.
_skip = json.JSONDecoder(parse_int=len, parse_float=len).raw_decode
_Path = list[str | int]  # the keys and indices that lead to a value
_Calls = list[tuple[Any, Any]]  # the name and the arguments of each call


@dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    Attributes:
        reason: The kind of mistake, in words shared by all responses that make it, or `CORRECT`.
        detail: One line about this response; empty if it is correct.
        position: The index in the response where the mistake shows first; None if the response is correct.
    """

    reason: str
    detail: str = ""
    position: int | None = None


def explain(response: str, ground_truth: str, reward: str = "strict") -> Explanation:
    """Say why a reward gives a response ``acc`` 1 or 0.

    Args:
        response: The decoded response, any text.
        ground_truth: JSON text of the expected calls.
        reward: ``strict`` or ``paper``.

    Returns:
        The first mistake in reading order; mistakes in the calls come after mistakes of form.

    Raises:
        ValueError: The ground truth is broken. Never because of the response.
    """
    if reward_function(reward)("", response, ground_truth)["acc"] == 1.0:
        return Explanation(CORRECT)
    try:
        return (_strict_mistake if reward == "strict" else _paper_mistake)(response, ground_truth)
    except RecursionError:  # the reward, whose stack is less deep, can read it
        return Explanation("nested too deeply", "more levels of brackets than can be compared", 0)


def mark(response: str, position: int, width: int = 100) -> str:
    """Return the part of the response around `position`, at most `width` characters, and a caret below the place."""
    start = max(0, position - width // 2)
    before, after = visible(response[start:position]), visible(response[position : start + width])
    before = ("…" if start else "") + before
    return f"{before}{after}{'…' if start + width < len(response) else ''}\n{' ' * len(before)}^"


def members(text: str, at: int = 0) -> Iterator[tuple[str | int, int]]:
    """Yield the key or index, and the start, of each value directly inside the JSON object or array at `at`.

    The text must be JSON. Other values have no members.
    """
    at = _after_space(text, at)
    closing = {"{": "}", "[": "]"}.get(text[at])
    if closing is None:
        return
    index, at = 0, _after_space(text, at + 1)
    while text[at] != closing:
        key = index
        if closing == "}":
            key, at = _skip(text, at)
            at = _after_space(text, at) + 1  # past the colon
        at = _after_space(text, at)
        yield key, at
        at = _after_space(text, value_end(text, at))
        if text[at] == ",":
            at = _after_space(text, at + 1)
        index += 1


def value_end(text: str, at: int) -> int:
    """Return where the JSON value that starts at `at` ends."""
    return _skip(text, at)[1]


def _strict_mistake(response: str, ground_truth: str) -> Explanation:
    reasoned, text = toolcall.split_response(response)
    tag = response.find(CALL)
    if not reasoned:
        return _reasoning_mistake(response, len(response) if tag < 0 else tag)
    if tag < 0:
        return Explanation(f"no {CALL}", "the response ends after the reasoning", len(response))
    start = _after_space(response, tag + len(CALL))
    last = response.rfind(END_CALL)
    if last < start:
        return Explanation(f"no {END_CALL}", "the response ends inside the calls", len(response))
    end = _after_space(response, last + len(END_CALL))
    if end < len(response):
        return Explanation("text after the calls", _short(response[end:]), end)
    try:
        calls = _pairs(toolcall.decode_calls(text))
    except (ValueError, RecursionError) as error:
        return _calls_mistake(response, start, last, error)
    return _difference(response, start, calls, ground_truth, _pairs(toolcall.decode_calls(ground_truth)))


def _reasoning_mistake(response: str, stop: int) -> Explanation:
    """The mistake before `stop`, where the calls or nothing follow; the reasoning part is known to be malformed."""
    start = _after_space(response, 0)
    if not response.startswith(THINK, start):
        detail = _short(response[start:]) or "the response is empty"
        return Explanation(f"does not start with {THINK}", detail, start)
    start += len(THINK)
    close = response.find(END_THINK, start, stop)
    inside = response[start : stop if close < 0 else close]
    for tag in (THINK, END_CALL):
        if tag in inside:
            return Explanation("a tag inside the reasoning", tag, start + inside.index(tag))
    if close < 0:
        where = f"before {CALL}" if stop < len(response) else "before the response ends"
        return Explanation(f"no {END_THINK}", where, stop)
    if not inside.strip(SPACE):
        return Explanation("blank reasoning", f"nothing between {THINK} and {END_THINK}", start)
    end = _after_space(response, close + len(END_THINK))
    return Explanation("text between reasoning and calls", _short(response[end:stop]), end)


def _calls_mistake(response: str, start: int, last: int, error: Exception) -> Explanation:
    """The mistake that made `decode_calls` raise `error` for the calls from `start` to the closing tag at `last`."""
    if isinstance(error, RecursionError):
        return Explanation("nested too deeply", "more levels of brackets than the decoder takes", start)
    if isinstance(error, json.JSONDecodeError):
        return Explanation("calls are not JSON", error.msg, min(start + error.pos, len(response)))
    try:
        end = _after_space(response, value_end(response, start))
    except (ValueError, RecursionError):  # more is wrong after the first mistake
        return Explanation("calls are not JSON", str(error), start)
    if response.startswith(END_CALL, end) and end != last:
        end = _after_space(response, end + len(END_CALL))
    if end < last:
        return Explanation("text after the calls", _short(response[end:]), end)
    kind = "calls are not JSON" if "repeats" in str(error) or "not JSON" in str(error) else "not a list of calls"
    return Explanation(kind, str(error), start)


def _paper_mistake(response: str, ground_truth: str) -> Explanation:
    turn = toolcall_paper.last_turn(response)
    offset = len(response) - len(turn)
    first, last = toolcall_paper.find_calls(turn)
    if not last:
        return Explanation(f"no pair of {CALL} and {END_CALL}", _short(turn) or "nothing to read", offset)
    inside = turn[first:last]
    start = offset + first + len(inside) - len(inside.lstrip())
    try:
        calls = toolcall_paper.decode_calls(inside)
    except toolcall_paper.ScorerRaises as error:
        return Explanation("the released scorer raises", str(error), start)
    except json.JSONDecodeError as error:
        return Explanation("calls are not JSON", error.msg, min(start + error.pos, len(response)))
    except ValueError as error:
        return Explanation("not a list of calls", str(error), start)
    for tag in (THINK, END_THINK):
        if tag not in turn:
            return Explanation(f"no {tag}", "anywhere in the response", offset)
    return _difference(response, start, _dumped(calls), ground_truth, _dumped(json.loads(ground_truth)))


def _pairs(calls: list[dict[str, Any]]) -> _Calls:
    return [(call["name"], call["arguments"]) for call in calls]


def _dumped(calls: list[dict[str, Any]]) -> _Calls:
    """The pairs with each number as the text of its JSON dump, which the paper reward compares."""
    kept = dict.fromkeys(("parse_int", "parse_float", "parse_constant"), lambda text: (text,))
    return [(name, json.loads(json.dumps(arguments, sort_keys=True), **kept)) for name, arguments in _pairs(calls)]


def _difference(response: str, start: int, calls: _Calls, ground_truth: str, expected: _Calls) -> Explanation:
    """The first difference between the calls, which start at `start`, and the ground truth's: they are not equal."""
    places, missing = list(range(len(calls))), list(range(len(expected)))
    for place in list(places):  # set aside the calls that are in both, in any order
        if (other := next((one for one in missing if expected[one] == calls[place]), None)) is not None:
            places.remove(place)
            missing.remove(other)
    if len(calls) != len(expected):
        at, _ = _span(response, start, places[:1])
        return Explanation("wrong number of calls", f"{len(calls)} instead of {len(expected)}", at)
    for place in places:
        for other in missing:
            if expected[other][0] == calls[place][0]:
                path = _first_difference(calls[place][1], expected[other][1])
                at, end = _span(response, start, [place, "arguments", *path])
                wanted_at, wanted_end = _span(ground_truth, 0, [other, "arguments", *path])
                got, wanted = response[at:end] or "nothing", ground_truth[wanted_at:wanted_end] or "nothing"
                name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
                detail = f"{_short(name or 'arguments')} is {_short(got)} instead of {_short(wanted)}"
                return Explanation("wrong arguments", detail, at)
    name, wanted = calls[places[0]][0], expected[missing[0]][0]
    at, _ = _span(response, start, [places[0], "name"])
    return Explanation("wrong tool", f"{_short(str(name))} instead of {_short(str(wanted))}", at)


def _first_difference(got: Any, wanted: Any) -> _Path:
    """The path to the first part in which two different JSON values differ."""
    if isinstance(got, dict) and isinstance(wanted, dict):
        for key in [*wanted, *(key for key in got if key not in wanted)]:
            if key not in got or key not in wanted:
                return [key]
            if got[key] != wanted[key]:
                return [key, *_first_difference(got[key], wanted[key])]
    if isinstance(got, list) and isinstance(wanted, list):
        for index, (one, other) in enumerate(zip(got, wanted, strict=False)):
            if one != other:
                return [index, *_first_difference(one, other)]
        return [min(len(got), len(wanted))]
    return []


def _span(text: str, start: int, path: _Path) -> tuple[int, int]:
    """Where the value at `path` of the JSON value at `start` begins and ends.

    If the path leads nowhere (an absent key, a value in a string that was decoded twice, one call without its list), it
    is the innermost value that was found, and its end is 0.
    """
    at = _after_space(text, start)
    try:
        if path and isinstance(path[0], int) and text.startswith("{", at):
            path = path[1:]  # the paper reward takes one call for a list of it
        for step in path:
            found = [place for key, place in members(text, at) if key == step]
            if not found:
                return at, 0
            at = found[-1]  # of a repeated key the last counts
        return at, value_end(text, at)
    except (ValueError, RecursionError, IndexError):
        return at, 0


def _after_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at


def _short(text: str) -> str:
    return shorten(visible(text), 60)
