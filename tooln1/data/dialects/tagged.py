"""Calls between <tool_call> tags: an object each, as Hermes and Qwen write them, or this project's one list.

The values are JSON or Python literals; one is decoded from the tag on, so that a tag inside a string is only text.
"""

import re
from dataclasses import replace
from typing import Any

from tooln1.calls import CallReader, decode_at, read_json_calls
from tooln1.data.conversation import Dialect, Record, Turn
from tooln1.literals import CallError, skip_blanks
from tooln1.prompt import load_template, split_template

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"
_LIST = re.compile(r"<tool_call>\s*\[")
_RESULT = re.compile(r"<tool_response>((?:(?!<tool_response>).)*?)</tool_response>", re.DOTALL)
_END = re.compile(r"\s*(?:<\|im_end\|>|<\|endoftext\|>|</s>)?\s*\Z")

# What this project's templates say around the tools.
_TEMPLATES = (part for name in ("thinking", "direct", "compact") for part in split_template(load_template(name)))
INSTRUCTIONS = [
    re.compile(text, re.IGNORECASE | re.DOTALL | re.MULTILINE)
    for text in (
        *(re.escape(part.removesuffix("<tools>\n").removeprefix("\n</tools>").strip()) for part in _TEMPLATES),
        r"You are a function calling AI model\.|Here are the available tools:|^# Tools$"
        r"|You may call one or more functions to assist with the user query\."
        r"|Don't make assumptions about what values to plug into functions\.",
        r"<tools>(?!\s*</tools>)(?:(?!<tools>).)*?</tools>",
        r"Use the following pydantic model json schema for each tool call you will make:\s*\{.*?\}\s*(?=For each|\Z)",
        r"For each function call,? return a json object[^<]*(?:<tool_call>\s*</tool_call>[^<.:\n]*[.:]?)?",
        r"<tool_call>(?:(?!<tool_call>).)*?</tool_call>",
        # Other sentences about the tags.
        r"(?<![^\n.])[^\n.]*</?(?:tool_call|tools)>[^\n.]*[.:]?",
    )
]


def read(record: Record) -> list[Turn]:
    """Read the messages; each <tool_response>, in the user's turn too, is a result."""
    return [turn for message in record.messages for turn in _turns(message.turn())]


def _turns(turn: Turn) -> list[Turn]:
    results = _RESULT.findall(turn.text) if turn.role in ("user", "tool") else []
    alone = results and not _RESULT.sub("", turn.text).strip()
    return [replace(turn, role="tool", text=text.strip()) for text in results] if alone else [turn]


def written(text: str, reader: CallReader) -> tuple[str, list[Any]] | None:
    """Return what stands before and between the calls, and the calls; None if there is none. Raises CallError."""
    texts, calls, position = [], [], 0
    while (start := text.find(_OPEN, position)) >= 0:
        texts.append(text[position:start].strip())
        position = skip_blanks(text, start + len(_OPEN))
        while not text.startswith(_CLOSE, position):
            value, position = decode_at(text, position)
            calls += value if isinstance(value, list) else [value]
            position = skip_blanks(text, position)
        position += len(_CLOSE)
    if not texts:
        return None
    if not _END.match(text, position):
        raise CallError("trailing_text", position)
    return "\n".join(filter(None, texts)), read_json_calls(calls, reader.names)


OWN = Dialect(
    "<tool_call>[…]</tool_call>", lambda record: any(map(_LIST.search, record.texts)), read, written, INSTRUCTIONS
)
HERMES = Dialect(
    "<tool_call>{…}</tool_call>",
    lambda record: any(_OPEN in text for text in record.texts),
    read,
    written,
    INSTRUCTIONS,
)
