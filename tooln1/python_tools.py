"""Tools from a Python file of typed, documented functions. The file is parsed and never run."""

import ast
import collections.abc
import datetime
import decimal
import json
import typing
import uuid
from typing import Any

from tooln1.errors import UserError

_MODULES = (typing, collections.abc, datetime, decimal, uuid)
_BUILTIN = {kind.__name__: kind for kind in (str, int, float, bool, bytes, list, dict, tuple, set, frozenset, object)}


def read_functions(text: str, name: str = "") -> list[dict[str, Any]]:
    """Return the tools of a file: {"name", "description", "parameters"}, the parameters as JSON Schema.

    Descriptions come from the docstrings (Google's, numpy's or Sphinx's style), types from the annotations. Classes of
    the file with annotated fields are objects, enumerations are lists of values; an unknown type allows anything.

    Args:
        text: Python source.
        name: a function, or a list of functions; without it, every public function at the top level.

    Raises:
        UserError: the source cannot be parsed, or has no function or list of this name.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"not Python ({error})") from None
    functions = {one.name: one for one in body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    known: dict[str, Any] = {one.name: one for one in body if isinstance(one, ast.ClassDef)}
    known |= {one.targets[0].id: one.value for one in body if isinstance(one, ast.Assign) and _id(one.targets[0])}
    chosen = [one for one in functions if not one.startswith("_")]
    if name:
        listed = getattr(known.get(name), "elts", None)
        chosen = [name] if listed is None else [ast.unparse(one) for one in listed]
    for missing in (one for one in chosen if one not in functions):
        raise UserError(f"no function is called {missing}; there are: {', '.join(functions) or 'none'}")
    return [_tool(functions[one], known) for one in chosen]


def _tool(function: ast.FunctionDef | ast.AsyncFunctionDef, known: dict[str, Any]) -> dict[str, Any]:
    import docstring_parser
    from pydantic import Field, TypeAdapter
    from pydantic.errors import PydanticUserError
    from pydantic.json_schema import GenerateJsonSchema
    from typing_extensions import NotRequired, TypedDict

    class Untitled(GenerateJsonSchema):
        def field_title_should_be_set(self, schema: Any) -> bool:
            return False

    docs = docstring_parser.parse(ast.get_docstring(function) or "")
    said = {one.arg_name.lstrip("*"): " ".join(one.description.split()) for one in docs.params if one.description}
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    defaults = [*[None] * (len(positional) - len(given.defaults)), *given.defaults, *given.kw_defaults]
    fields = {}
    try:
        for one, default in zip([*positional, *given.kwonlyargs], defaults, strict=True):
            value = default and _literal(default)
            field = Field(description=said.get(one.arg), json_schema_extra={} if value is None else {"default": value})
            kind = typing.Annotated[_type(one.annotation, known), field]
            fields[one.arg] = kind if default is None else NotRequired[kind]
        schema = TypeAdapter(TypedDict("Parameters", fields)).json_schema(schema_generator=Untitled)
    except (PydanticUserError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"function {function.name}: {error}") from None
    schema = {"type": "object", "properties": {}, **{key: value for key, value in schema.items() if key != "title"}}
    said = "\n".join(filter(None, (docs.short_description, docs.long_description)))
    return {"name": function.name, "description": said, "parameters": schema}


def _type(node: ast.AST | None, known: dict[str, Any]) -> Any:
    """Return the type that an annotation names. Only types of the standard library and of the file have names."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # written in quotes
        node = ast.parse(node.value, mode="eval").body
    if isinstance(node, ast.BinOp):
        return typing.Union[_type(node.left, known), _type(node.right, known)]  # noqa: UP007
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        kind = _type(node.value, known)
        if kind is typing.Literal:
            return kind[tuple(map(_literal, inner))]
        if kind is typing.Annotated:
            return _type(inner[0], known)
        types = tuple(_type(one, known) for one in inner)
        return Any if kind is Any else kind[types if len(types) > 1 else types[0]]
    if isinstance(node, ast.Constant):
        return node.value  # None, or the dots of tuple[int, ...]
    name = _id(node)
    if name in known:
        found = known.pop(name)  # a type inside itself is unknown
        if isinstance(found, ast.AST):
            found = _class(found, known) if isinstance(found, ast.ClassDef) else _type(found, known)
        known[name] = found
        return found
    found = next((vars(one)[name] for one in _MODULES if name in vars(one)), Any)
    return _BUILTIN.get(name, found)


def _class(node: ast.ClassDef, known: dict[str, Any]) -> Any:
    from typing_extensions import NotRequired, TypedDict

    if any(_id(base).endswith("Enum") for base in node.bases):
        values = tuple(_literal(one.value) for one in node.body if isinstance(one, ast.Assign))
        return typing.Literal[values] if values else Any
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
    types = {_id(one.target): _type(one.annotation, known) for one in fields}
    optional = {_id(one.target) for one in fields if one.value is not None}
    return TypedDict(node.name, {key: NotRequired[kind] if key in optional else kind for key, kind in types.items()})


def _id(node: ast.AST | None) -> str:
    return getattr(node, "id", getattr(node, "attr", ""))


def _literal(node: ast.AST) -> Any:
    """Return the value of a literal that JSON can hold, None for anything else. Nothing runs."""
    try:
        value = ast.literal_eval(node)
        json.dumps(value, allow_nan=False)
        return value
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None
