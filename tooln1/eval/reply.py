"""Reading the calls of a reply with the reward's own grammar, `tooln1.reward_score.toolcall`'s."""

import json
import math
from dataclasses import dataclass
from typing import Any

from tooln1.analysis.explain import explain
from tooln1.reward_score import toolcall

# Deeper than any argument of a benchmark, and shallow enough for every checker's recursion.
_DEEPEST = 100
# CPython's limit on the text of an integer.
_MOST_DIGITS = 4300


@dataclass(frozen=True)
class Reading:
    """The calls of a reply, [{"name", "arguments"}, …]; or None, and why the reply has none."""

    calls: list[dict[str, Any]] | None
    fault: str = ""


def read_reply(reply: str, reasoning: bool = True) -> Reading:
    """Return the calls of a reply in plain Python values. Any text at all can be read.

    Half characters, which JSON can hold as escapes, become "?"; numbers that Python cannot hold stay text.

    Args:
        reasoning: whether the reasoning part must be right too; not for a template that asks for none.
    """
    reasoned, text = toolcall.split_response(reply)
    try:
        if reasoning and not reasoned:
            raise ValueError("no reasoning")
        toolcall.decode_calls(text)
    except (ValueError, RecursionError):
        found = explain(reply if reasoning else f"<think>-</think>{reply[max(0, reply.find('<tool_call>')) :]}", "[]")
        return Reading(None, f"{found.reason}: {found.detail}" if found.detail else found.reason)
    calls, _ = _PLAIN.raw_decode(text.strip(toolcall.SPACE).encode("utf-8", "replace").decode())
    if _depth(calls) > _DEEPEST:
        return Reading(None, f"nested too deeply: more than {_DEEPEST} levels of brackets")
    return Reading(_whole_characters(calls) if "\\u" in text else calls)


def _int(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text


def _float(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


_PLAIN = json.JSONDecoder(parse_int=_int, parse_float=_float)


def _whole_characters(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return json.loads(json.dumps(calls, ensure_ascii=False).encode("utf-8", "replace"))


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for values in inner for item in values]
    return depth
