"""Reading ToolACE's conversations, and ShareGPT files of the same shape.

ToolACE writes calls as text, [Tool Name(a=1)]; they are read against the conversation's own tool list, from the system
text or a "tools" field. ShareGPT files write calls as JSON objects.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tooln1.calls import CallReader, read_json_calls
from tooln1.data.prepare import Conversation, Turn
from tooln1.errors import UserError
from tooln1.literals import CallError
from tooln1.tools import Rejected, normalize_tools

SINGLE_TURN = "toolcall/toolace_single_turn"
MULTI_TURN = "toolcall/toolace_multi_turn"

ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "observation": "tool",
}

# ToolACE's system text says how to answer; the template says it differently.
_INSTRUCTIONS = re.compile(
    "|".join(
        sentence.replace(" ", r"\s+")
        for sentence in (
            r"You are given a question and a set of possible functions\.",
            r"Based on the question, you will need to make one or more function/tool calls to achieve the purpose\.",
            r"If none of the functions? can be used, point it out\.",
            r"If the given question lacks the parameters required by the function, also point it out\.",
            r"You should only return the function calls? in (?:tools call sections|your response)\.",
            r"Here is a list of functions in JSON format that you can invoke[:.]?",
            r"Should you decide to return the function call\(s\)[.,]",
            r"If you decide to invoke any of the function\(s\),",
            r"(?:you MUST )?put it in the format of \[[^\]]*\]\.?",
            r"NO other text MUST be included\.",
            r"You SHOULD NOT include any other text in (?:the|your) response\.",
        )
    ),
    re.IGNORECASE,
)
_TOOL_LIST = re.compile(r"\[\s*\{")
_JSON_CALLS = re.compile(r"\s*(?:\[\s*)?\{")


def read_conversation(record: Any) -> Conversation:
    """Read a record of ToolACE or a ShareGPT file. Raises UserError if it is no conversation."""
    system, turns = _read_record(record)
    conversation = Conversation(
        MULTI_TURN, [Turn(ROLES[role], _text(value), position) for position, role, value in turns]
    )
    try:
        conversation.tools, conversation.context = _tools_and_context(record, system)
    except Rejected as error:
        conversation.rejected, conversation.context = error, system
    else:
        reader = CallReader(conversation.tools)
        for turn, (_, role, value) in zip(conversation.turns, turns, strict=True):
            if turn.role == "assistant":
                _read_calls(reader, turn, role, value)
    if _is_single_turn(conversation.turns):
        conversation.data_source = SINGLE_TURN
    return conversation


def _is_single_turn(turns: Sequence[Turn]) -> bool:
    """A conversation is single turn if the user speaks once and at most one step calls tools."""
    requests = sum(turn.role == "user" for turn in turns)
    calling = sum(bool(turn.calls) or turn.rejected is not None for turn in turns)
    return requests <= 1 and calling <= 1


def _read_record(record: Any) -> tuple[str, list[tuple[int, str, Any]]]:
    """Return the system text and the other turns as (position, the source's role, value)."""
    if not isinstance(record, Mapping):
        raise UserError(f"expected an object, found {type(record).__name__}")
    conversations = record.get("conversations")
    if not isinstance(conversations, Sequence) or isinstance(conversations, str):
        raise UserError(f'expected a list under "conversations", found {type(conversations).__name__}')
    turns = []
    for number, turn in enumerate(conversations):
        if not isinstance(turn, Mapping) or "from" not in turn or "value" not in turn:
            raise UserError(f'turn {number}: expected an object with "from" and "value"')
        if not isinstance(turn["from"], str) or turn["from"] not in ROLES:
            raise UserError(f"turn {number}: expected a role of {', '.join(ROLES)}, found {turn['from']!r}")
        turns.append((number, turn["from"], turn["value"]))
    system = record.get("system")
    if turns and turns[0][1] == "system":
        first = turns.pop(0)[2]
        system = system or first
    if any(role == "system" for _, role, _ in turns):
        raise UserError("expected a system turn at the start only")
    if system is None and not record.get("tools"):
        raise UserError('expected "system" with a tool list in its text, or "tools"')
    return _text(system), turns


def _tools_and_context(record: Mapping[str, Any], system: str) -> tuple[list[dict[str, Any]], str]:
    if record.get("tools"):
        return normalize_tools(record["tools"]), _context(system)
    tools, start, end = _find_tools(system)
    return normalize_tools(tools), _context(system[:start], system[end:])


def _find_tools(system: str) -> tuple[list[Any], int, int]:
    """Return the first JSON list of named objects in the text, and where it stands."""
    decoder = json.JSONDecoder()
    reason = "no_tools"
    opening = _TOOL_LIST.search(system)
    while opening:
        behind = opening.end()
        try:
            tools, end = decoder.raw_decode(system, opening.start())
            if all(isinstance(tool, Mapping) and ("name" in tool or "function" in tool) for tool in tools):
                return tools, opening.start(), end
            behind = end
        except json.JSONDecodeError as error:
            reason = "tools_not_json"
            # Searching on behind the error, not behind the bracket, keeps the search linear.
            behind = max(behind, error.pos)
        except (ValueError, RecursionError):
            raise Rejected("tools_not_json") from None
        opening = _TOOL_LIST.search(system, behind)
    raise Rejected(reason)


def _context(*parts: str) -> str:
    """Return what the system text says besides the tools and how to answer: a role, the time, house rules."""
    kept = (_INSTRUCTIONS.sub("", part).strip().lstrip(".").strip() for part in parts)
    text = "\n".join(part for part in kept if part)
    return re.sub(r"\n\s*\n", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))


def _read_calls(reader: CallReader, turn: Turn, source_role: str, value: Any) -> None:
    """Set the turn's calls, or why they cannot be read; an answer in prose has neither."""
    try:
        is_json = not isinstance(value, str) or _JSON_CALLS.match(value)
        turn.calls = read_json_calls(value, reader.names) if is_json else reader.read(value)
    except CallError as error:
        if error.reason not in ("not_calls", "prose") or source_role == "function_call":
            turn.rejected = error
        elif reader.mentions_call(turn.text):
            turn.rejected = CallError("call_in_prose", error.position)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
