"""Finding a row's tool list: in a field, as objects or text, or somewhere in its system text."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tooln1.calls import decode_at
from tooln1.data.nulls import without_nulls
from tooln1.literals import CallError, skip_blanks
from tooln1.tools import Rejected, ToolListError, normalize_tools

_SECTION = re.compile(r"<tools>(?!\s*</tools>)((?:(?!<tools>).)*?)</tools>", re.DOTALL)
_OPENING = re.compile(r"\[\s*\{|\{")
_BETWEEN = re.compile(r"[\s,;]*")
_DECODER = json.JSONDecoder()


def read_tools(tools: Any) -> list[dict[str, Any]]:
    """Return the normalised tools of a field: what `normalize_tools` takes, or text with objects one after another.

    Raises:
        ToolListError: the field holds none of these.
    """
    return normalize_tools(_read_text(tools) if isinstance(tools, str) else without_nulls(tools))


def _read_text(text: str) -> Any:
    values, position = [], skip_blanks(text, 0)
    while position < len(text):
        try:
            value, position = decode_at(text, position, _DECODER)
        except CallError as error:
            raise ToolListError("tools_not_json", f"neither JSON nor a Python literal: {error}") from None
        values.append(value)
        position = _BETWEEN.match(text, position).end()
    return values[0] if len(values) == 1 else values


def find_tools(system: str) -> tuple[list[dict[str, Any]], str, str]:
    """Return the normalised tools that a system text lists, and the text before and after them.

    They stand between <tools> tags, in the first list of named objects, or one object after another.

    Raises:
        Rejected: there is no such list, or it has no known shape.
    """
    if section := _SECTION.search(system):
        return read_tools(section[1]), system[: section.start()], system[section.end() :]
    reason = "no_tools"
    opening = _OPENING.search(system)
    while opening:
        start, behind = opening.span()
        try:
            tools, end = decode_at(system, start, _DECODER)
        except CallError as error:
            reason = "tools_not_json" if system[start] == "[" else reason
            # Searching on behind the error, not behind the bracket, keeps the search linear.
            end = error.position
        else:
            if _is_tool(tools):
                tools, end = _one_after_another(system, start)
            if isinstance(tools, list) and all(map(_is_tool, tools)):
                return normalize_tools(tools), system[:start], system[end:]
        opening = _OPENING.search(system, max(behind, end))
    raise Rejected(reason)


def _is_tool(value: Any) -> bool:
    return isinstance(value, Mapping) and ("name" in value or "function" in value)


def _one_after_another(text: str, position: int) -> tuple[list[Any], int]:
    tools, end = [], position
    with suppress(CallError):
        while text.startswith("{", position):
            tool, end = decode_at(text, position, _DECODER)
            tools.append(tool)
            position = _BETWEEN.match(text, end).end()
    return tools, end
