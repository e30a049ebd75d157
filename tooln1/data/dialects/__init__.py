"""The dialects in which data sets write conversations with tools, and the reader that all of them share.

A dialect says whether a row is written in it, and reads the row into turns. Its calls stand beside the text, as `read`
returns them, or in the text, where `written` finds them. All else is the same for every dialect and stands here: the
tool list, the system text, reasoning, parallel calls, the order of results, and calls that nobody reads.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

from tooln1.calls import CallReader, read_json_calls
from tooln1.data.conversation import MESSAGE_KEYS, TOOL_KEYS, Conversation, Dialect, Record, Turn, without_reasoning
from tooln1.data.dialects import anthropic, glaive, openai, responses, tagged, toolace, xlam
from tooln1.data.nulls import tidy_arguments
from tooln1.data.tool_lists import find_tools, read_tools
from tooln1.errors import UserError
from tooln1.files import shorten
from tooln1.tools import Rejected

# A row belongs to the first dialect that recognises it.
DIALECTS = {
    "pivot": responses.PIVOT,
    "xlam": xlam.DIALECT,
    "responses": responses.DIALECT,
    "anthropic": anthropic.DIALECT,
    "openai": openai.DIALECT,
    "sharegpt": toolace.SHAREGPT,
    "glaive": glaive.DIALECT,
    "own": tagged.OWN,
    "hermes": tagged.HERMES,
    "toolace": toolace.DIALECT,
}
# How models and data sets mark calls, and how objects and ReAct name the tool that they call.
_MARKS = re.compile(
    r"</?(?:tool|function)[ _-]?(?:call|use)|<function=|<invoke\b|<\|python_tag|\[TOOL_CALLS\]|<[|｜]tool"
    r"|[\"'](?:tool_calls|function_call)[\"']\s*:",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"""(?:["'](?:name|function|tool|action)["']\s*:\s*["']|^[ \t]*Action[ \t]*:[ \t]*)([^"'\n]+)""",
    re.MULTILINE | re.IGNORECASE,
)

REASONS = {
    "not_text": "an earlier message holds more than text, for instance an image",
    "other_writing": "the turn holds calls in a writing that the row's dialect does not have",
    "call_in_prose": "a listed tool is called in the middle of other text",
    "empty_turn": "the turn neither says nor calls anything",
    "late_system": "a system message stands in the middle of the conversation",
    "context_only": "the source says that the turn is not to be learned",
    "no_tools": "neither a field nor the system text holds a tool list",
}


def read_conversation(row: Any, dialect: str | None = None, tools: Sequence[Mapping[str, Any]] = ()) -> Conversation:
    """Read a row of a source in this dialect; None recognises it.

    Args:
        tools: the normalised tools of a row that lists none.

    Raises:
        UserError: the row is no conversation, or no dialect is recognised.
    """
    record = Record(row)
    name = dialect or recognise(record)
    chosen = DIALECTS[name]
    try:
        turns = chosen.read(record)
        if not turns:
            expected = f"a list of messages under one of {', '.join(MESSAGE_KEYS)} ({name}: {chosen.what})"
            raise UserError(f"expected {expected}, found {_keys(record.row)}")
    except UserError as error:
        raise UserError(f"{error}{_hint(record, name)}") from None
    conversation = Conversation(turns, name)
    try:
        system = _take_system(record, turns)
        conversation.context = system
        conversation.tools, conversation.context = _tools_and_context(record, system, chosen.instructions, tools)
    except Rejected as error:
        conversation.rejected = error
    else:
        reader = CallReader(conversation.tools)
        for turn in turns:
            if turn.role == "assistant" and turn.rejected is None:
                _read_calls(turn, chosen, reader, conversation.tools)
    conversation.turns = _merged(turns)
    _order_results(conversation.turns)
    return conversation


def recognise(record: Record) -> str:
    """Return the name of a row's dialect. Raises UserError if it has none."""
    if "reward_model" in record.row:
        raise UserError("the row is prepared already; give its file to data_prep/mix.py")
    name = next((name for name, dialect in DIALECTS.items() if dialect.recognises(record)), None)
    if name is None and record.messages:
        name = "sharegpt" if "from" in record.messages[0].fields else "openai"
    if name is None:
        understood = "; ".join(f"{name} ({dialect.what})" for name, dialect in DIALECTS.items())
        raise UserError(f"no known dialect: found {_keys(record.row)}; understood are {understood}")
    return name


def _hint(record: Record, name: str) -> str:
    with suppress(UserError):
        other = recognise(record)
        return "" if other == name else f"; the row looks like {other}: data_prep/messages.py reads it"
    return ""


def _keys(row: Mapping[str, Any]) -> str:
    keys = ", ".join(f"{key} ({type(value).__name__})" for key, value in row.items())
    return f"an object with {shorten(keys, 200) or 'no keys'}"


def _take_system(record: Record, turns: list[Turn]) -> str:
    """Return the system text, and take its turns from the start of the others."""
    texts = [record.system]
    while turns and turns[0].role == "system":
        turn = turns.pop(0)
        if turn.rejected:
            raise turn.rejected
        texts.append(turn.text)
    for turn in turns:
        if turn.role == "system":
            turn.rejected = Rejected("late_system")
    return "\n\n".join(dict.fromkeys(filter(None, texts)))


def _tools_and_context(
    record: Record, system: str, instructions: Sequence[re.Pattern[str]], default: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], str]:
    listed = record.first(TOOL_KEYS)
    try:
        tools, *parts = (read_tools(listed), system) if listed is not None else find_tools(system)
    except Rejected as error:
        if not default or error.reason != "no_tools":
            raise
        tools, parts = list(default), [system]
    for pattern in instructions:
        parts = [pattern.sub("", part) for part in parts]
    # What removes a sentence may leave a stop behind.
    context = "\n".join(filter(None, (part.strip().lstrip(".").strip() for part in parts)))
    if instructions:
        context = re.sub(r"\n\s*\n", "\n\n", re.sub(r"[ \t]+$", "", context, flags=re.MULTILINE))
    return tools, context


