"""Tool lists in one shape.

ToolACE, xLAM, OpenAI, Anthropic and MCP describe tools differently. Nothing that a description says is lost: what has
no place in the common shape stays where it was.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.files import read_text, shorten
from tooln1.openapi import load_yaml, read_operations
from tooln1.python_tools import read_functions

TOOL_REASONS = {
    "tools_not_json": "the tool list is not JSON",
    "tools_not_list": "the tool list is neither a list nor an object",
    "bad_tool": "a tool is not an object with a name",
    "bad_parameters": "a tool's parameters are not an object",
}

_IS_FUNCTION = ("type", "function")
# Where parameters stand if not under "parameters": MCP, Anthropic, ACEBench, others.
_OTHER_KEYS = ("inputSchema", "input_schema", "arguments", "schema")
# Keywords of JSON Schema that nobody calls a parameter. An object with one of them is a schema.
_KEYWORDS = frozenset(
    "anyOf oneOf allOf $ref $defs $schema $id $dynamicRef additionalProperties patternProperties propertyNames "
    "unevaluatedProperties dependentRequired dependentSchemas minProperties maxProperties".split()
)

# Types as data sets write them, by their first word.
_TYPES = dict(str="string", text="string", int="integer", float="number", double="number", bool="boolean", none="null")
_TYPES |= dict(dict="object", map="object", list="array", tuple="array", set="array")
_TYPES |= {kind: kind for kind in _TYPES.values()}


# Keywords that allow every value of the declared type, and the types that a plain value has.
_PLAIN = {"type", "description", "title", "default", "examples"}
_PLAIN_TYPES = {str: ("string",), bool: ("boolean",), int: ("integer", "number"), float: ("number",)}


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
    OpenAI's tools of both interfaces, MCP's (inputSchema), Anthropic's (input_schema), lists wrapped as
    {"tools": […]}, one tool instead of a list, JSON text of any of these, and JSON text with a tool a line.

    A JSON Schema stays whole: `parameters` becomes {"type", "properties", …} if it names a type or properties, and
    otherwise (anyOf, $ref, a list of types, a boolean) stays as it is. The descriptions of single parameters stay as
    written: a type such as "List[int], optional" says more than a JSON Schema type could. Keys with null are left out.
    Normalising twice changes nothing.

    Raises:
        ToolListError: the list, or a tool in it, has none of these shapes.
    """
    if isinstance(tools, str):
        tools = _decode(tools)
    while isinstance(tools, Mapping) and not tools.keys() & {"name", "function"}:
        wrapped = next((tools[key] for key in ("tools", "functions", "result") if tools.get(key) is not None), None)
        if wrapped is None:
            break
        tools = wrapped
    if isinstance(tools, Mapping):
        tools = [tools]
    if not isinstance(tools, list | tuple):
        raise ToolListError("tools_not_list", f"expected a list of tools, got {shown(tools)}")
    return [_normalize_tool(tool) for tool in tools]


def load_tools(spec: str | Path) -> list[dict[str, Any]]:
    """Read a file of tools, in the shape of `normalize_tools`.

    Args:
        spec: a JSON, JSON Lines or YAML file with a tool list in any shape or with an OpenAPI 3 document (a tool an
            operation); or `FILE.py:NAME`, typed and documented Python functions, which are read and not run (NAME is a
            function or a list of functions; without it, every public function of the file).

    Raises:
        UserError: the file cannot be read, or holds no tools.
    """
    path, _, name = str(spec).rpartition(":") if re.search(r"\.py:\w*$", str(spec)) else (str(spec), "", "")
    text = read_text(Path(path)).removeprefix("\ufeff")
    try:
        if path.endswith(".py"):
            tools = read_functions(text, name)
        else:
            tools = load_yaml(text) if path.endswith((".yaml", ".yml")) else _decode(text)
            if isinstance(tools, Mapping) and ("openapi" in tools or "swagger" in tools):
                tools = read_operations(tools, Path(path))
        tools = normalize_tools(tools)
    except (Rejected, UserError) as error:
        raise UserError(f"{path}: {getattr(error, 'detail', error)}") from None
    if not tools:
        raise UserError(f"{path}: no tools in it")
    return tools


