"""The nulls that Arrow adds: in a struct column, each row has the keys of all rows, null where it had none."""

from collections.abc import Iterator, Mapping
from typing import Any

_BRANCHES = ("anyOf", "oneOf", "allOf")
# Two keywords whose value may well be null.
_VALUES = ("default", "const")
_RESTRICTING = ("type", "enum", "const")


def without_nulls(schema: Any) -> Any:
    """Return a tool, or a schema in it, without the keys that are null; a default may be null if the schema allows it.

    An object of which nothing is left goes too.
    """
    if isinstance(schema, list):
        return [without_nulls(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    kept = {}
    for key, value in schema.items():
        if value is None:
            rest = {name: inner for name, inner in schema.items() if name != key and inner is not None}
            if key in _VALUES and (_names_null(rest, rest) or (key == "const" and not rest)):
                kept[key] = None
        elif (inner := without_nulls(value)) != {} or value == {}:
            kept[key] = inner
    return kept


def tidy_arguments(arguments: Mapping[str, Any], schema: Any, root: Any = None) -> dict[str, Any]:
    """Return arguments without the nulls, at any depth, that their schema does not declare or does not allow.

    `root` is the whole schema of the tool's parameters, to which references point; by default `schema`.
    """
    root = schema if root is None else root
    kept = {}
    for key, value in arguments.items():
        parts = list(_members(schema, key, root))
        if value is None:
            if any(allows_null(part, root) for part in parts):
                kept[key] = None
            continue
        inner = _tidy(value, {"anyOf": parts}, root)
        if parts or inner != {} or value == {}:
            kept[key] = inner
    return kept


def _tidy(value: Any, schema: Any, root: Any) -> Any:
    if isinstance(value, Mapping):
        return tidy_arguments(value, schema, root)
    if isinstance(value, list):
        items = {"anyOf": [part["items"] for part in _parts(schema, root) if "items" in part]}
        return [_tidy(item, items, root) for item in value]
    return value


def _members(schema: Any, key: str, root: Any) -> Iterator[Any]:
    """Yield the schemas of an object's member."""
    for part in _parts(schema, root):
        properties, others = part.get("properties"), part.get("additionalProperties")
        if isinstance(properties, Mapping) and key in properties:
            yield properties[key]
        elif isinstance(others, Mapping):
            yield others


def _parts(schema: Any, root: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield a schema, and what it refers to or combines."""
    if not isinstance(schema, Mapping) or depth > 20:
        return
    yield schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        target = root
        for name in reference.split("/")[1:]:
            target = target.get(name) if isinstance(target, Mapping) else None
        yield from _parts(target, root, depth + 1)
    for keyword in _BRANCHES:
        for branch in schema.get(keyword) or ():
            yield from _parts(branch, root, depth + 1)


def allows_null(schema: Any, root: Any) -> bool:
    """Return whether a schema allows null; a type such as "List[int], optional" does not."""
    if not isinstance(schema, Mapping):
        return schema is True
    restricted = any(part.get(keyword) is not None for part in _parts(schema, root) for keyword in _RESTRICTING)
    return not restricted or _names_null(schema, root)


def _names_null(schema: Any, root: Any) -> bool:
    for part in _parts(schema, root):
        kinds, values = part.get("type"), part.get("enum")
        if part.get("nullable") is True or kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
            return True
        if (isinstance(values, list) and None in values) or ("const" in part and part["const"] is None):
            return True
    return False
