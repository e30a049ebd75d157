"""Anthropic's messages, whose content is a list of blocks: text, tool_use, tool_result and thinking."""

from collections.abc import Iterator
from dataclasses import replace

from tooln1.data.conversation import Dialect, Message, Record, Turn

_BLOCKS = ("tool_use", "tool_result")


def recognises(record: Record) -> bool:
    """Return whether a message holds a block that calls a tool or answers a call."""
    return any(
        isinstance(block, dict) and block.get("type") in _BLOCKS
        for message in record.messages
        if isinstance(message.content, list)
        for block in message.content
    )


def read(record: Record) -> list[Turn]:
    """Read the messages; results stand in the user's, and become turns of the tool."""
    return [turn for message in record.messages for turn in _turns(message)]


def _turns(message: Message) -> Iterator[Turn]:
    blocks = message.content if isinstance(message.content, list) else [message.content or ""]
    calls = [block for block in blocks if isinstance(block, dict) and block.get("type") == "tool_use"]
    rest = [block for block in blocks if block not in calls]
    for block in rest:
        if isinstance(block, dict) and block.get("type") == "tool_result":
            result = replace(message, role="tool", content=block.get("content"))
            yield result.turn(ids=[block["tool_use_id"]] if block.get("tool_use_id") else ())
    said = [block for block in rest if not (isinstance(block, dict) and block.get("type") == "tool_result")]
    if calls:
        yield replace(message, content=said).turn(calls=calls, ids=[call.get("id") for call in calls])
    elif said or not blocks:
        yield replace(message, content=said).turn()


DIALECT = Dialect("blocks of type tool_use", recognises, read)
