"""Tools from an OpenAPI 3 document: one tool an operation, its parameters and the fields of its body side by side."""

import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tooln1.errors import UserError
from tooln1.files import one_line, read_text

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_IGNORED_HEADERS = ("accept", "content-type", "authorization")  # no parameters, says OpenAPI
_OBJECT_KEYS = {"type", "properties", "required", "title", "description", "additionalProperties", "allOf"}
_TOO_LARGE = 20_000  # JSON objects in the schemas of one operation


def load_yaml(text: str) -> Any:
    """Decode YAML as plain data: a date stays text, and so do yes and no. Raises UserError."""
    import yaml

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {
            first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp" and first not in "yYnNoO"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"not YAML ({one_line(error)})") from None


def read_operations(document: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """Return the tools of a document: {"name", "description", "parameters"}, the parameters as JSON Schema.

    References are written out; a schema inside itself allows anything.

    Args:
        document: the decoded document.
        path: its file; references to other files are followed below the file's folder only.

    Raises:
        UserError: it is not OpenAPI 3, or a reference leads nowhere, outside of the folder or to an address.
    """
    from referencing import Registry, Resource
    from referencing.exceptions import Unresolvable

    version = document.get("openapi", document.get("swagger"))
    if not str(version).startswith("3."):
        raise UserError(f"OpenAPI {version}; expected version 3, into which Swagger 2 can be converted")
    folder = path.resolve().parent

    def retrieve(address: str) -> Resource:
        other = Path(unquote(urlsplit(address).path)).resolve()
        if not address.startswith("file:") or not other.is_relative_to(folder):
            raise UserError(f"refers to {address}, which is no file below {folder}; put it there")
        return Resource.opaque(load_yaml(read_text(other)))  # JSON is YAML

    base = path.resolve().as_uri()
    resolver = Registry(retrieve=retrieve).with_resource(base, Resource.opaque(document)).resolver(base)
    tools: dict[str, dict[str, Any]] = {}
    try:
        for address, item in (document.get("paths") or {}).items():
            item = _written_out(item, resolver, count()) if "$ref" in item else item
            for method in (method for method in _METHODS if method in item):
                tool = _tool(f"{method} {address}", item, item[method], resolver)
                tool["name"] = _unused(tool["name"], tools)
                tools[tool["name"]] = tool
    except Unresolvable as error:
        cause = error
        while cause and not isinstance(cause, UserError):
            cause = cause.__cause__
        raise cause or UserError(f"a reference leads nowhere: {error.ref}") from None
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"not a valid OpenAPI document ({type(error).__name__}: {one_line(error)})") from None
    return list(tools.values())


def _tool(address: str, item: Mapping[str, Any], operation: Mapping[str, Any], resolver: Any) -> dict[str, Any]:
    given = [*item.get("parameters", []), *operation.get("parameters", [])]
    given, body = _written_out([given, operation.get("requestBody") or {}], resolver, count())
    properties, required = {}, []
    # An operation's parameter replaces the path's of the same name and place.
    for one in {(one["name"], one["in"]): one for one in given}.values():
        if one["in"] != "header" or one["name"].lower() not in _IGNORED_HEADERS:
            name = _unused(one["name"], properties)
            schema = one.get("schema") or next(iter(one.get("content", {}).values()), {}).get("schema", {})
            said = {"description": one["description"]} if one.get("description") else {}
            properties[name] = {**schema, **said}
            required += [name] * bool(one.get("required"))
    kinds = sorted(body.get("content", {}), key=lambda kind: "json" not in kind)
    if kinds:
        schema = body["content"][kinds[0]].get("schema", {})
        fields, needed = _fields(schema)
        if not fields or fields.keys() & properties.keys():
            name = _unused("body", properties)
            fields, needed = {name: schema}, [name]
        properties |= fields
        required += needed if body.get("required") else []
    said = dict.fromkeys(filter(None, (operation.get("summary"), operation.get("description"))))
    return {
        "name": operation.get("operationId") or re.sub(r"\W+", "_", address).strip("_"),
        "description": "\n".join(said) or address,
        "parameters": {"type": "object", "properties": properties, **({"required": required} if required else {})},
    }


def _fields(schema: Any) -> tuple[dict[str, Any], list[str]]:
    """Return the properties of an object, or of several that allOf joins, and the required ones; else nothing."""
    if not isinstance(schema, Mapping) or not schema.keys() <= _OBJECT_KEYS:
        return {}, []
    parts = [_fields(part) for part in schema.get("allOf", [])]
    if ({}, []) in parts:
        return {}, []
    own = {key: one for key, one in schema.get("properties", {}).items() if not one.get("readOnly")}
    fields = {key: one for part in (*parts, (own, [])) for key, one in part[0].items()}
    needed = [*(key for part in parts for key in part[1]), *schema.get("required", [])]
    return fields, [key for key in dict.fromkeys(needed) if key in fields]


def _written_out(value: Any, resolver: Any, counter: Any, inside: frozenset[int] = frozenset()) -> Any:
    """Return a part of a document with what its references lead to, and OpenAPI 3.0's keywords in JSON Schema's form.

    `inside` are the values that it stands in, by identity.
    """
    if isinstance(value, list):
        return [_written_out(item, resolver, counter, inside) for item in value]
    if not isinstance(value, Mapping):
        return value
    if next(counter) > _TOO_LARGE:
        raise UserError("the schemas of one operation are too large")
    written = {str(key): _written_out(item, resolver, counter, inside) for key, item in value.items()}
    if isinstance(written.get("type"), str) and written.pop("nullable", False) is True:
        written["type"] = [written["type"], "null"]
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(written.get(exclusive), bool) and written.pop(exclusive) and limit in written:
            written[exclusive] = written.pop(limit)
    if not isinstance(value.get("$ref"), str):
        return written
    del written["$ref"]
    found = resolver.lookup(value["$ref"])
    if id(found.contents) in inside:
        return written
    target = _written_out(found.contents, found.resolver, counter, inside | {id(found.contents)})
    return {**target, **written} if isinstance(target, dict) else target


def _unused(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else next(new for n in count(2) if (new := f"{name}_{n}") not in taken)
