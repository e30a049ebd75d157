"""Glaive v2: one text of "USER: …", "ASSISTANT: <functioncall> {…}" and "FUNCTION RESPONSE: …", or such messages."""

import json
import re

from tooln1.calls import CallReader, read_json_calls
from tooln1.data.conversation import Dialect, Record, Turn

_MARK = "<functioncall>"
_SPEAKER = re.compile(r"\n[ \t]*(USER|ASSISTANT|FUNCTION RESPONSE):")
_ROLES = {"USER": "user", "ASSISTANT": "assistant", "FUNCTION RESPONSE": "tool"}
_END = "<|endoftext|>"
# The arguments are JSON text between single quotes, in which single quotes are not always escaped.
_CALL = re.compile(r"""\s*\{\s*"name":\s*"([^"]*)",\s*"arguments":\s*'(.*)'\s*\}\s*""", re.DOTALL)

INSTRUCTIONS = [re.compile(r"\A\s*SYSTEM:|,? with access to the following functions\. Use them if required\s*[-:]*")]


def recognises(record: Record) -> bool:
    """Return whether the row is such a text, or a message has such a call."""
    return _is_text(record.row.get("chat")) or any(_MARK in text for text in record.texts)


def _is_text(chat: object) -> bool:
    return isinstance(chat, str) and _SPEAKER.match("\n" + chat.lstrip()) is not None


def read(record: Record) -> list[Turn]:
    """Read the text, or the messages."""
    chat = record.row.get("chat")
    if not _is_text(chat):
        return [message.turn() for message in record.messages]
    pieces = _SPEAKER.split("\n" + chat.replace(_END, "\n").lstrip())
    return [
        Turn(_ROLES[speaker], said.strip(), position)
        for position, (speaker, said) in enumerate(zip(pieces[1::2], pieces[2::2], strict=True))
    ]


def written(text: str, reader: CallReader) -> tuple[str, list] | None:
    """Return what stands before the calls, and the calls; None if there is none."""
    before, *calls = text.split(_MARK)
    if not calls:
        return None
    return before.strip(), read_json_calls([_call(call.replace(_END, "")) for call in calls], reader.names)


def _call(text: str) -> object:
    quoted = _CALL.fullmatch(text)
    if quoted is None:
        return text
    name, arguments = quoted.groups()
    try:
        json.loads(arguments)
    except ValueError:
        arguments = arguments.replace("\\'", "'")
    return {"name": name, "arguments": arguments}


DIALECT = Dialect("<functioncall> {…}", recognises, read, written, INSTRUCTIONS)
