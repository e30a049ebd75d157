"""`tooln1 score`: scores the responses of a file, such as a rollout dump of verl, and counts the reasons of failure."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tooln1.analysis.explain import CORRECT, explain, mark
from tooln1.errors import UserError
from tooln1.files import atomic_path, format_table, read_jsonl, visible
from tooln1.prompt import whole_response
from tooln1.reward_score import reward_function

# The first names are those of verl's rollout dumps.
RESPONSE_FIELDS = ("output", "solution_str", "response")
GROUND_TRUTH_FIELDS = ("gts", "ground_truth")
_RATES = {"score": "score", "acc": "accuracy", "format": "format", "tool_name": "name", "arguments": "arguments"}
_WRITTEN = ".scored.jsonl"


@dataclass(frozen=True)
class Row:
    """One row of a file: its line number, the response, its ground truth, and the group in which it is counted."""

    path: Path
    line: int
    response: str
    ground_truth: str
    group: str


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a JSON Lines file, or of all such files of a folder in the order of their steps.

    Raises:
        UserError: There is no such file, or a row lacks a field or holds the wrong type in it.
    """
    files = [path]
    if path.is_dir():
        files = [file for file in path.glob("*.jsonl") if not file.name.endswith(_WRITTEN)]
        files.sort(key=lambda file: (int(file.stem) if file.stem.isdecimal() else -1, file.name))
    for file in files:
        for line in tqdm(read_jsonl(file), desc=file.name, unit=" responses", disable=None, leave=False):
            where, row = f"{file}: line {line.number}", line.value
            if isinstance(row.get("reward_model"), dict):  # a row of the training files to which a response was added
                row = {"ground_truth": row["reward_model"].get("ground_truth"), **row}
            response = _text(where, row, "response", RESPONSE_FIELDS)
            response = whole_response(str(row.get("input", "")), response)  # in verl's dumps, the rendered prompt
            ground_truth = _text(where, row, "ground truth", GROUND_TRUTH_FIELDS)
            group = row.get("data_source") or (f"step {row['step']}" if "step" in row else file.name)
            yield Row(file, line.number, response, ground_truth, str(group))


def _text(where: str, row: dict[str, Any], what: str, names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise UserError(f"{where}: no {what}; name its field one of {', '.join(names)}")
    if not isinstance(row[name], str):
        raise UserError(f"{where}: field {name} is {type(row[name]).__name__}; write the {what} as a string")
    return row[name]


def score_row(row: Row, reward: str, variant: str) -> dict[str, Any]:
    """Return what `score_files` writes for one row: where the row is, its scores, and the reason.

    Raises:
        UserError: The ground truth is broken.
    """
    try:
        scores = reward_function(reward)(row.group, row.response, row.ground_truth, variant=variant)
        why = explain(row.response, row.ground_truth, reward)
    except ValueError as error:
        raise UserError(f"{row.path}: line {row.line}: {error}") from error
    return {"file": str(row.path), "row": row.line, "group": row.group, **scores, **asdict(why)}


def score_files(path: Path, output: Path | None, reward: str, variant: str) -> str:
    """Score all responses of a file or folder, write their scores as JSON Lines, and return the tables to print.

    Args:
        path: A JSON Lines file, or a folder of them such as verl's `trainer.rollout_data_dir`.
        output: Where to write (default: beside `path`).
        reward: ``strict`` or ``paper``.
        variant: A variant of the reward.

    Raises:
        UserError: The input is wrong; nothing is written.
    """
    output = output or path.with_name(path.name.removesuffix(".jsonl") + _WRITTEN)
    groups: dict[str, Counter[str]] = defaultdict(Counter)  # of each group the count, and the sums of the scores
    reasons: Counter[str] = Counter()
    examples: dict[str, str] = {}
    with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for number, row in enumerate(read_rows(path), 1):
            scored = score_row(row, reward, variant)
            lines.write(json.dumps({**scored, "number": number}) + "\n")
            groups[row.group].update({"responses": 1, **{name: scored[name] for name in _RATES}})
            reasons[scored["reason"]] += 1
            place = f"{number} ({row.path.name} line {row.line})"
            examples.setdefault(scored["reason"], f"{scored['reason']}, for example {place}: {scored['detail']}")
        if not groups:
            raise UserError(f"{path}: no responses; give a rollout dump of verl or another JSON Lines file")
    title = f"{reasons.total():,} responses, reward {reward}, variant {variant}"
    return "\n\n".join([title, _rates_table(groups), *_reasons_table(reasons, examples), f"written: {output}"])


def _rates_table(groups: dict[str, Counter[str]]) -> str:
    everything = ("all", sum(groups.values(), Counter()))
    rows = []
    for name, sums in [*groups.items(), everything] if len(groups) > 1 else [everything]:
        count = sums["responses"]
        rows.append([name, count, *(f"{sums[rate] / count:.3f}" for rate in _RATES)])
    return format_table(["", "responses", *_RATES.values()], rows)


def _reasons_table(reasons: Counter[str], examples: dict[str, str]) -> list[str]:
    wrong = [(reason, count) for reason, count in reasons.most_common() if reason != CORRECT]
    if not wrong:
        return ["every response is correct"]
    rows = [[reason, count, f"{count / reasons.total():.1%}"] for reason, count in wrong]
    return [format_table(["reason", "responses", "share"], rows), "\n".join(examples[reason] for reason, _ in wrong)]


def explain_row(path: Path, number: int, reward: str, variant: str) -> str:
    """Return response `number`, counted from 1 over all files, with its scores and its first mistake marked.

    Raises:
        UserError: There is no such response, or it cannot be read.
    """
    count = 0
    for row in read_rows(path):
        count += 1
        if count == number:
            return _explained(row, score_row(row, reward, variant))
    raise UserError(f"{path}: no response {number}; --explain takes a number from 1 to {count}")


def _explained(row: Row, scored: dict[str, Any]) -> str:
    scores = ", ".join(f"{name} {scored[name]:g}" for name in _RATES)
    head = f"{row.path}, line {row.line}: {scores}\nground truth: {row.ground_truth}\nreason: {scored['reason']}\n"
    if scored["position"] is None:
        return head + "\n" + "\n".join(map(visible, row.response.split("\n")))
    return f"{head}detail: {scored['detail']}\n\n{mark(row.response, scored['position'])}"
