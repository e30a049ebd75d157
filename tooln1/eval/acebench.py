"""ACEBench, the "normal" data of one turn: atom (by type of argument) and single_turn, English and Chinese.

The data are the folders data_en and data_zh of the benchmark's data_all (github.com/ACEBench/ACEBench, MIT; paper:
https://arxiv.org/abs/2501.12851), unchanged. `acebench_rules` has the rules.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tooln1.calls import CallError, read_calls
from tooln1.errors import UserError
from tooln1.eval.acebench_rules import judge_calls
from tooln1.eval.cases import FORMAT, Benchmark, Case, Verdict, mean, wrong
from tooln1.eval.data_files import read_json_lines
from tooln1.eval.reply import Reading
from tooln1.prompt import build_messages

ATOM = ("bool", "enum", "list", "number", "object_deep", "object_short")
SINGLE_TURN = ("single_function", "parallel_function")
KINDS = {**{f"atom_{kind}": "atom" for kind in ATOM}, **{f"single_turn_{kind}": "single_turn" for kind in SINGLE_TURN}}
LANGUAGES = ("en", "zh")
# Its data call the assistant "system".
_ROLES = {"user": "user", "system": "assistant"}
_TURN = re.compile(r"^(user|system):[ ]?", re.MULTILINE)


class AceBench(Benchmark):
    """The cases of every file that is there; of a language either all files or none."""

    name = "acebench"

    def __init__(self, folder: str | Path, template: str | None = None):
        """Load the cases.

        Raises:
            UserError: no data_en or data_zh under the folder, a file is missing, or a row is not as it should be.
        """
        roots = _find(Path(folder))
        files = [root / f"data_normal_{kind}.json" for root in roots for kind in KINDS]
        self.cases = [case for path in files for case in _cases(path, template)]
        self.version = "+".join(root.name for root in roots)

    def judge(self, readings: Mapping[str, Reading]) -> dict[str, Verdict]:
        by_id = {case.id: case for case in self.cases}
        return {name: _judge(by_id[name], reading) for name, reading in readings.items()}

    def groups(self, accuracy: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return atom and single_turn by language, the plain means of their categories as in the benchmark's tables."""
        groups: dict[str, float | None] = {}
        languages = [language for language in LANGUAGES if any(name.startswith(language) for name in accuracy)]
        for language in languages:
            for group in dict.fromkeys(KINDS.values()):
                names = [f"{language}_{kind}" for kind, its in KINDS.items() if its == group]
                groups[f"{language}_{group}"] = mean([accuracy.get(name) for name in names])
        return {**groups, "accuracy": mean(list(groups.values()))}


def _find(folder: Path) -> list[Path]:
    candidates = [folder, folder / "data_all", folder / "acebench" / "data_all", folder / "ACEBench" / "data_all"]
    for base in candidates:
        roots = [base / f"data_{language}" for language in LANGUAGES if (base / f"data_{language}").is_dir()]
        if roots:
            return roots
    raise UserError(
        f"{folder}: no data_en or data_zh here or in data_all; give the folder that has ACEBench's data_all"
    )


def _answers(path: Path) -> Path:
    return path.parent / "possible_answer" / path.name


def _cases(path: Path, template: str | None) -> Iterator[Case]:
    language = path.parent.name.removeprefix("data_")
    kind = path.stem.removeprefix("data_normal_")
    answers = {row.get("id"): row for _, row in read_json_lines(_answers(path))}
    for number, row in read_json_lines(path):
        where = f"{path}: line {number}"
        answer = answers.get(row.get("id"), {}).get("ground_truth")
        allowed = answer if isinstance(answer, list) else [answer]
        if not allowed or not all(isinstance(one, dict) for one in allowed):
            raise UserError(f"{where}: id {row.get('id')!r} has no ground_truth object in {_answers(path)}")
        try:
            tools = [_tool(tool) for tool in row["function"]]
            messages = build_messages(tools, _turns(row["question"], tools), row.get("time") or "", template)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{where}: not a question with its tools ({type(error).__name__}: {error})") from None
        yield Case(
            id=f"{language}/{row['id']}",
            category=f"{language}_{kind}",
            messages=messages,
            reference=_calls(allowed[0]),
            data={"answers": allowed, "tools": row["function"]},
        )


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool as the model sees it: many that no answer uses say "arguments" where others say "parameters"."""
    if "parameters" in tool or "arguments" not in tool:
        return dict(tool)
    return {("parameters" if key == "arguments" else key): value for key, value in tool.items()}


def _turns(question: str, tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Split "user: …\\nsystem: …\\nuser: …" into turns; an earlier call of the assistant's is written as one."""
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


def _calls(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"name": re.sub(r"_\d+$", "", key), "arguments": arguments} for key, arguments in answer.items()]


def _judge(case: Case, reading: Reading) -> Verdict:
    if reading.calls is None:
        return wrong(FORMAT, reading.fault)
    verdicts = [judge_calls(reading.calls, answer, case.data["tools"]) for answer in case.data["answers"]]
    return next((verdict for verdict in verdicts if verdict.correct), verdicts[0])