def _read_calls(turn: Turn, dialect: Dialect, reader: CallReader, tools: Sequence[Mapping[str, Any]]) -> None:
    """Set the turn's calls, or why they cannot be read; an answer in prose has neither."""
    turn.text = without_reasoning(turn.text)
    beside = turn.calls
    try:
        if isinstance(beside, str):
            turn.calls = toolace.read_text(beside, reader)
        elif beside is not None:
            schemas = {tool["name"]: tool["parameters"] for tool in tools}
            turn.calls = read_json_calls(beside, reader.names, lambda name, given: tidy_arguments(given, schemas[name]))
        elif dialect.written and (found := dialect.written(turn.text, reader)):
            turn.text, turn.calls = found
        else:
            _refuse_calls(turn.text, reader)
        if _MARKS.search(turn.text):
            raise Rejected("other_writing")
    except Rejected as error:
        turn.rejected, turn.calls = error, None
        turn.text = "\n".join(filter(None, (turn.text, "" if beside is None else json.dumps(beside, default=str))))


def _refuse_calls(text: str, reader: CallReader) -> None:
    """Raise Rejected if there are calls in a text that is said to have none."""
    if any(named[1].strip() in reader.names for named in _NAMED.finditer(text)):
        raise Rejected("other_writing")
    if reader.mentions_call(text):
        raise Rejected("other_writing" if text.lstrip().startswith("[") else "call_in_prose")


def _merged(turns: Sequence[Turn]) -> list[Turn]:
    """Join the assistant's turns that are one: calls in a row are parallel, a sentence before a call goes with it."""
    merged: list[Turn] = []
    for turn in turns:
        last = merged[-1] if merged else turn
        if last is turn or not (last.role == turn.role == "assistant" and (turn.calls or turn.rejected)):
            merged.append(turn)
            continue
        called = bool(last.calls or last.rejected)
        last.position = last.position if called else turn.position
        last.text = "\n".join(filter(None, (last.text, turn.text)))
        last.rejected = last.rejected or turn.rejected
        last.calls = None if last.rejected else [*(last.calls or ()), *turn.calls]
        last.ids = [*last.ids, *turn.ids]
        last.is_context = last.is_context or turn.is_context
    for turn, following in pairwise(merged):
        # A tool answers calls that the source has lost.
        if turn.role == "assistant" and turn.calls is None and not turn.text.strip() and following.role == "tool":
            turn.rejected = turn.rejected or Rejected("empty_turn")
    return merged


def _order_results(turns: list[Turn]) -> None:
    """Put the results of parallel calls in the order of the calls, if ids tell it."""
    for start, turn in enumerate(turns):
        if len(turn.ids) > 1 and turn.role == "assistant":
            places = {name: place for place, name in enumerate(turn.ids)}
            end = next((end for end in range(start + 1, len(turns)) if turns[end].role != "tool"), len(turns))
            turns[start + 1 : end] = sorted(
                turns[start + 1 : end], key=lambda result: places.get(next(iter(result.ids), None), len(places))
            )