def schema_fault(call: Mapping[str, Any], tools: Iterable[Mapping[str, Any]]) -> str | None:
    """Return what in a call breaks the schema of its tool, in one line; None if nothing does.

    Types as data sets write them count as JSON Schema's ("List[int], optional" is an array), unknown ones allow
    anything, and so does a schema that jsonschema cannot use. Of several tools with the name, one must fit.

    Args:
        call: {"name", "arguments"}.
        tools: as `normalize_tools` returns them.
    """
    schemas = [tool["parameters"] for tool in tools if tool["name"] == call["name"]]
    if not schemas:
        return f"{shown(call['name'])} is not in the tool list"
    if any(fits_plainly(call["arguments"], schema) for schema in schemas):
        return None
    faults = [_fault(json.dumps(schema), call) for schema in schemas]
    return None if None in faults else faults[0]


def fits_plainly(arguments: Mapping[str, Any], schema: Any) -> bool:
    """Return whether arguments fit a schema that is nothing but names and plain types: most are, and this is quick."""
    if not isinstance(schema, Mapping) or not schema.keys() <= {"type", "properties", "required"}:
        return False
    declared, required = schema.get("properties"), schema.get("required", [])
    if _known_type(schema) != "object" or not isinstance(declared, Mapping) or not isinstance(required, list):
        return False
    return all(isinstance(name, str) and name in arguments for name in required) and all(
        isinstance(inner := declared.get(name), Mapping)
        and inner.keys() <= _PLAIN
        and _known_type(inner) in _PLAIN_TYPES.get(type(value), ())
        for name, value in arguments.items()
    )


def _fault(schema: str, call: Mapping[str, Any]) -> str | None:
    from jsonschema.exceptions import best_match

    try:
        error = best_match(_validator(schema).iter_errors(call["arguments"]))
    except (KeyboardInterrupt, SystemExit):
        raise
    # A schema from a data set may be broken in any way, and jsonschema then fails in any way: endless recursion is a
    # panic of its Rust part, which is no Exception.
    except BaseException:
        return None
    return error and shorten(f"{call['name']}, {error.json_path}: {error.message}", 200)


@lru_cache(maxsize=4096)
def _validator(schema: str) -> Any:
    from jsonschema import validators
    from referencing import Registry

    schema = json.loads(schema, object_hook=with_known_type)
    # An empty registry: no address is followed.
    return _linear(validators.validator_for(schema))(schema, registry=Registry())


@cache
def _linear(draft: type) -> type:
    """Return a validator whose patterns take linear time: RE2's. It knows no look-around, which is not checked."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from jsonschema import ValidationError, validators

    def pattern(validator: Any, wanted: str, value: Any, schema: Any) -> Iterator[ValidationError]:
        with suppress(pa.ArrowInvalid):
            if isinstance(value, str) and not pc.match_substring_regex(pa.scalar(value), wanted).as_py():
                yield ValidationError(f"{shown(value)} does not match {wanted}")

    return validators.extend(draft, {"pattern": pattern})


def with_known_type(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with JSON Schema's word for its type; an unknown type becomes the list of all."""
    if isinstance(schema.get("type"), str):
        schema = {**schema, "type": _known_type(schema) or list(_TYPES.values())}
    return schema


