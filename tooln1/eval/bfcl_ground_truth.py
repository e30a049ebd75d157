"""The calls that BFCL's possible answers describe: shown beside a response, and checked for being right at all.

A possible answer allows several values for each argument, "" among them if the argument may be left out. The first of
them is taken here. In Java and JavaScript every argument is source text in a string, which BFCL's evaluator converts to
a value by the declared type (bfcl_eval/eval_checker/ast_eval/type_convertor/): the calls are written so that it can.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tooln1.eval.benchmark import Calls

Tools = Sequence[Mapping[str, Any]]


def ground_truth_calls(category: str, answers: Sequence[Mapping[str, Any]] | None, tools: Tools) -> Calls:
    """Return the calls of a correct response.

    Args:
        category: BFCL's name, such as "simple_java".
        answers: [{tool: {argument: [allowed values]}}, …]; None in the categories that only ask whether to call.
        tools: the tools as the data declare them, without the hints that the prompt gets.
    """
    if answers is None:
        # Relevance takes any call, irrelevance none.
        return [] if "irrelevance" in category else [{"name": tools[0]["name"], "arguments": {}}]
    write = {"simple_java": _java, "simple_javascript": _javascript}.get(category, lambda value, schema: value)
    declared = {tool["name"]: tool["parameters"] for tool in reversed(tools)}
    return [_call(name, allowed, declared.get(name, {}), write) for one in answers for name, allowed in one.items()]


def _call(name: str, allowed: Mapping[str, list], parameters: Mapping[str, Any], write: Callable) -> dict[str, Any]:
    arguments = {}
    schemas, required = parameters.get("properties", {}), parameters.get("required", ())
    for argument, values in allowed.items():
        chosen = [value for value in values if value != ""]
        if not chosen and argument in required:
            chosen = values
        # An argument that the tool does not declare would be wrong, so it is left out if the answer allows that.
        if chosen and (argument in schemas or "" not in values):
            arguments[argument] = write(_plain(chosen[0]), schemas.get(argument, {}))
    return {"name": name, "arguments": arguments}


def _plain(value: Any) -> Any:
    """Choose inside a value: each key of an object has its own allowed values, one level deep."""
    if isinstance(value, dict):
        chosen = {key: _first(values) for key, values in value.items()}
        return {key: one for key, one in chosen.items() if one != ""}
    if isinstance(value, list):
        return [_plain(item) if isinstance(item, dict) else item for item in value]
    return value


def _first(values: Any) -> Any:
    if not isinstance(values, list | str):  # of a text, the evaluator allows each letter
        return values
    return next((value for value in values if value != ""), "")


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
    if isinstance(value, str):
        return value
    # No answer has an array of Bigint.
    return json.dumps(value) + ("n" if schema.get("type") == "Bigint" else "")
