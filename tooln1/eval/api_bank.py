"""API-Bank, level 1 ("call"): a dialogue and the tools it uses; the reply must hold the next call.

Two forms of the same calls, from the folder that the user names:
- the function-calling form, apibank_l1.json (github.com/MadeAgents/Hammer): 399 cases with tool descriptions;
- the benchmark's own dialogues, lv1-lv2-samples/level-1-given-desc/*.jsonl (github.com/AlibabaResearch/DAMO-ConvAI,
  folder api-bank; paper: https://arxiv.org/abs/2304.08244). Their tools are described in apis/*.py beside them, else in
  the function-calling form, else in all_apis.csv, whose names of arguments often differ from the dialogues'.
`api_bank_rules` has the rules.
"""

import ast
import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.eval.api_bank_rules import judge_call
from tooln1.eval.cases import FORMAT, WRONG_TOOL, Benchmark, Case, Verdict, wrong
from tooln1.eval.data_files import read_json_lines, read_json_list, read_text
from tooln1.eval.reply import Reading
from tooln1.prompt import build_messages

FUNCTION_CALLING = "apibank_l1.json"
DIALOGUES = "lv1-lv2-samples/level-1-given-desc"
FORMS = {"function_calling": FUNCTION_CALLING, "dialogues": DIALOGUES}
CATEGORY = "level_1_call"
# The references resolve dates by it, and the benchmark's own prompt says so.
CONTEXT = "The year is 2023."
# Asks for the call where the assistant has spoken last, as both forms' own prompts do.
REQUEST = "Generate the API request."
_MARK = "Generate API Request:"

Tool = dict[str, Any]


class ApiBank(Benchmark):
    """The cases of one form; without `form`, the function-calling form if it is there."""

    name = "api_bank"

    def __init__(self, folder: str | Path, template: str | None = None, form: str | None = None):
        """Load the cases.

        Raises:
            UserError: no form is there, or a file or row is not as it should be.
        """
        root, form = _find(Path(folder), form)
        if form == "function_calling":
            rows = _function_calling(root / FUNCTION_CALLING)
        else:
            rows = _dialogues(sorted((root / DIALOGUES).glob("*.jsonl")), _descriptions(root))
        self.cases = [_case(*row, template) for row in rows]
        self.version = form

    def judge(self, readings: Mapping[str, Reading]) -> dict[str, Verdict]:
        by_id = {case.id: case for case in self.cases}
        return {name: _judge(by_id[name], reading) for name, reading in readings.items()}

    def groups(self, accuracy: Mapping[str, float | None]) -> dict[str, float | None]:
        return {"accuracy": accuracy.get(CATEGORY)}


def _find(folder: Path, form: str | None) -> tuple[Path, str]:
    for root in (folder, folder / "api_bank", folder / "api-bank"):
        there = [name for name, path in FORMS.items() if (root / path).exists()]
        wanted = form or (there[0] if there else None)
        if wanted in there:
            return root, wanted
    needed = FORMS[form] if form else f"{FUNCTION_CALLING} or {DIALOGUES}"
    raise UserError(f"{folder}: no {needed} here; give the folder that has API-Bank's data")


def _case(where: str, name: str, tools: list[Tool], turns: list[dict], call: dict, template: str | None) -> Case:
    if turns and turns[-1]["role"] == "assistant":
        turns = [*turns, {"role": "user", "content": REQUEST}]
    try:
        messages = build_messages(tools, turns, CONTEXT, template)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{where}: cannot be written as a prompt ({error})") from None
    return Case(name, CATEGORY, messages, [call], {"declared": _declared(call["name"], tools)})


def _declared(name: str, tools: list[Tool]) -> Mapping[str, Any]:
    return next((tool["parameters"] for tool in tools if tool["name"] == name), {})


def _function_calling(path: Path) -> Iterator[tuple]:
    roles = {"user": "user", "agent": "assistant", "tool": "tool"}
    for number, row in enumerate(read_json_list(path)):
        where = f"{path}: row {number}"
        try:
            [call] = row["answers"]
            turns: list[dict[str, Any]] = []
            for turn in row["query"]:
                if turn["role"] == "assistant":
                    _add_calls(turns, json.loads(turn["content"].strip().strip("`")))
                else:
                    content = turn["content"].removesuffix(_MARK).strip()
                    turns.append({"role": roles[turn["role"]], "content": content})
            yield where, f"{path.stem}/{number}", row["tools"], _merged(turns), _plain_call(call)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where}: not a case of the function-calling form ({error!r})") from None


