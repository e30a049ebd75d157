"""Tool lists in one shape.

ToolACE, xLAM and OpenAI describe tools differently. Nothing that a description says is lost: what has no place in the
common shape stays where it was.
"""

import json
from collections.abc import Mapping
from typing import Any

from tooln1.files import shorten

TOOL_REASONS = {
    "tools_not_json": "the tool list is not JSON",
    "tools_not_list": "the tool list is neither a list nor an object",
    "bad_tool": "a tool is not an object with a name",
    "bad_parameters": "a tool's parameters are not an object",
}


class Rejected(ValueError):
    """Raised when a piece of source text cannot be used; `reason` is a short code, `detail` says what was found."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class ToolListError(Rejected):
    """Raised when a tool list cannot be brought into the common shape; `reason` is a key of `TOOL_REASONS`."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(reason, detail or TOOL_REASONS[reason])


def normalize_tools(tools: Any) -> list[dict[str, Any]]:
    """Bring a tool list into one shape: {"name", "description", "parameters", further keys}.

    Understood are ToolACE's parameters ({"type": "dict", "properties": …}), xLAM's flat ones ({parameter: {…}}),
    OpenAI's {"type": "function", "function": {…}}, one tool instead of a list, and JSON text of any of these.
    `parameters` always becomes {"type", "properties", …}. The descriptions of single parameters stay as written: a type
    such as "List[int], optional" says more than a JSON Schema type could. Normalising twice changes nothing.

    Raises:
        ToolListError: the list, or a tool in it, has none of these shapes.
    """
    if isinstance(tools, str):
        tools = _decode(tools)
    if isinstance(tools, Mapping):
        tools = [tools]
    if not isinstance(tools, list | tuple):
        raise ToolListError("tools_not_list", f"expected a list of tools, got {shown(tools)}")
    return [_normalize_tool(tool) for tool in tools]


def _normalize_tool(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise ToolListError("bad_tool", f"expected an object with a name, got {shown(tool)}")
    if isinstance(tool.get("function"), Mapping):
        outer = {key: value for key, value in tool.items() if key != "function"}
        if outer.get("type") == "function":
            del outer["type"]
        tool = {**outer, **tool["function"]}
    name = tool.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ToolListError("bad_tool", f"expected a tool with a name, got {shown(dict(tool))}")
    parameters = _normalize_parameters(name, tool.get("parameters"))
    normal = {"name": name, "description": tool.get("description") or "", "parameters": parameters}
    for key, value in tool.items():
        # ToolACE has a second "required" beside the parameters, nearly always null.
        if key == "required" and (value is None or "required" not in parameters):
            parameters.update({} if value is None else {"required": value})
        # "strict" is false by default, and some servers fill defaults in before they render the prompt.
        elif key not in normal and not (key == "strict" and not value):
            normal[key] = value
    return normal


def _normalize_parameters(name: str, parameters: Any) -> dict[str, Any]:
    if isinstance(parameters, str):
        parameters = _decode(parameters)
    if parameters is None or parameters == []:
        parameters = {}
    if not isinstance(parameters, Mapping):
        raise ToolListError("bad_parameters", f"tool {name!r}: expected an object, got {shown(parameters)}")
    if not _is_schema(parameters):
        return {"type": "object", "properties": dict(parameters)}
    kind = "object" if parameters.get("type", "dict") == "dict" else parameters["type"]
    normal = {"type": kind, "properties": dict(parameters.get("properties") or {})}
    for key, value in parameters.items():
        if key not in normal and not (key == "required" and value is None):
            normal[key] = value
    return normal


def _is_schema(parameters: Mapping[str, Any]) -> bool:
    """Whether this describes an object, rather than being flat with parameters called "type" or "properties"."""
    properties = parameters.get("properties")
    if isinstance(parameters.get("type"), str):
        return properties is None or isinstance(properties, Mapping)
    if "type" in parameters or not isinstance(properties, Mapping):
        return False
    return all(isinstance(value, Mapping) for value in properties.values())


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ToolListError("tools_not_json", f"not JSON: {error}") from None


def shown(value: Any) -> str:
    """Return a value as Python writes it, cut to 80 characters, for a message."""
    return shorten(repr(value), 80)
