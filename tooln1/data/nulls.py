"""The nulls that Arrow adds: in a struct column, each row has the keys of all rows, null where it had none."""

from collections.abc import Mapping, Sequence
from typing import Any

from tooln1.tool_schema import same_object

_RESTRICTING = ("type", "enum", "const")


def without_nulls(schema: Any) -> Any:
    """Return a tool, or a schema in it, without the keys that are null; a default may be null if the schema allows it.

    An object of which nothing is left goes too.
    """
    if isinstance(schema, list):
        return [without_nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if value is None:
            rest = {name: inner for name, inner in schema.items() if inner is not None}
            if key in ("default", "const") and (_names_null([rest]) or (key == "const" and not rest)):
                kept[key] = None
        elif isinstance(value, str) or (inner := without_nulls(value)) != {} or value == {}:
            kept[key] = value if isinstance(value, str) else inner
    return kept


def tidy_arguments(arguments: Mapping[str, Any], parameters: Any) -> dict[str, Any]:
    """Return arguments without the nulls, at any depth, that the schema of the parameters does not declare or allow."""
    return _tidy(arguments, [parameters], parameters) if _has_null(arguments) else dict(arguments)


def _has_null(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(_has_null, inner))


def _tidy(value: Any, schemas: Sequence[Any], root: Any) -> Any:
    """Tidy a value that all of the schemas describe; references point into `root`."""
    if not isinstance(value, dict | list):
        return value
    parts = [part for schema in schemas for part in same_object(schema, root)]
    if isinstance(value, list):
        items = [part["items"] for part in parts if "items" in part]
        return [_tidy(item, items, root) for item in value]
    kept = {}
    for key, member in value.items():
        declared = [schema for part in parts if (schema := _member(part, key)) is not None]
        inner = _tidy(member, declared, root)
        if member is None:
            if any(_allows_null(list(same_object(schema, root))) or schema is True for schema in declared):
                kept[key] = None
        elif declared or inner != {} or member == {}:
            kept[key] = inner
    return kept


def _member(schema: Mapping[str, Any], key: str) -> Any:
    properties, others = schema.get("properties"), schema.get("additionalProperties")
    if isinstance(properties, dict) and key in properties:
        return properties[key]
    return others if isinstance(others, dict) else None


def _allows_null(parts: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether schemas allow null; a type such as "List[int], optional" does not."""
    restricted = any(part.get(keyword) is not None for part in parts for keyword in _RESTRICTING)
    return bool(parts) and (not restricted or _names_null(parts))


def _names_null(parts: Sequence[Mapping[str, Any]]) -> bool:
    return any(
        part.get("nullable") is True
        or part.get("type") == "null"
        or (isinstance(part.get("type"), list) and "null" in part["type"])
        or (isinstance(part.get("enum"), list) and None in part["enum"])
        or ("const" in part and part["const"] is None)
        for part in parts
    )