def _dialogues(paths: list[Path], described: Mapping[str, Tool]) -> Iterator[tuple]:
    for path in paths:
        lines = list(read_json_lines(path))
        names = sorted({line["api_name"] for _, line in lines if line.get("role") == "API" and "api_name" in line})
        missing = [name for name in names if name not in described]
        if missing:
            raise UserError(
                f"{path}: {missing[0]} is described nowhere; put apis/*.py or all_apis.csv beside {DIALOGUES}"
            )
        yield from _dialogue(path, lines, [described[name] for name in names])


def _dialogue(path: Path, lines: list[tuple[int, dict[str, Any]]], tools: list[Tool]) -> Iterator[tuple]:
    turns: list[dict[str, Any]] = []
    for number, line in lines:
        where = f"{path}: line {number}"
        try:
            if line["role"] != "API":
                turns.append({"role": {"User": "user", "AI": "assistant"}[line["role"]], "content": line["text"]})
                continue
            call = {"name": line["api_name"], "arguments": dict(line["param_dict"])}
            output = line["result"]["output"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a turn of a dialogue ({error!r})") from None
        yield where, f"{path.stem}/{number}", tools, _merged(turns), call
        _add_calls(turns, [call])
        turns.append({"role": "tool", "content": json.dumps(output, ensure_ascii=False)})


def _add_calls(turns: list[dict[str, Any]], calls: list[dict[str, Any]]) -> None:
    turns.append({"role": "assistant", "content": "", "calls": [_plain_call(call) for call in calls]})


def _merged(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the turns with what the assistant says right before its call in the same turn as the call."""
    merged: list[dict[str, Any]] = []
    for turn in turns:
        if "calls" in turn and merged and merged[-1]["role"] == "assistant" and "calls" not in merged[-1]:
            turn = {**turn, "content": merged.pop()["content"]}
        merged.append(turn)
    return merged


def _plain_call(call: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": call["name"], "arguments": dict(call["arguments"])}


def _descriptions(root: Path) -> dict[str, Tool]:
    """Return {tool: description} from the first of the three sources that is there."""
    modules = sorted((root / "apis").glob("*.py"))
    if modules:
        tools = [tool for path in modules for tool in _from_source(path, read_text(path))]
    elif (root / FUNCTION_CALLING).exists():
        tools = [tool for row in read_json_list(root / FUNCTION_CALLING) for tool in row["tools"]]
    elif (root / "all_apis.csv").exists():
        rows = csv.DictReader(io.StringIO(read_text(root / "all_apis.csv")))
        tools = [_tool(row["类名"], _constants(row["api_info"])) for row in rows if row.get("api_info")]
    else:
        raise UserError(f"{root}: no apis/*.py, {FUNCTION_CALLING} or all_apis.csv describes the dialogues' tools")
    return {tool["name"]: tool for tool in tools}


def _from_source(path: Path, text: str) -> Iterator[Tool]:
    """Yield the tools that a module's classes describe. The module is read and never run."""
    try:
        classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    except SyntaxError as error:
        raise UserError(f"{path}: not Python ({error.msg})") from None
    for one in classes:
        found = _assigned(one.body)
        if "input_parameters" in found:
            yield _tool(one.name, found)


def _constants(text: str) -> dict[str, Any]:
    try:
        return _assigned(ast.parse(text).body)
    except SyntaxError:  # a few descriptions in the table are not closed; no dialogue uses those tools
        return {}


def _assigned(body: list[ast.stmt]) -> dict[str, Any]:
    found = {}
    for node in body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue  # not a constant, such as a call in a class's body
    return found


def _tool(name: str, found: Mapping[str, Any]) -> Tool:
    parameters = found.get("input_parameters")
    return {
        "name": name,
        "description": found.get("description") or "",
        # The table writes "no parameters" as {None}, a set.
        "parameters": parameters if isinstance(parameters, dict) else {},
    }


def _judge(case: Case, reading: Reading) -> Verdict:
    if reading.calls is None:
        return wrong(FORMAT, reading.fault)
    if len(reading.calls) != 1:
        return wrong(WRONG_TOOL, f"{len(reading.calls)} calls instead of 1")
    return judge_call(reading.calls[0], case.reference[0], case.data["declared"])
