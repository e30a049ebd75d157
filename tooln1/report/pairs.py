"""The calls of a response beside the ground truth: pairs of texts in one notation, and the first line that differs."""

import json
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from tooln1.files import shorten
from tooln1.reward_score import toolcall, toolcall_paper

# So many pairs, and characters of each call, are shown: a response may hold a million calls.
MOST_PAIRS, LONGEST_CALL = 12, 4000
_PLAIN = json.JSONDecoder()  # the reward's own decoder wraps numbers

Pair = tuple[str | None, str | None, int | None]


def pair_calls(response: str, ground_truth: str, reward: str = "strict") -> list[Pair] | None:
    """Pair the calls of a response with the expected calls.

    Args:
        response: the decoded response, any text at all.
        ground_truth: JSON text of the expected calls.
        reward: ``strict`` or ``paper``.

    Returns:
        (call, expected call, index of the first line that differs) for each pair: equal calls first, then calls of the
        same name, then the rest in order. A missing call is None, and so is the index for equal calls. None instead of
        the list if the calls of the response cannot be read.
    """
    try:
        got = [_lay_out(call) for call in _read_calls(response, reward)]
        expected = [_lay_out(call) for call in json.loads(ground_truth)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    pairs = [*_match(got, expected, lambda text: text), *_match(got, expected, lambda text: text.partition("\n")[0])]
    pairs += zip_longest(got, expected)
    return [(_cut(one), _cut(other), _first_difference(one, other)) for one, other in pairs[:MOST_PAIRS]]


def _read_calls(response: str, reward: str) -> list[dict[str, Any]]:
    if reward == "strict":
        return toolcall.decode_calls(toolcall.split_response(response)[1], _PLAIN)
    turn = toolcall_paper.last_turn(response)
    return toolcall_paper.decode_calls(turn[slice(*toolcall_paper.find_calls(turn))])


def _lay_out(call: dict[str, Any]) -> str:
    """Write a call on many lines, its name first and its keys in order, so that equal calls are equal texts."""
    return f"{call['name']}\n{json.dumps(call['arguments'], indent=2, ensure_ascii=False, sort_keys=True)}"


def _match(got: list[str], expected: list[str], key: Callable[[str], str]) -> list[tuple[str, str]]:
    """Take the pairs with the same key out of both lists, in the order of the response."""
    pairs, left = [], []
    for text in got:
        other = next((one for one in expected if key(one) == key(text)), None)
        if other is None:
            left.append(text)
        else:
            expected.remove(other)
            pairs.append((text, other))
    got[:] = left
    return pairs


def _first_difference(one: str | None, other: str | None) -> int | None:
    if one is None or other is None:
        return 0
    if one == other:
        return None
    left, right = one.split("\n"), other.split("\n")
    different = (index for index, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(different, min(len(left), len(right)) - 1)


def _cut(text: str | None) -> str | None:
    return None if text is None else shorten(text, LONGEST_CALL + 1)
