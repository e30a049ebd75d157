"""The prompt: the messages that the model sees, and how calls are written in them.

Data preparation, training, evaluation, serving and distillation all build their messages here. The wording is a prompt
template, a text file in templates/ in which `{tools}` marks the place of the tool list.

The tools stand in the system message; the tools slot of a chat template is not used. An exported model has a chat
template that makes the same system message of a request's tools (tooln1/chat_template.py).
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from tooln1.errors import UserError
from tooln1.reward_score.toolcall import SPACE, TAGS, THINK
from tooln1.tools import normalize_tools

TOOLS_MARK = "{tools}"
ROLES = ("user", "assistant", "tool")

_TEMPLATES = Path(__file__).with_name("templates")
# Made once: json.dumps would make an encoder for each tool of each row.
_to_json = json.JSONEncoder(ensure_ascii=False).encode
_to_finite_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_THINKING = (_TEMPLATES / "thinking.txt").read_text(encoding="utf-8")


class TemplateError(UserError):
    """Raised when a prompt template cannot be read or does not have exactly one place for the tools."""


def load_template(template: str | Path | None = None) -> str:
    """Return the text of a prompt template: a file, or the name of one in tooln1/templates/; None means "thinking".

    Raises:
        TemplateError: the file cannot be read as UTF-8 text, or does not hold `{tools}` exactly once.
    """
    shipped = {path.stem: path for path in _TEMPLATES.glob("*.txt")}
    path = shipped.get(str(template or "thinking"), Path(template or ""))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(shipped))
        raise TemplateError(f"template {template} cannot be read: {error}; give a file, or one of {names}") from None
    split_template(text, f"template {template}")
    return text


def build_system(tools: Any, context: str = "", template: str | None = None) -> str:
    """Return the system message: the context, then the template with the tools as one JSON object a line.

    Args:
        tools: a tool list in any shape that `tooln1.tools.normalize_tools` takes.
        context: what the system has to say besides the tools, for instance a role or the time.
        template: the text of a prompt template; the thinking template by default.

    Raises:
        tooln1.tools.ToolListError: the tool list has no known shape.
        TemplateError: the template does not hold `{tools}` exactly once.
    """
    return fill_template(normalize_tools(tools), context, template)


def fill_template(tools: Iterable[Mapping[str, Any]], context: str = "", template: str | None = None) -> str:
    """Return the same as `build_system` for tools that `normalize_tools` has returned. Raises TemplateError."""
    before, after = split_template(template)
    # The parts are joined rather than formatted: template and tools are full of braces.
    filled = before + "\n".join(map(_to_json, tools)) + after
    return "\n\n".join(part for part in (context.strip(), filled.strip()) if part)


def split_system(system: str, template: str | None = None) -> tuple[str, list[dict[str, Any]]]:
    """Return the context and the tools that `fill_template` made a system message of.

    Raises:
        ValueError: the message was not made with this template.
        TemplateError: the template does not hold `{tools}` exactly once.
    """
    before, after = (part.strip() for part in split_template(template))
    start, end = system.find(before), len(system) - len(after)
    lines = system[start + len(before) : end].strip()
    if start >= 0 and system.endswith(after):
        try:
            tools = [json.loads(line) for line in lines.split("\n")] if lines else []
        except ValueError:
            tools = None
        context = system[:start].strip()
        if tools is not None and fill_template(tools, context, template) == system:
            return context, tools
    raise ValueError("the system message was not written with this template")


def listed_tools(system: str, template: str | None = None) -> set[str] | None:
    """Return the names of the tools that a system message lists, one JSON object a line; None if it lists none so.

    Args:
        template: the text of the template that the message was written with; by default the list is between <tools>
            and </tools>, as in every packaged template.
    """
    before, after = ("<tools>", "</tools>") if template is None else map(str.strip, split_template(template))
    starts = [found.end() for found in re.finditer(re.escape(before), system)] if before else [0]
    ends = [found.start() for found in re.finditer(re.escape(after), system)] if after else [len(system)]
    # The tags may also stand in the instructions, with nothing between them.
    lists = [_read_names(system[start:end]) for start in starts for end in ends if start <= end]
    return next((names for names in lists if names), set() if set() in lists else None)


def _read_names(lines: str) -> set[str] | None:
    try:
        tools = [orjson.loads(line) for line in lines.split("\n") if line.strip()]
        return {(tool.get("function") or tool)["name"] for tool in tools}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def build_messages(
    tools: Any, turns: Iterable[Mapping[str, Any]], context: str = "", template: str | None = None
) -> list[dict[str, str]]:
    """Return the whole prompt: the system message of `build_system`, then the turns.

    Args:
        tools, context, template: as for `build_system`.
        turns: {"role": "user", "assistant" or "tool", "content": text}; an assistant's turn may have "calls" (as
            `format_calls` takes them), which are written after its content as the model must write them.

    Raises:
        ValueError: a turn has another role, or has calls and is not the assistant's.
        tooln1.tools.ToolListError, TemplateError: as for `build_system`.
    """
    return [{"role": "system", "content": build_system(tools, context, template)}, *map(_message, turns)]


def format_calls(calls: Iterable[Mapping[str, Any]]) -> str:
    """Write calls as the JSON text of ground truths and responses; further keys of a call are left out.

    Raises:
        ValueError: a value is NaN or infinite, which JSON does not have.
    """
    plain = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
    return _to_finite_json(plain)


def format_call_turn(calls: Iterable[Mapping[str, Any]]) -> str:
    """Write an earlier turn's calls as they stand in a prompt: the model's format without the reasoning."""
    return f"<tool_call>{format_calls(calls)}</tool_call>"


def format_response(calls: Iterable[Mapping[str, Any]], reasoning: str) -> str:
    """Write the whole response that the model is to learn.

    Raises:
        ValueError: the reasoning is blank or holds one of the response's tags, so that it would earn nothing.
    """
    if not reasoning.strip() or any(tag in reasoning for tag in TAGS):
        raise ValueError(f"reasoning must not be blank or hold any of {', '.join(TAGS)}, got {reasoning[:80]!r}")
    return f"<think>{reasoning}</think>\n{format_call_turn(calls)}"


def opens_reasoning(prompt: str) -> bool:
    """Return whether a rendered prompt ends with an open <think>: the response then begins inside the reasoning."""
    return prompt.rstrip(SPACE).endswith(THINK)


def whole_response(prompt: str, response: str) -> str:
    """Return a response with the <think> that its prompt has opened, so that every reader sees the whole grammar."""
    return THINK + response if opens_reasoning(prompt) else response


def split_template(template: str | None, what: str = "the template") -> list[str]:
    """Return the text before and after the place of the tools. Raises TemplateError."""
    parts = (_THINKING if template is None else template).split(TOOLS_MARK)
    if len(parts) != 2:
        raise TemplateError(f"{what} must hold {TOOLS_MARK} exactly once, found {len(parts) - 1} times")
    return parts


def _message(turn: Mapping[str, Any]) -> dict[str, str]:
    role, content, calls = turn["role"], turn.get("content") or "", turn.get("calls")
    if role not in ROLES or (calls is not None and role != "assistant"):
        raise ValueError(f"expected role {', '.join(ROLES)}, and calls only from the assistant, got role {role!r}")
    if calls is not None:
        content = "\n".join(part for part in (content, format_call_turn(calls)) if part)
    return {"role": role, "content": content}
