"""A reply's calls beside the reference's: pairs of texts in one notation, and the first line in which two differ."""

import json
from typing import Any

from tooln1.reward_score import toolcall, toolcall_paper

# As many pairs and characters of each call are shown; a reply may hold a million calls.
MOST_PAIRS, LONGEST_CALL = 12, 4000
_READ = json.JSONDecoder()

Pair = tuple[str | None, str | None, int | None]


def pair_calls(reply: str, ground_truth: str, reward: str = "strict") -> list[Pair] | None:
    """Pair the calls of a reply with those that were expected.

    Args:
        reply: The decoded reply, any text at all.
        ground_truth: JSON text of the reference calls.
        reward: ``strict`` or ``paper``.

    Returns:
        (call, expected call, index of the first line that differs) for each pair: equal calls first, then those of the
        same name, then the rest in order; None on a side that has no call, and for the index of equal calls. None
        altogether if the reply's calls cannot be read.
    """
    try:
        got = [_lay_out(call) for call in _read_calls(reply, reward)]
        wanted = [_lay_out(call) for call in json.loads(ground_truth)]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    pairs = [(one, other, _first_difference(one, other)) for one, other in _match(got, wanted)]
    return [(_shorten(one), _shorten(other), line) for one, other, line in pairs[:MOST_PAIRS]]


def _read_calls(reply: str, reward: str) -> list[dict[str, Any]]:
    if reward == "strict":
        return toolcall.decode_calls(toolcall.split_response(reply)[1], _READ)
    turn = toolcall_paper.last_turn(reply)
    return toolcall_paper.decode_calls(turn[slice(*toolcall_paper.find_calls(turn))])


def _lay_out(call: dict[str, Any]) -> str:
    """The call on many lines, its name first and keys in order, so that equal calls are equal texts."""
    return f"{call['name']}\n{json.dumps(call['arguments'], indent=2, ensure_ascii=False, sort_keys=True)}"


def _match(got: list[str], wanted: list[str]) -> list[tuple[str | None, str | None]]:
    equal, got, wanted = _take(got, wanted, lambda text: text)
    same_name, got, wanted = _take(got, wanted, lambda text: text.partition("\n")[0])
    most = max(len(got), len(wanted))
    rest = zip(got + [None] * (most - len(got)), wanted + [None] * (most - len(wanted)), strict=True)
    return [*equal, *same_name, *rest]


def _take(got: list[str], wanted: list[str], key) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    """The pairs that agree in ``key``, in the reply's order, and what is left on each side."""
    waiting: dict[str, list[int]] = {}
    for index in reversed(range(len(wanted))):
        waiting.setdefault(key(wanted[index]), []).append(index)
    pairs, left, used = [], [], set()
    for text in got:
        places = waiting.get(key(text))
        if places:
            used.add(place := places.pop())
            pairs.append((text, wanted[place]))
        else:
            left.append(text)
    return pairs, left, [text for index, text in enumerate(wanted) if index not in used]


def _first_difference(one: str | None, other: str | None) -> int | None:
    if one is None or other is None:
        return 0
    if one == other:
        return None
    lines = zip(one.split("\n"), other.split("\n"), strict=False)
    shorter = min(one.count("\n"), other.count("\n"))
    return next((index for index, (left, right) in enumerate(lines) if left != right), shorter)


def _shorten(text: str | None) -> str | None:
    return text if text is None or len(text) <= LONGEST_CALL else text[:LONGEST_CALL] + "…"
