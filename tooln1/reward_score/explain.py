"""Why a reply earns what it earns: the reason, one line about it, and the place in the reply where it first goes wrong.

It reads replies with the functions of `toolcall`, and says "correct" where, and only where, `compute_score` returns
``acc`` 1. It is some ten times slower, which is why it stands apart from the reward.
"""

import json
from dataclasses import dataclass
from typing import Any

from tooln1.reward_score import toolcall
from tooln1.reward_score.toolcall import CALL, END_CALL, END_THINK, SPACE, THINK

CORRECT = "correct"
_TAGS_IN_REASONING = (THINK, END_CALL)
# Values are only passed over here, so a number need not be computed, however long it is.
_SKIP = json.JSONDecoder(parse_int=len, parse_float=len).raw_decode


@dataclass(frozen=True)
class Explanation:
    """What `explain` found.

    Attributes:
        reason: The kind of fault, in words shared by all replies that have it, or `CORRECT`.
        detail: One line about this reply; empty if it is correct.
        position: The index in the reply where the fault shows first; None if it is correct.
    """

    reason: str
    detail: str = ""
    position: int | None = None


def explain(solution_str: str, ground_truth: str, *, profile: str = "strict") -> Explanation:
    """Say why `toolcall.compute_score` gives a reply the binary reward that it does.

    Args:
        solution_str: The decoded reply, any text at all.
        ground_truth: JSON text of the reference calls.
        profile: ``strict`` or ``paper``.

    Returns:
        The first fault in reading order; faults of the calls come after faults of the form.

    Raises:
        ValueError: The ground truth is broken or the profile is unknown. Never because of the reply.
    """
    if toolcall.compute_score("", solution_str, ground_truth, profile=profile)["acc"] == 1.0:
        return Explanation(CORRECT)
    try:
        return (_strict_fault if profile == "strict" else _paper_fault)(solution_str, ground_truth)
    except RecursionError:  # read by the reward, whose stack is less deep, but not compared here
        return Explanation("nested too deeply", "more levels of brackets than can be compared", 0)


