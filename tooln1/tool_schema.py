"""The parameters that a tool's JSON Schema declares, wherever it declares them, and other names for them."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

# Keywords whose values describe the same object: lists of schemas, and single schemas.
_LISTS, _SINGLE = ("anyOf", "oneOf", "allOf"), ("if", "then", "else", "not")
# Keywords whose values map names to schemas; those of the first two are names of parameters.
_MAPS = ("properties", "dependentSchemas", "patternProperties", "$defs", "definitions")
_DATA = ("enum", "const", "default", "examples", "example")
_ABOUT_NAMES = {"propertyNames", "patternProperties", "enum", "const", "$dynamicRef"}


def parameter_names(parameters: Any) -> list[str]:
    """Return the names of a tool's parameters, in order: also those in anyOf, oneOf, allOf, if, and behind a $ref."""
    if isinstance(parameters, Mapping) and parameters.keys() <= {"type", "properties", "required"}:
        return list(parameters.get("properties") or ())  # nearly every tool, and the quick way
    found = (schema.get("properties") for schema in same_object(parameters))
    return list(dict.fromkeys(name for names in found if isinstance(names, Mapping) for name in names))


def rename_parameters(parameters: Any, new: Mapping[str, str]) -> Any:
    """Return the schema with other names for parameters: in properties, in required and its like, in references.

    None if it would say something else then: a recursive schema names keys of inner objects too, and a rule about
    names, or a list of whole objects, would contradict other names.
    """
    schemas = list(same_object(parameters))
    described = set(map(id, schemas))
    fits = not any(_ABOUT_NAMES & schema.keys() for schema in schemas)

    def name(value: Any) -> Any:
        return new.get(value, value) if isinstance(value, str) else value

    def pointer(text: Any) -> Any:
        nodes, steps = [parameters], _steps(text)
        for place, step in enumerate(steps):
            nodes.append(_child(nodes[-1], step))
            if place and steps[place - 1] in _MAPS[:2] and id(nodes[-3]) in described:
                steps[place] = name(step)
        written = (quote(step.replace("~", "~0").replace("/", "~1"), safe="~$") for step in steps)
        return text if steps == _steps(text) else "/".join(["#", *written])

    def keyword(key: str, value: Any, is_own: bool) -> Any:
        nonlocal fits
        if key == "$ref":
            fits = fits and (is_own or id(_target(parameters, value)) not in described)
            return pointer(value)
        if is_own and key == "required" and isinstance(value, list):
            return list(map(name, value))
        if is_own and key == "dependentRequired" and isinstance(value, Mapping):
            return {name(one): keyword("required", names, is_own) for one, names in value.items()}
        if key in _MAPS and isinstance(value, Mapping):
            return {name(one) if is_own and key in _MAPS[:2] else one: renamed(inner) for one, inner in value.items()}
        return value if key in _DATA else renamed(value)

    def renamed(value: Any) -> Any:
        if isinstance(value, list):
            return list(map(renamed, value))
        if not isinstance(value, Mapping):
            return value
        return {key: keyword(key, inner, id(value) in described) for key, inner in value.items()}

    result = renamed(parameters)
    return result if fits else None


def same_object(schema: Any, root: Any = None) -> Iterator[Mapping[str, Any]]:
    """Yield a schema, and those in it that describe the same value, not values inside it.

    References point into `root`, by default the schema itself.
    """
    root = schema if root is None else root
    left, seen = [schema], set()
    while left:
        schema = left.pop(0)
        if isinstance(schema, Mapping) and id(schema) not in seen:
            seen.add(id(schema))
            yield schema
            for key in _LISTS:
                left += schema[key] if isinstance(schema.get(key), list) else []
            dependent = schema.get("dependentSchemas")
            left += dependent.values() if isinstance(dependent, Mapping) else []
            left += [*map(schema.get, _SINGLE), _target(root, schema.get("$ref"))]


def _target(parameters: Any, pointer: Any) -> Any:
    """Return what a reference inside the schema leads to; None for any other."""
    place = parameters if isinstance(pointer, str) and pointer[:2] in ("#", "#/") else None
    for step in _steps(pointer):
        place = _child(place, step)
    return place


def _steps(pointer: Any) -> list[str]:
    steps = pointer.split("/")[1:] if isinstance(pointer, str) and pointer.startswith("#/") else []
    return [unquote(step).replace("~1", "/").replace("~0", "~") for step in steps]


def _child(place: Any, step: str) -> Any:
    if isinstance(place, list) and step.isdecimal():
        return place[int(step)] if int(step) < len(place) else None
    return place.get(step) if isinstance(place, Mapping) else None
