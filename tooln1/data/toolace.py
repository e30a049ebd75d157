"""From a ToolACE conversation to rows: one row for each assistant turn that calls tools.

The turns before it are the prompt, its calls the reference. The calls are written as text in the source, in the form
[Tool Name(a=1)], and are read against the conversation's own tool list. What cannot be read is dropped with its reason,
and so are the later turns of that conversation: their prompts would show a call in a form the model must not write.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tooln1.calls import CallError, CallReader, Rejected, normalize_tools
from tooln1.data.pipeline import Outcome
from tooln1.data.rows import make_row, why_not_row
from tooln1.errors import UserError
from tooln1.prompt import fill_template, format_call_turn

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

TURN_REASONS = {
    "no_call": "the turn answers without a call (--include-no-call keeps it)",
    "call_in_prose": "a listed tool is called in the middle of other text",
    "after_rejected_turn": "an earlier turn of the conversation holds calls that cannot be read",
    "no_request": "no user has spoken before the turn",
    "follows_assistant": "the turn follows the assistant's own",
    "no_tools": "the system text holds no tool list",
}

# What ToolACE's system text says about the way to answer: the template says it anew, and differently.
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


@dataclass(frozen=True)
class Options:
    """What the command line decides about rows; `template` is a template's text, None for the thinking template."""

    template: str | None = None
    include_no_call: bool = False


@dataclass
class Turn:
    """One turn of a conversation. An assistant's has `calls` if it made any, and `rejected` says why they are lost."""

    role: str
    text: str
    calls: list[dict[str, Any]] | None = None
    rejected: CallError | None = None


def prepare_conversation(record: Any, source_row: int, options: Options) -> Outcome:
    """Make one row for each step of a ToolACE record.

    Raises:
        UserError: the record is not a conversation at all.
    """
    system, raw_turns = _read_record(record)
    roles = [role for role, _, _ in raw_turns]
    try:
        tools, context = _tools_and_context(record, system)
        reader = CallReader(tools)
    except Rejected as error:
        outcome = Outcome(_data_source(roles, steps=0))
        outcome.drop(error.reason, f"row {source_row}", f"{error.detail}\n{system}", roles.count("assistant"))
        return outcome
    # A system turn that was taken out still counts in the positions.
    first = len(record["conversations"]) - len(raw_turns)
    turns = [_read_turn(reader, *raw_turn) for raw_turn in raw_turns]
    steps = sum(bool(turn.calls) or turn.rejected is not None for turn in turns)
    outcome = Outcome(_data_source(roles, steps))
    make = partial(make_row, data_source=outcome.data_source, source_row=source_row, num_tools=len(tools))
    messages = [{"role": "system", "content": fill_template(tools, context, options.template)}]
    whole = True
    for position, turn in enumerate(turns, first):
        if turn.role == "assistant":
            reason = _why_not(turn, messages, whole, options)
            row = None if reason else make(messages=messages, calls=turn.calls or [], turn=position)
            reason = reason or why_not_row(row)
            if reason:
                found = f"{turn.rejected.detail}\n" if turn.rejected and whole else ""
                outcome.drop(reason, f"row {source_row}, turn {position}", found + turn.text)
            else:
                outcome.rows.append(row)
            whole = whole and turn.rejected is None
        written = turn.text if turn.calls is None else format_call_turn(turn.calls)
        messages.append({"role": turn.role, "content": written})
    return outcome


def _why_not(turn: Turn, before: Sequence[Mapping[str, str]], whole: bool, options: Options) -> str | None:
    """Why a turn gives no row, judged by itself and the messages before it; None if it may give one."""
    if not whole:
        return "after_rejected_turn"
    if turn.rejected is not None:
        return turn.rejected.reason
    if not turn.calls and not options.include_no_call:
        return "no_call"
    if all(message["role"] != "user" for message in before):
        return "no_request"
    return "follows_assistant" if before[-1]["role"] == "assistant" else None


def _data_source(roles: Sequence[str], steps: int) -> str:
    """A conversation is single turn if the user speaks once and at most one step calls tools."""
    return SINGLE_TURN if roles.count("user") <= 1 and steps <= 1 else MULTI_TURN


def _read_record(record: Any) -> tuple[str, list[tuple[str, Any, str]]]:
    """Return the system text and the turns as (role, value, the source's role), the system's own turn taken out."""
    if not isinstance(record, Mapping):
        raise UserError(f"expected an object, found {type(record).__name__}")
    conversations = record.get("conversations")
    if not isinstance(conversations, Sequence) or isinstance(conversations, str):
        raise UserError('expected a list under "conversations", found ' + type(conversations).__name__)
    turns = []
    for number, turn in enumerate(conversations):
        if not isinstance(turn, Mapping) or "from" not in turn or "value" not in turn:
            raise UserError(f'turn {number}: expected an object with "from" and "value"')
        if not isinstance(turn["from"], str) or turn["from"] not in ROLES:
            raise UserError(f"turn {number}: expected a role of {', '.join(ROLES)}, found {turn['from']!r}")
        turns.append((ROLES[turn["from"]], turn["value"], turn["from"]))
    system = record.get("system")
    if turns and turns[0][0] == "system":
        first = turns.pop(0)[1]
        system = system or first
    if any(role == "system" for role, _, _ in turns):
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
            # Going on behind the error, not behind the bracket, keeps the search linear.
            behind = max(behind, error.pos)
        except (ValueError, RecursionError):
            raise Rejected("tools_not_json") from None
        opening = _TOOL_LIST.search(system, behind)
    raise Rejected(reason, TURN_REASONS.get(reason, ""))


def _context(*parts: str) -> str:
    """What the system text says besides the tools and the way to answer: a role, the time, house rules."""
    kept = (_INSTRUCTIONS.sub("", part).strip().lstrip(".").strip() for part in parts)
    text = "\n".join(part for part in kept if part)
    return re.sub(r"\n\s*\n", "\n\n", re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE))


def _read_turn(reader: CallReader, role: str, value: Any, source_role: str) -> Turn:
    turn = Turn(role, _text(value))
    if role != "assistant":
        return turn
    try:
        turn.calls = _read_calls(reader, value)
    except CallError as error:
        if error.reason not in ("not_calls", "prose") or source_role == "function_call":
            turn.rejected = error
        elif reader.mentions_call(turn.text):
            turn.rejected = CallError("call_in_prose", error.position)
    return turn


def _read_calls(reader: CallReader, value: Any) -> list[dict[str, Any]]:
    """Read calls in ToolACE's writing or, as ShareGPT files have them, as JSON objects."""
    if not isinstance(value, str) or re.match(r"\s*(?:\[\s*)?\{", value):
        return reader.read_json(value)
    return reader.read(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