def mark(reply: str, position: int, width: int = 100) -> str:
    """The part of the reply around `position` on one line, at most `width` characters, and a caret below the place."""
    start = max(0, position - width // 2)
    before, after = (visible(part) for part in (reply[start:position], reply[position : start + width]))
    before = ("…" if start else "") + before
    return f"{before}{after}{'…' if start + width < len(reply) else ''}\n{' ' * len(before)}^"


def visible(text: str) -> str:
    """The text with line breaks and what else a terminal would not show as it is written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _shorten(text: str, width: int = 60) -> str:
    text = visible(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def _strict_fault(reply: str, ground_truth: str) -> Explanation:
    reasoned, text = toolcall.split_reply(reply)
    tag = reply.find(CALL)
    if not reasoned:
        return _reasoning_fault(reply, len(reply) if tag < 0 else tag)
    if tag < 0:
        return Explanation(f"no {CALL}", "the reply ends after the reasoning", len(reply))
    start = _skip_space(reply, tag + len(CALL))
    try:
        calls = toolcall.decode_calls(text, toolcall.STRICT_JSON)
        toolcall.check_calls(calls)
    except (ValueError, RecursionError) as error:
        return _calls_fault(reply, start, error)
    expected = toolcall.STRICT_JSON.decode(ground_truth)
    return _difference(reply, start, _pairs(calls), ground_truth, _pairs(expected))


def _reasoning_fault(reply: str, stop: int) -> Explanation:
    """The first fault before `stop`, where the calls or nothing follow; the reasoning part is known to have one."""
    start = _skip_space(reply, 0)
    if not reply.startswith(THINK, start):
        return Explanation(f"does not start with {THINK}", _shorten(reply[start:]) or "the reply is empty", start)
    start += len(THINK)
    close = reply.find(END_THINK, start, stop)
    inside = reply[start : stop if close < 0 else close]
    for tag in _TAGS_IN_REASONING:
        if tag in inside:
            return Explanation("a tag inside the reasoning", tag, start + inside.index(tag))
    if close < 0:
        before = f"before {CALL}" if stop < len(reply) else "before the reply ends"
        return Explanation(f"no {END_THINK}", before, stop)
    if not inside.strip(SPACE):
        return Explanation("blank reasoning", f"nothing between {THINK} and {END_THINK}", start)
    end = _skip_space(reply, close + len(END_THINK))
    return Explanation("text between reasoning and calls", _shorten(reply[end:stop]), end)


def _calls_fault(reply: str, start: int, error: Exception) -> Explanation:
    """What `error`, raised while the calls that start at `start` were read in the strict profile, means."""
    if isinstance(error, RecursionError):
        return Explanation("nested too deeply", "more levels of brackets than the decoder takes", start)
    last = reply.rfind(END_CALL)
    if not reply.rstrip(SPACE).endswith(END_CALL):
        if last < start:
            return Explanation(f"no {END_CALL}", "the reply ends inside the calls", len(reply))
        end = _skip_space(reply, last + len(END_CALL))
        return Explanation("text after the calls", _shorten(reply[end:]), end)
    if isinstance(error, json.JSONDecodeError):
        return Explanation("calls are not JSON", error.msg, min(start + error.pos, len(reply)))
    try:
        _, end = _SKIP(reply, start)
    except (ValueError, RecursionError):
        return Explanation("calls are not JSON", str(error), start)
    end = _skip_space(reply, end)
    if reply.startswith(END_CALL, end) and end != last:
        end = _skip_space(reply, end + len(END_CALL))
    if end < last:
        return Explanation("text after the calls", _shorten(reply[end:]), end)
    if "repeats" in str(error) or "not JSON" in str(error):
        return Explanation("calls are not JSON", str(error), start)
    return Explanation("not a list of calls", str(error), start)


def _paper_fault(reply: str, ground_truth: str) -> Explanation:
    offset = len(reply) - len(reply.rpartition(toolcall.PAPER_TURN)[2])
    turn = reply[offset:]
    first, last = toolcall.paper_span(turn)
    start = offset + first
    start += len(turn[first:last]) - len(turn[first:last].lstrip())
    if not last:
        return Explanation(f"no pair of {CALL} and {END_CALL}", _shorten(turn) or "nothing to read", offset)
    try:
        calls = toolcall.paper_calls(turn[first:last])
    except json.JSONDecodeError as error:
        return Explanation("calls are not JSON", error.msg, min(start + error.pos, len(reply)))
    except (ValueError, RecursionError):
        return Explanation("the released scorer raises", "a huge integer or deep nesting", start)
    if isinstance(calls, int | float):
        return Explanation("the released scorer raises", "a number or a boolean is no list", start)
    if calls is None or not toolcall.paper_formed(calls):
        return Explanation("not a list of calls", 'an item is not an object with "name" and "arguments"', start)
    for tag in (THINK, END_THINK):
        if tag not in turn:
            return Explanation(f"no {tag}", "anywhere in the reply", offset)
    expected = _pairs(toolcall.paper_decode(ground_truth), _as_dumped)
    return _difference(reply, start, _pairs(calls, _as_dumped), ground_truth, expected)


def _as_dumped(value: Any) -> Any:
    """The value with its numbers as the texts of its JSON dump: what the paper profile compares."""
    text = json.dumps(value, sort_keys=True)
    return json.loads(text, **dict.fromkeys(("parse_int", "parse_float", "parse_constant"), lambda one: (one,)))


def _pairs(calls: list, normalise=lambda value: value) -> list[tuple]:
    return [(call["name"], normalise(call["arguments"])) for call in calls]


def _difference(reply: str, start: int, calls: list[tuple], ground_truth: str, expected: list[tuple]) -> Explanation:
    """The first difference between two lists of (name, arguments) which are not equal as multisets."""
    places, missing = list(range(len(calls))), list(range(len(expected)))
    for place in list(places):  # what is right in both is set aside, whatever its order
        if (other := next((one for one in missing if expected[one] == calls[place]), None)) is not None:
            places.remove(place)
            missing.remove(other)
    if len(calls) != len(expected):
        path = [places[0]] if places else []
        detail = f"{len(calls)} instead of {len(expected)}"
        return Explanation("wrong number of calls", detail, _span(reply, start, path)[0])
    for place in places:
        for other in missing:
            if expected[other][0] == calls[place][0]:
                return _wrong_arguments(reply, start, place, calls[place][1], ground_truth, other, expected[other][1])
    name, wanted = calls[places[0]][0], expected[missing[0]][0]
    detail = f"{_shorten(str(name))} instead of {_shorten(str(wanted))}"
    return Explanation("wrong tool", detail, _span(reply, start, [places[0], "name"])[0])


def _wrong_arguments(reply, start, place, arguments, ground_truth, other, wanted) -> Explanation:
    try:
        path = _path(arguments, wanted)
    except RecursionError:
        path = []
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".") or "arguments"
    at, end = _span(reply, start, [place, "arguments", *path])
    wanted_at, wanted_end = _span(ground_truth, 0, [other, "arguments", *path])
    got = reply[at:end] if end else "nothing"
    should = ground_truth[wanted_at:wanted_end] if wanted_end else "nothing"
    detail = f"{_shorten(name)} is {_shorten(got)} instead of {_shorten(should)}"
    return Explanation("wrong arguments", detail, at)


def _path(got: Any, wanted: Any) -> list:
    """The keys and indices that lead to the first part in which two different JSON values differ."""
    if isinstance(got, dict) and isinstance(wanted, dict):
        keys = [*wanted, *(key for key in got if key not in wanted)]
        for key in keys:
            if key not in got or key not in wanted:
                return [key]
            if got[key] != wanted[key]:
                return [key, *_path(got[key], wanted[key])]
    if isinstance(got, list) and isinstance(wanted, list):
        for index, pair in enumerate(zip(got, wanted, strict=False)):
            if pair[0] != pair[1]:
                return [index, *_path(*pair)]
        return [min(len(got), len(wanted))]
    return []


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in SPACE:
        at += 1
    return at


def _span(text: str, start: int, path: list) -> tuple[int, int]:
    """Where the value at `path` of the JSON value at `start` begins and ends.

    Where the path leads nowhere (a key left out, a value inside a string that was decoded twice, one call without its
    list), it is the innermost value that was found, and the end is 0.
    """
    at = _skip_space(text, start)
    try:
        if path and isinstance(path[0], int) and text.startswith("{", at):
            path = path[1:]  # the paper profile takes one call for a list of it
        for step in path:
            found = None
            for key, value in _members(text, at):
                found = value if key == step else found  # of a repeated key the last counts
                if found is not None and isinstance(step, int):
                    break
            if found is None:
                return at, 0
            at = found
        return at, _SKIP(text, at)[1]
    except (ValueError, RecursionError, IndexError):
        return at, 0


def _members(text: str, at: int):
    """Yield the key or index, and the start, of each value directly inside the JSON object or array at `at`."""
    closing = {"{": "}", "[": "]"}.get(text[at])
    if closing is None:
        return
    index, at = 0, _skip_space(text, at + 1)
    while text[at] != closing:
        key = index
        if closing == "}":
            key, at = _SKIP(text, at)
            at = _skip_space(text, at) + 1  # past the colon
        at = _skip_space(text, at)
        yield key, at
        at = _skip_space(text, _SKIP(text, at)[1])
        if text[at] == ",":
            at = _skip_space(text, at + 1)
        index += 1
