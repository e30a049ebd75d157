"""ACEBench, the "normal" data of one turn: atom (by type of argument) and single_turn, English and Chinese.

The data are the folders data_en and data_zh of the benchmark's data_all (github.com/ACEBench/ACEBench, MIT; paper:
https://arxiv.org/abs/2501.12851), unchanged. The rules are those of its model_eval/checker.py and eval_main.py. They
are looser than they look: a text is right if it contains the ground truth's; top-level numbers and booleans, and values
of the ground truth's rather than the declared type, are compared by type alone; optional arguments may be left out;
inside an object, every value is compared as text. docs/evaluation.md lists them.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tooln1.calls import CallError, read_calls
from tooln1.errors import UserError
from tooln1.eval.benchmark import (
    EXTRA,
    MISSING,
    TYPE,
    VALUE,
    WRONG_TOOL,
    Benchmark,
    Calls,
    Case,
    Mistake,
    Reading,
    Turns,
    as_json,
    mean,
)
from tooln1.files import read_jsonl
from tooln1.tools import normalize_tools

ATOM = ("bool", "enum", "list", "number", "object_deep", "object_short")
SINGLE_TURN = ("single_function", "parallel_function")
KINDS = {**{f"atom_{kind}": "atom" for kind in ATOM}, **{f"single_turn_{kind}": "single_turn" for kind in SINGLE_TURN}}
LANGUAGES = ("en", "zh")
# Its data call the assistant "system".
_ROLES = {"user": "user", "system": "assistant"}
_TURN = re.compile(r"^(user|system):[ ]?", re.MULTILINE)
_NUMBER = re.compile(r"_\d+$")  # after the name of a tool that is called several times

# Declared types and what they are in Python. A "number" is an integer: a decimal one passes by the ground truth's type.
_TYPES = {
    **dict.fromkeys(("string", "any"), str),
    **dict.fromkeys(("integer", "int", "number"), int),
    "float": float,
    "boolean": bool,
    **dict.fromkeys(("array", "tuple", "list", "list(string)", "list(enum)", "objectArray"), list),
    **dict.fromkeys(("object", "dict"), dict),
}
_NESTED = ("array", "tuple", "list(string)", "list(enum)", "object", "objectArray")
_BOOLEANS = {"true": True, "false": False}
_PUNCTUATION = re.compile(r"[ ,./\-_*^]")


class AceBench(Benchmark):
    """The cases of every language whose folder is there."""

    name = "acebench"

    def __init__(self, folder: str | Path):
        """Load the cases. Raises UserError if no data_en or data_zh is there, a file is missing, or a row is broken."""
        roots = _find(Path(folder))
        files = [root / f"data_normal_{kind}.json" for root in roots for kind in KINDS]
        self.cases = [case for path in files for case in _cases(path)]
        self.version = "+".join(root.name for root in roots)

    def judge(self, case: Case, reading: Reading) -> Mistake | None:
        mistakes = [judge_calls(reading.calls or [], answer, case.data["tools"]) for answer in case.data["answers"]]
        return None if None in mistakes else mistakes[0]

    def groups(self, categories: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
        """Return plain means of categories by language; the accuracy is that of all English ones, as in the paper."""
        groups: dict[str, float | None] = {}
        for language in LANGUAGES:
            for group in (*dict.fromkeys(KINDS.values()), "normal"):
                names = [f"{language}_{kind}" for kind, its in KINDS.items() if group in (its, "normal")]
                if any(name in categories for name in names):
                    groups[f"{language}_{group}"] = mean([categories.get(name, {}).get("accuracy") for name in names])
        accuracy = groups.pop("en_normal", None)
        return {**groups, "accuracy": accuracy}


def _find(folder: Path) -> list[Path]:
    for base in (folder, folder / "data_all", folder / "acebench" / "data_all", folder / "ACEBench" / "data_all"):
        if roots := [base / f"data_{language}" for language in LANGUAGES if (base / f"data_{language}").is_dir()]:
            return roots
    raise UserError(
        f"{folder}: no data_en or data_zh here or in data_all; give the folder that has ACEBench's data_all"
    )


def _cases(path: Path) -> Iterator[Case]:
    language = path.parent.name.removeprefix("data_")
    kind = path.stem.removeprefix("data_normal_")
    answers_path = path.parent / "possible_answer" / path.name
    answers = {line.value.get("id"): line.value.get("ground_truth") for line in read_jsonl(answers_path)}
    for line in read_jsonl(path):
        row, where = line.value, f"{path}: line {line.number}"
        answer = answers.get(row.get("id"))
        allowed = answer if isinstance(answer, list) else [answer]
        if not allowed or not all(isinstance(one, dict) for one in allowed):
            raise UserError(f"{where}: id {row.get('id')!r} has no ground_truth object in {answers_path}")
        try:
            tools = row["function"]
            turns = _turns(row["question"], normalize_tools(tools))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a question with its tools ({type(error).__name__}: {error})") from None
        yield Case(
            id=f"{language}/{row['id']}",
            category=f"{language}_{kind}",
            ground_truth=[
                {"name": _NUMBER.sub("", key), "arguments": arguments} for key, arguments in allowed[0].items()
            ],
            turns=turns,
            tools=tools,
            context=row.get("time") or "",
            data={"answers": allowed, "tools": row["function"]},
        )


def _turns(question: str, tools: list[dict[str, Any]]) -> Turns:
    """Split "user: …\\nsystem: …\\nuser: …" into turns; an earlier call of the assistant is written as a call."""
    pieces = _TURN.split(question)
    if len(pieces) < 3 or pieces[0].strip():
        raise ValueError('the question does not start with "user: "')
    turns = zip(pieces[1::2], pieces[2::2], strict=True)
    return [_turn(_ROLES[role], text.strip(), tools) for role, text in turns]


def _turn(role: str, text: str, tools: list[dict[str, Any]]) -> dict[str, Any]:
    if role == "assistant" and text.startswith("["):
        try:
            return {"role": role, "calls": read_calls(text, tools)}
        except CallError:
            pass  # some call tools that the case does not list: the text stays as it is
    return {"role": role, "content": text}


def judge_calls(
    calls: Calls, answer: Mapping[str, Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> Mistake | None:
    """Judge calls by one of a case's answers.

    Args:
        answer: {tool: arguments}; tools called several times have "_1", "_2", … after their names.
        tools: the case's tools as in the data.
    """
    if len(calls) != len(answer):
        return Mistake(WRONG_TOOL, f"{len(calls)} calls instead of {len(answer)}")
    found = Counter(call["name"] for call in calls)
    wanted = Counter(_NUMBER.sub("", key) for key in answer)
    if found != wanted:
        surplus, missing = (sorted(names.elements()) for names in (found - wanted, wanted - found))
        return Mistake(WRONG_TOOL, f"{as_json(surplus)} instead of {as_json(missing)}")
    for key, arguments in answer.items():
        name = _NUMBER.sub("", key)
        # As in the benchmark: the first tool whose name is part of the answer's, and no pairing of calls one to one.
        tool = next((tool for tool in tools if tool["name"] in key), {"name": name})
        mistakes = [_judge_call(call, name, arguments, tool) for call in calls if call["name"] == name]
        if None not in mistakes:
            return mistakes[0]
    return None


def _judge_call(
    call: Mapping[str, Any], name: str, expected: Mapping[str, Any], tool: Mapping[str, Any]
) -> Mistake | None:
    arguments, parameters = call["arguments"], tool.get("parameters") or {}
    if not arguments and not parameters:
        return None
    if not arguments or not parameters:
        return Mistake(MISSING if expected else EXTRA, f"{name} is called with {as_json(arguments)}")
    schemas = parameters.get("properties") or {}
    if expected == schemas:  # both are empty
        return None
    if not expected:
        return Mistake(EXTRA, f"{name} takes no argument here")
    if tool["name"] != name:
        return Mistake(WRONG_TOOL, f"{name} instead of {tool['name']}")
    for argument in parameters.get("required") or ():
        if argument not in arguments:
            return Mistake(MISSING, f"{argument} is missing")
    for argument, value in arguments.items():
        if argument not in schemas or argument not in expected:
            return Mistake(EXTRA, f"{as_json(argument)} is not in the ground truth")
        if mistake := _judge_value(argument, value, expected[argument], schemas[argument]):
            return mistake
    return None


def _judge_value(argument: str, value: Any, expected: Any, schema: Mapping[str, Any]) -> Mistake | None:
    declared = schema.get("type")
    kind = _TYPES.get(declared) if isinstance(declared, str) else None
    inner = _inner_type(declared, schema) if declared in _NESTED else None
    if declared == "float" and type(value) is int:
        value = float(value)
    compared = _is_compared(value, expected, kind, inner)
    if compared is None:
        return Mistake(TYPE, f"{argument} is {as_json(value)}, a {type(value).__name__}; declared is {declared}")
    if not compared or _same(value, expected, kind, inner):
        return None
    return Mistake(VALUE, f"{argument} is {as_json(value)} instead of {as_json(expected)}")


def _inner_type(declared: str, schema: Mapping[str, Any]) -> Any:
    items = schema.get("items")
    if isinstance(items, dict) and "type" in items:
        return _TYPES.get(items["type"])
    return str if "string" in declared else dict


def _is_compared(value: Any, expected: Any, kind: Any, inner: Any) -> bool | None:
    """Return whether the value counts, or its type alone; None if the type is wrong."""
    value = _BOOLEANS.get(value, value) if isinstance(value, str) else value
    if type(value) is kind:
        fits = inner is None or _items_fit(value, expected, inner)
        return (expected == "" or type(expected) is kind) if fits else None
    return False if expected != "" and (type(value) is type(expected) or expected == value) else None


def _items_fit(value: Any, expected: Any, inner: Any) -> bool:
    """Whether an item of the ground truth is no list itself, or a list whose type all items of the value have.

    An empty ground truth has no such item: the benchmark's checker refuses every value of the declared type.
    """
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
    value = _BOOLEANS.get(value, value) if isinstance(value, str) else value
    return str(_standard(expected)) in str(_standard(value))


def _standard(value: Any) -> Any:
    """A text without spaces and the punctuation , . / - _ * ^, in lower case and with one kind of quotes."""
    return _PUNCTUATION.sub("", value).lower().replace("'", '"') if isinstance(value, str) else value