def _known_type(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    return _TYPES.get(re.match(r"\w*", kind.lower())[0]) if isinstance(kind, str) else None


def _normalize_tool(tool: Any) -> dict[str, Any]:
    if isinstance(tool, str):
        tool = _decode(tool)
    if not isinstance(tool, Mapping):
        raise ToolListError("bad_tool", f"expected an object with a name, got {shown(tool)}")
    if isinstance(tool.get("function"), Mapping):
        outer = {key: value for key, value in tool.items() if key != "function" and (key, value) != _IS_FUNCTION}
        tool = {**outer, **tool["function"]}
    name = tool.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ToolListError("bad_tool", f"expected a tool with a name, got {shown(dict(tool))}")
    key = "parameters"
    if tool.get(key) is None:
        key = next((other for other in _OTHER_KEYS if isinstance(tool.get(other), Mapping)), key)
    parameters = _normalize_parameters(name, tool.get(key))
    normal = {"name": name, "description": tool.get("description") or "", "parameters": parameters}
    taken = {*normal, key}
    if tool.get("type") in ("function", "custom"):  # what OpenAI and Anthropic call every tool
        taken.add("type")
    for key, value in tool.items():
        # ToolACE has a second "required" beside the parameters, nearly always null.
        if key == "required" and value is not None and isinstance(parameters, dict) and "required" not in parameters:
            parameters["required"] = value
        # "strict" is false by default, and some servers fill defaults in before they render the prompt.
        elif key not in taken and value is not None and not (key == "strict" and not value):
            normal[key] = value
    return normal


def _normalize_parameters(name: str, parameters: Any) -> dict[str, Any] | bool:
    if isinstance(parameters, str):
        parameters = _decode(parameters)
    if isinstance(parameters, bool):
        return parameters
    if isinstance(parameters, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("name"), str) for one in parameters
    ):
        parameters = _from_list(parameters)
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, Mapping):
        raise ToolListError("bad_parameters", f"tool {name!r}: expected an object, got {shown(parameters)}")
    inner = parameters.get("schema")
    if len(parameters) == 1 and isinstance(inner, Mapping):
        if isinstance(inner.get("properties"), Mapping) or _KEYWORDS & inner.keys():
            parameters = inner
    kind, properties = parameters.get("type"), parameters.get("properties")
    if not _is_schema(parameters):
        flat = {"type": "object", "properties": dict(parameters)}
        if isinstance(parameters.get("required"), list):
            flat["required"] = flat["properties"].pop("required")
        return flat
    if isinstance(kind, list) or not (isinstance(kind, str) or isinstance(properties, Mapping)):
        return dict(parameters)
    normal = {"type": "object" if kind in (None, "dict") else kind, "properties": dict(properties or {})}
    for key, value in parameters.items():
        if key not in normal and not (key == "required" and value is None):
            normal[key] = value
    return normal


def _from_list(parameters: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the schema of OpenAPI's list of parameters: [{"name", "required", "schema" or "type", …}]."""
    properties = {}
    for one in parameters:
        rest = {key: value for key, value in one.items() if key not in ("name", "in", "required", "schema")}
        properties[one["name"]] = {**(one.get("schema") or {}), **rest}
    required = [one["name"] for one in parameters if one.get("required") is True]
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def _is_schema(parameters: Mapping[str, Any]) -> bool:
    """Whether this is a JSON Schema, rather than being flat with parameters called "type" or "properties"."""
    kind, properties = parameters.get("type"), parameters.get("properties")
    if isinstance(kind, str):
        return properties is None or isinstance(properties, Mapping)
    if isinstance(kind, list):
        return True
    if kind is not None:
        return False
    if isinstance(properties, Mapping) and all(isinstance(value, Mapping | bool) for value in properties.values()):
        return True
    return bool(_KEYWORDS & parameters.keys())


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        lines = text.strip().splitlines()
        if len(lines) > 1 and lines[0].startswith("{"):
            return [_decode(line) for line in lines if line.strip()]
        raise ToolListError("tools_not_json", f"not JSON: {error}") from None


def shown(value: Any) -> str:
    """Return a value as Python writes it, cut to 80 characters, for a message."""
    return shorten(repr(value), 80)
