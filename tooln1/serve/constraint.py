"""The grammar of a reply that must call tools: for requests with ``tool_choice`` "required" or a tool's name.

It is a structural tag, the form in which vLLM hands grammars to xgrammar:
https://xgrammar.mlc.ai/docs/tutorials/structural_tag
"""

import json
from typing import Any

import xgrammar

from tooln1.reward_score.toolcall import CALL, END_CALL, END_THINK, THINK
from tooln1.tools import normalize_tools

ANY_OBJECT = {"type": "object"}
_DEFINITIONS = ("$defs", "definitions")  # where "$ref" points to, counted from the root of the whole schema


def build_constraint(tools: Any, *, name: str | None, several: bool, reasons: bool) -> dict[str, Any]:
    """Return the structural tag of a well-formed reply with at least one call.

    Args:
        tools: a tool list in any shape that `tooln1.tools.normalize_tools` takes.
        name: the only tool that may be called; every tool may by default.
        several: whether there may be more than one call.
        reasons: whether reasoning comes before the calls.

    Raises:
        tooln1.tools.ToolListError: the tool list has no known shape.
    """
    calls, definitions = [], {}
    for tool in normalize_tools(tools):
        if name in (None, tool["name"]):
            arguments = _usable(tool["parameters"])
            own = {key: arguments[key] for key in _DEFINITIONS if key in arguments}
            if any(
                definitions.get(key, {}).get(one, schema) != schema for key in own for one, schema in own[key].items()
            ):
                own, arguments = {}, ANY_OBJECT  # two tools mean different things by one name
            for key in own:
                definitions.setdefault(key, {}).update(own[key])
            calls.append(_object(name={"const": tool["name"]}, arguments=arguments))
    schema = {"type": "array", "minItems": 1, "items": {"anyOf": calls}, **definitions}
    if not several:
        schema["maxItems"] = 1
    block = _tag(CALL, {"type": "json_schema", "json_schema": schema}, END_CALL)
    elements = [*_reasoning(), block] if reasons else [block]
    return {"type": "structural_tag", "format": {"type": "sequence", "elements": elements}}


def _reasoning() -> list[dict[str, Any]]:
    text = {"type": "any_text", "excludes": [THINK, CALL, END_CALL]}
    # Its first character keeps the reasoning from being blank.
    inside = {"type": "sequence", "elements": [{"type": "regex", "pattern": r"[^\s<]"}, text]}
    return [_tag(THINK, inside, END_THINK), {"type": "const_string", "value": "\n"}]


def _tag(begin: str, content: dict[str, Any], end: str) -> dict[str, Any]:
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _usable(parameters: dict[str, Any]) -> dict[str, Any]:
    """The schema, or that of any object where xgrammar cannot read it, as with ToolACE's own names of types."""
    try:
        xgrammar.Grammar.from_json_schema(json.dumps(parameters))
    except (RuntimeError, ValueError, RecursionError):
        return ANY_OBJECT
    return parameters
