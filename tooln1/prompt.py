"""The messages the model sees and the way calls are written in them.

Training, evaluation, serving and distillation all build their messages here, so that they cannot drift apart. The
wording lives in templates/thinking.txt, a plain text file in which `{tools}` marks the place of the tool list; every
function takes another template's text in its place.

The tools stand in the system message: the chat template's own tools slot is not used.
"""

import json
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.reward_score.toolcall import TAGS
from tooln1.tools import normalize_tools

TOOLS_MARK = "{tools}"
# Beside a model's weights: the template that it was trained with.
MODEL_TEMPLATE = "prompt_template.txt"
ROLES = ("user", "assistant", "tool")


class TemplateError(UserError):
    """Raised when a template file cannot be read or does not have exactly one place for the tools."""


def load_template(template: str | Path | None = None) -> str:
    """Return a template's text: of a file, or of one in tooln1/templates/ by its name; the thinking template for None.

    Raises:
        TemplateError: the file cannot be read as UTF-8 text, or `{tools}` does not stand in it exactly once.
    """
    if template is None:
        return _thinking_template()
    shipped = {path.stem: path for path in _TEMPLATES.glob("*.txt")}
    path = shipped.get(str(template), Path(template))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(sorted(shipped))
        raise TemplateError(f"template {template} cannot be read: {error}; give a file, or one of {names}") from None
    _split(text, f"template {template}")
    return text


def load_model_template(model: str | Path, template: str | Path | None = None) -> str:
    """Return the template to ask a model with: the given one, else the one beside its weights, else the thinking one.

    Args:
        model: a model folder, or a name on the hub, which notes no template.
        template: as for `load_template`.

    Raises:
        TemplateError: as `load_template`.
    """
    noted = Path(model) / MODEL_TEMPLATE
    return load_template(noted if template is None and noted.is_file() else template)


def build_system(tools: Any, context: str = "", template: str | None = None) -> str:
    """Return the system message: the context, then the template with the tools as one JSON object a line.

    Args:
        tools: a tool list in any shape that `tooln1.calls.normalize_tools` takes.
        context: what the system has to say besides the tools, for instance a role or the time.
        template: a template's text; the thinking template by default.

    Raises:
        tooln1.calls.ToolListError: the tool list has no known shape.
        TemplateError: `{tools}` does not stand in the template exactly once.
    """
    return fill_template(normalize_tools(tools), context, template)


def fill_template(tools: Iterable[Mapping[str, Any]], context: str = "", template: str | None = None) -> str:
    """Return what `build_system` does, for a tool list that has come out of `normalize_tools` already.

    Raises:
        TemplateError: `{tools}` does not stand in the template exactly once.
    """
    before, after = _split(_thinking_template() if template is None else template, "the template")
    # The parts are joined rather than formatted: template and tools are full of braces.
    filled = before + "\n".join(map(_ENCODER.encode, tools)) + after
    return "\n\n".join(part for part in (context.strip(), filled.strip()) if part)


def split_system(system: str, template: str | None = None) -> tuple[str, list[dict[str, Any]]]:
    """Take a system message apart again: return the context and the tools that `fill_template` made it of.

    Raises:
        ValueError: the message was not made with this template.
        TemplateError: `{tools}` does not stand in the template exactly once.
    """
    before, after = (part.strip() for part in _split(_thinking_template() if template is None else template, ""))
    start = system.find(before)
    end = len(system) - len(after)
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


def build_messages(
    tools: Any, turns: Iterable[Mapping[str, Any]], context: str = "", template: str | None = None
) -> list[dict[str, str]]:
    """Return the whole prompt: the system message of `build_system`, then the turns.

    Args:
        tools, context, template: as for `build_system`.
        turns: {"role": "user", "assistant" or "tool", "content": text}; an assistant's turn may have "calls" (as
            `format_calls` takes them), which are written after its content the way the model must write them.

    Raises:
        ValueError: a turn has another role, or calls although it is not the assistant's.
        tooln1.calls.ToolListError, TemplateError: as for `build_system`.
    """
    return [{"role": "system", "content": build_system(tools, context, template)}, *map(_message, turns)]


def format_calls(calls: Iterable[Mapping[str, Any]]) -> str:
    """Write calls as the JSON text that references and replies hold; further keys of a call are left out.

    Raises:
        ValueError: a value is NaN or infinite, which JSON does not have.
    """
    plain = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
    return _STRICT_ENCODER.encode(plain)


def format_call_turn(calls: Iterable[Mapping[str, Any]]) -> str:
    """Write an earlier turn's calls as they stand in a prompt: the model's format without the reasoning."""
    return f"<tool_call>{format_calls(calls)}</tool_call>"


def format_reply(calls: Iterable[Mapping[str, Any]], reasoning: str) -> str:
    """Write the whole reply the model is to learn.

    Raises:
        ValueError: the reasoning is blank or holds one of the reply's own tags, so the reply could earn nothing.
    """
    if not reasoning.strip() or any(tag in reasoning for tag in TAGS):
        raise ValueError(f"reasoning must not be blank or hold any of {', '.join(TAGS)}, got {reasoning[:80]!r}")
    return f"<think>{reasoning}</think>\n{format_call_turn(calls)}"


_TEMPLATES = Path(__file__).with_name("templates")

# Made once: json.dumps with an option sets up a new encoder for every call. What has come out of JSON has no circles.
_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False)
_STRICT_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


@cache
def _thinking_template() -> str:
    return (_TEMPLATES / "thinking.txt").read_text(encoding="utf-8")


@lru_cache(16)
def _split(template: str, what: str) -> list[str]:
    parts = template.split(TOOLS_MARK)
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
