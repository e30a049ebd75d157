"""API-Bank, level 1 ("call"): a dialogue and the tools it uses; the response must hold the next call.

There are two forms of the same calls in the folder that the user names:
- the function-calling form, apibank_l1.json (github.com/MadeAgents/Hammer): 399 cases with tool descriptions;
- the benchmark's own dialogues, lv1-lv2-samples/level-1-given-desc/*.jsonl (github.com/AlibabaResearch/DAMO-ConvAI,
  folder api-bank; paper: https://arxiv.org/abs/2304.08244). Their tools are described in apis/*.py beside them, else in
  the function-calling form.
In the benchmark's whole folder, its own code judges the dialogues' calls (`api_bank_bridge`); else `api_bank_rules`.
"""

import ast
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.eval.api_bank_rules import judge_call
from tooln1.eval.benchmark import VALUE, WRONG_TOOL, Benchmark, Calls, Case, Mistake, Reading, Turns
from tooln1.eval.bridge import Bridge
from tooln1.files import Line, one_line, read_json, read_jsonl, read_text
from tooln1.tools import normalize_tools

FUNCTION_CALLING = "apibank_l1.json"
DIALOGUES = "lv1-lv2-samples/level-1-given-desc"
FORMS = {"function_calling": FUNCTION_CALLING, "dialogues": DIALOGUES}
# What the benchmark's own code needs besides the dialogues.
_EVALUATOR = ("tool_manager.py", "apis", "init_database")
_BRIDGE = Path(__file__).with_name("api_bank_bridge.py")
CATEGORY = "level_1_call"
# The dates of the ground truth need it, and the benchmark's own prompt says it.
CONTEXT = "The year is 2023."
# Asks for the call where the assistant has spoken last, as both forms' own prompts do.
REQUEST = "Generate the API request."
_MARK = "Generate API Request:"

Tool = dict[str, Any]


