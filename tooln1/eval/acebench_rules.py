"""ACEBench's rules for the calls of its "normal" data, as its model_eval/checker.py and eval_main.py have them.

They are looser than they look: a text is right if it contains the reference; the value of a top-level number or boolean
is not compared at all, nor is any value whose type is the reference's rather than the declared one; a reference's
optional argument may be left out; inside an object, every value is compared as text. docs/evaluation.md lists them with
their source.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tooln1.eval.cases import CORRECT, EXTRA, MISSING, TYPE, VALUE, WRONG_TOOL, Verdict, shorten, wrong

Calls = Sequence[Mapping[str, Any]]

# Declared types and what they are in Python. A "number" is an integer: a decimal one passes by the reference's type.
_TYPES = {
    "string": str,
    "any": str,
    "integer": int,
    "int": int,
    "number": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "list": list,
    "list(string)": list,
    "list(enum)": list,
    "objectArray": list,
    "object": dict,
    "dict": dict,
}
_NESTED = ("array", "tuple", "list(string)", "list(enum)", "object", "objectArray")
_PUNCTUATION = re.compile(r"[ ,./\-_*^]")


def judge_calls(calls: Calls, answer: Mapping[str, Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge calls by one of a case's answers.

    Args:
        calls: [{"name", "arguments"}, …].
        answer: {tool: arguments}; tools called several times have "_1", "_2", … after their names.
        tools: the case's tools as the data have them.
    """
    if len(calls) != len(answer):
        return wrong(WRONG_TOOL, f"{len(calls)} calls instead of {len(answer)}")
    expected = [(key, re.sub(r"_\d+$", "", key), arguments) for key, arguments in answer.items()]
    names, wanted = Counter(call["name"] for call in calls), Counter(name for _, name, _ in expected)
    if names != wanted:
        found, missing = sorted((names - wanted).elements()), sorted((wanted - names).elements())
        return wrong(WRONG_TOOL, f"{shorten(', '.join(found))} instead of {shorten(', '.join(missing))}")
    for key, name, arguments in expected:
        # The benchmark takes the first tool whose name is part of the reference's, and does not pair calls one to one.
        tool = next((tool for tool in tools if tool["name"] in key), {"name": name})
        verdicts = [_judge_call(call, name, arguments, tool) for call in calls if call["name"] == name]
        if not any(verdict.correct for verdict in verdicts):
            return verdicts[0]
    return CORRECT


def _judge_call(call: Mapping[str, Any], name: str, expected: Mapping[str, Any], tool: Mapping[str, Any]) -> Verdict:
    arguments, parameters = call["arguments"], tool.get("parameters") or {}
    if not arguments and not parameters:
        return CORRECT
    if not arguments or not parameters:
        return wrong(MISSING if expected else EXTRA, f"{name} is called with {shorten(arguments)}")
    schemas = parameters.get("properties") or {}
    if expected == schemas:  # both are empty
        return CORRECT
    if not expected:
        return wrong(EXTRA, f"{name} takes no argument here")
    if tool["name"] != name:
        return wrong(WRONG_TOOL, f"{name} instead of {tool['name']}")
    for argument in parameters.get("required") or ():
        if argument not in arguments:
            return wrong(MISSING, f"{argument} is missing")
    for argument, value in arguments.items():
        if argument not in schemas or argument not in expected:
            return wrong(EXTRA, f"{argument} is not in the reference")
        verdict = _judge_value(argument, value, expected[argument], schemas[argument])
        if not verdict.correct:
            return verdict
    return CORRECT


def _judge_value(argument: str, value: Any, expected: Any, schema: Mapping[str, Any]) -> Verdict:
    declared = schema.get("type")
    kind = _TYPES.get(declared) if isinstance(declared, str) else None
    inner = _inner_type(declared, schema) if declared in _NESTED else None
    if declared == "float" and type(value) is int:
        value = float(value)
    compared = _is_compared(value, expected, kind, inner)
    if compared is None:
        return wrong(TYPE, f"{argument} is {shorten(value)}, a {type(value).__name__}; declared is {declared}")
    if not compared or _same(value, expected, kind, inner):
        return CORRECT
    return wrong(VALUE, f"{argument} is {shorten(value)} instead of {shorten(expected)}")


def _inner_type(declared: str, schema: Mapping[str, Any]) -> Any:
    items = schema.get("items")
    if isinstance(items, dict) and "type" in items:
        return _TYPES.get(items["type"])
    return str if "string" in declared else dict


def _is_compared(value: Any, expected: Any, kind: Any, inner: Any) -> bool | None:
    """Return whether the value counts, or its type alone; None if the type is wrong."""
    value = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    of_reference = expected != "" and type(value) is type(expected)
    if type(value) is kind and (inner is None or _items_fit(value, expected, inner)):
        return expected == "" or type(expected) is kind
    return False if of_reference or (expected != "" and expected == value) else None


def _items_fit(value: Any, expected: Any, inner: Any) -> bool:
    """Whether an item of the reference is no list itself, or a list whose type all items of the value have."""
    items = expected if isinstance(expected, list | dict | str) else ()
    return any(
        not isinstance(item, list) or all(_is_compared(one, item, inner, None) is not None for one in value)
        for item in items
    )


def _same(value: Any, expected: Any, kind: Any, inner: Any) -> bool:
    if kind is dict:
        return _same_object(value, expected)
    if kind is list and inner is dict:
        return len(value) == len(expected) and all(map(_same_object, value, expected))
    if kind is str:
        return _standard(expected) in _standard(value)
    return kind is not list or list(map(_standard, value)) == list(map(_standard, expected))


def _same_object(value: Any, expected: Any) -> bool:
    if not isinstance(value, dict) or not isinstance(expected, dict) or len(value) != len(expected):
        return False
    return all(key in expected and _same_item(item, expected[key]) for key, item in value.items())


def _same_item(value: Any, expected: Any) -> bool:
    if isinstance(expected, dict):
        return _same_object(value, expected)
    value = {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    return str(_standard(expected)) in str(_standard(value))


def _standard(value: Any) -> Any:
    """A text without spaces and the punctuation , . / - _ * ^, in lower case and with one kind of quotes."""
    return _PUNCTUATION.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value
