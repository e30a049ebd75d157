"""Items of OpenAI's Responses API: messages, function_call, function_call_output and reasoning, one after another."""

from collections.abc import Mapping
from typing import Any

from tooln1.data.conversation import Dialect, Message, Record, Turn, decoded

_ITEMS = ("function_call", "function_call_output")
_REQUEST, _ACTION = "responses_create_params", "expected_action"


def read(record: Record) -> list[Turn]:
    """Read the items."""
    return [_turn(message) for message in record.messages]


def _turn(message: Message) -> Turn:
    item = message.fields
    ids = [item["call_id"]] if item.get("call_id") else ()
    if message.role == "call":
        return Turn("assistant", "", message.position, calls=[item], ids=ids)
    return message.turn(ids=ids)


def read_pivot(record: Record) -> list[Turn]:
    """Read a row of NVIDIA's Pivot sets: the items so far, and the action expected next, which alone is learned."""
    request, action = (decoded(record.row[key]) for key in (_REQUEST, _ACTION))
    expected = _items(action)
    record.become({**request, "output": expected})
    turns = read(record)
    first = record.messages[-len(expected)].position
    for turn in turns:
        turn.is_context = turn.position < first
    return turns


def _items(action: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    calls = action.get("calls") or action.get("tool_calls")
    if calls:
        return [{**call, "type": "function_call"} for call in calls]
    return [action if action.get("type") == "function_call" else {"role": "assistant", **action}]


DIALECT = Dialect(
    "items of type function_call",
    lambda record: any(message.fields.get("type") in _ITEMS for message in record.messages),
    read,
)
PIVOT = Dialect(
    f"{_REQUEST} and {_ACTION}",
    lambda record: _REQUEST in record.row and _ACTION in record.row,
    read_pivot,
)