class ApiBank(Benchmark):
    """The cases of one form; without `form`, that which the benchmark's own code can judge, else the function calls."""

    name = "api_bank"

    def __init__(
        self,
        folder: str | Path,
        form: str | None = None,
        log: Path = Path("api_bank.log"),
    ):
        """Load the cases. Raises UserError if the form is not there, or a file or row is broken.

        Args:
            log: for what the benchmark's own code prints.
        """
        self._root, form = _find(Path(folder), form)
        hint = "give the whole folder api-bank of github.com/AlibabaResearch/DAMO-ConvAI"
        # -I and -S leave this environment's packages out, -B writes nothing into the benchmark's folder.
        command = [sys.executable, "-I", "-S", "-B", _BRIDGE]
        self._bridge = Bridge(command, log.absolute(), hint, folder=self._root)
        self._official = form == "dialogues" and _has_evaluator(self._root)
        self.version = f"{form}, the benchmark's own code" if self._official else form
        read = _function_calling if form == "function_calling" else _dialogues
        self.cases = [_case(*found) for found in read(self._root)]

    def judge(self, case: Case, reading: Reading) -> Mistake | None:
        """Judge the first call, as the benchmark does, by our own rules."""
        if not reading.calls:
            return Mistake(WRONG_TOOL, "no call")
        return judge_call(reading.calls[0], case.ground_truth[0], case.data["declared"])

    def judge_all(self, readings: Mapping[str, Reading]) -> dict[str, Mistake | None]:
        """Have the benchmark's own code decide if it is there; our rules name the kind of mistake."""
        mistakes = super().judge_all(readings)
        if not self._official:
            return mistakes
        asked = [
            {"id": case.id, "call": readings[case.id].calls[0], "turn": case.data["turn"]}
            for case in self.cases
            if case.id in readings and readings[case.id].calls
        ]
        for name, (valid, detail) in self._bridge("judge", asked).items():
            if valid is not None:
                mistakes[name] = None if valid else mistakes[name] or Mistake(VALUE, one_line(detail, 300))
        return mistakes

    def groups(self, categories: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
        return {"accuracy": categories[CATEGORY]["accuracy"]}


def _find(folder: Path, form: str | None) -> tuple[Path, str]:
    for root in (folder, folder / "api_bank", folder / "api-bank"):
        for name in (form,) if form else reversed(FORMS) if _has_evaluator(root) else FORMS:
            if (root / FORMS[name]).exists():
                return root, name
    needed = FORMS[form] if form else f"{FUNCTION_CALLING} or {DIALOGUES}"
    raise UserError(f"{folder}: no {needed} here; give the folder that has API-Bank's data")


def _has_evaluator(root: Path) -> bool:
    return all((root / name).exists() for name in _EVALUATOR)


def _case(name: str, tools: list[Tool], turns: Turns, call: dict[str, Any], turn: Any) -> Case:
    """Make a case; ``turn`` is the benchmark's own turn of the call, with what the API returned."""
    if turns and turns[-1]["role"] == "assistant":
        turns = [*turns, {"role": "user", "content": REQUEST}]
    declared = next((tool["parameters"] for tool in tools if tool["name"] == call["name"]), {})
    return Case(name, CATEGORY, [call], turns, tools, CONTEXT, {"declared": declared, "turn": turn})


def _function_calling(root: Path) -> Iterator[tuple]:
    path = root / FUNCTION_CALLING
    roles = {"user": "user", "agent": "assistant", "tool": "tool"}
    for number, row in enumerate(_read_list(path)):
        where = f"{path}: row {number}"
        try:
            [answer] = row["answers"]
            call = {"name": answer["name"], "arguments": dict(answer["arguments"])}
            normalize_tools(row["tools"])  # raises if one has no known shape
            turns: Turns = []
            for turn in row["query"]:
                if turn["role"] == "assistant":
                    _add_calls(turns, json.loads(turn["content"].strip().strip("`")))
                else:
                    content = turn["content"].removesuffix(_MARK).strip()
                    turns.append({"role": roles[turn["role"]], "content": content})
            yield f"{path.stem}/{number}", row["tools"], turns, call, None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{where}: not a case of the function-calling form ({error!r})") from None


def _read_list(path: Path) -> list[Any]:
    rows = read_json(path)
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a JSON list")
    return rows


def _dialogues(root: Path) -> Iterator[tuple]:
    described = _descriptions(root)
    for path in sorted((root / DIALOGUES).glob("*.jsonl")):
        lines = list(read_jsonl(path))
        names = {line.value.get("api_name") for line in lines if line.value.get("role") == "API"}
        if missing := names - described.keys():
            raise UserError(f"{path}: {min(map(str, missing))} is described nowhere; put apis/*.py beside {DIALOGUES}")
        yield from _dialogue(path, lines, [described[name] for name in sorted(names)])


def _dialogue(path: Path, lines: Sequence[Line], tools: list[Tool]) -> Iterator[tuple]:
    turns: Turns = []
    for line in lines:
        where, turn = f"{path}: line {line.number}", line.value
        try:
            if turn["role"] != "API":
                turns.append({"role": {"User": "user", "AI": "assistant"}[turn["role"]], "content": turn["text"]})
                continue
            call = {"name": turn["api_name"], "arguments": dict(turn["param_dict"])}
            output = turn["result"]["output"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a turn of a dialogue ({error!r})") from None
        yield f"{path.stem}/{line.number}", tools, list(turns), call, turn
        _add_calls(turns, [call])
        turns.append({"role": "tool", "content": json.dumps(output, ensure_ascii=False)})


def _add_calls(turns: Turns, calls: Calls) -> None:
    """Add calls to the turn in which the assistant announces them, or as a turn."""
    announced = bool(turns) and turns[-1]["role"] == "assistant" and "calls" not in turns[-1]
    content = turns.pop()["content"] if announced else ""
    turns.append({"role": "assistant", "content": content, "calls": calls})


def _descriptions(root: Path) -> dict[str, Tool]:
    """Return {tool: description}."""
    modules = sorted((root / "apis").glob("*.py"))
    if modules:
        tools = [tool for path in modules for tool in _described_in(path)]
    elif (root / FUNCTION_CALLING).exists():
        tools = [tool for row in _read_list(root / FUNCTION_CALLING) for tool in row["tools"]]
    else:
        raise UserError(f"{root}: no apis/*.py or {FUNCTION_CALLING} describes the dialogues' tools")
    return {tool["name"]: tool for tool in tools}


def _described_in(path: Path) -> Iterator[Tool]:
    """Yield the tools that a module's classes describe. The module is read and never run."""
    try:
        classes = [node for node in ast.parse(read_text(path)).body if isinstance(node, ast.ClassDef)]
    except SyntaxError as error:
        raise UserError(f"{path}: not Python ({error.msg})") from None
    for one in classes:
        constants = {}
        for node in one.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                with suppress(ValueError):  # not a constant, such as a call in a class's body
                    constants[node.targets[0].id] = ast.literal_eval(node.value)
        if "input_parameters" in constants:
            parameters, description = constants["input_parameters"], constants.get("description", "")
            yield {"name": one.name, "description": description, "parameters": parameters}
