"""The calls that BFCL's possible answers describe: to be shown beside a reply, and checked for being right at all.

A possible answer allows several values for each argument, "" among them where it may be left out. Here the first of
them is taken. In Java and JavaScript every argument is source text in a string, which BFCL's evaluator converts to a
value by the declared type (bfcl_eval/eval_checker/ast_eval/type_convertor/): what is written here is what it reads.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Calls = list[dict[str, Any]]
Tools = Sequence[Mapping[str, Any]]


def reference_calls(category: str, answers: Sequence[Mapping[str, Any]] | None, tools: Tools) -> Calls:
    """Return the calls that a right reply holds.

    Args:
        category: BFCL's name, such as "simple_java".
        answers: [{tool: {argument: [allowed values]}}, …]; None in the categories that only ask whether to call.
        tools: the tools as the data declare them, without the hints that the prompt gets.
    """
    if answers is None:
        # Any call will do for relevance, none for irrelevance.
        return [] if "irrelevance" in category else [{"name": tools[0]["name"], "arguments": {}}]
    write = {"simple_java": _java, "simple_javascript": _javascript}.get(category, _as_is)
    return [_call(name, allowed, _declaration(name, tools), write) for one in answers for name, allowed in one.items()]


def _declaration(name: str, tools: Tools) -> Mapping[str, Any]:
    return next((tool["parameters"] for tool in tools if tool["name"] == name), {})


def _call(name: str, allowed: Mapping[str, list], parameters: Mapping[str, Any], write: Callable) -> dict[str, Any]:
    arguments = {}
    schemas, required = parameters.get("properties", {}), parameters.get("required", ())
    for argument, values in allowed.items():
        chosen = [value for value in values if value != ""]
        if not chosen and argument in required:
            chosen = values
        # Some answers allow arguments to be left out that the tool does not declare: to give them would be wrong.
        if chosen and (argument in schemas or "" not in values):
            arguments[argument] = write(_plain(chosen[0]), schemas.get(argument, {}))
    return {"name": name, "arguments": arguments}


def _plain(value: Any) -> Any:
    """Choose inside a value: each key of an object has allowed values of its own, one level deep."""
    if isinstance(value, dict):
        chosen = {key: _first(values) for key, values in value.items()}
        return {key: one for key, one in chosen.items() if one != ""}
    if isinstance(value, list):
        return [_plain(item) if isinstance(item, dict) else item for item in value]
    return value


def _first(values: Any) -> Any:
    if not isinstance(values, list):
        return values
    return next((value for value in values if value != ""), "")


def _as_is(value: Any, schema: Mapping[str, Any]) -> Any:
    return value


def _java(value: Any, schema: Mapping[str, Any]) -> str:
    kind, inner = schema.get("type"), schema.get("items", {}).get("type")
    if isinstance(value, list):
        # The evaluator takes the quotes off the items of an ArrayList and leaves them on those of an array.
        items = [_java_value(item, inner, quoted=kind == "ArrayList" and inner == "String") for item in value]
        listed = ", ".join(items)
        return f"new ArrayList<>(Arrays.asList({listed}))" if kind == "ArrayList" else f"new Object[]{{{listed}}}"
    if isinstance(value, dict):
        puts = " ".join(f'put("{key}", {_java_value(item, None, quoted=True)});' for key, item in value.items())
        return f"new HashMap<>() {{{{ {puts} }}}}" if puts else "new HashMap<>()"
    return _java_value(value, kind, quoted=False)


def _java_value(value: Any, kind: str | None, quoted: bool) -> str:
    if isinstance(value, str):
        return f'"{value}"' if quoted else value
    suffix = {"long": "L", "float": "f"}.get(kind or "", "")
    return json.dumps(value) + suffix


def _javascript(value: Any, schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(value, str):
        return value
    if kind == "Bigint":
        return f"{json.dumps(value)}n"
    # With the items of an array of Bigint left as they are: no answer has one.
    return json.dumps(value)
