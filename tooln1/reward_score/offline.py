"""Scores the replies of a file: `tooln1 score`, for rollout dumps of verl and for any JSON Lines with a reference."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tooln1.errors import UserError
from tooln1.files import atomic_path
from tooln1.reward_score.explain import CORRECT, explain, mark, visible
from tooln1.reward_score.toolcall import compute_score

# The first names are those of verl's rollout dumps.
REPLY_FIELDS = ("output", "solution_str", "response", "reply")
REFERENCE_FIELDS = ("gts", "ground_truth", "reference")
_RATES = ("score", "acc", "format", "tool_name", "arguments")
_HEADS = ("replies", "score", "accuracy", "format", "name", "arguments")
_WRITTEN = ".scored.jsonl"
_ALL = ""  # the group of every reply; a group of the data has a name


@dataclass(frozen=True)
class Reply:
    """One row of a file: where it stands, the reply, its reference, and the group that it is counted in."""

    path: Path
    row: int
    text: str
    reference: str
    group: str


def input_files(path: Path) -> list[Path]:
    """The files to read: `path` itself, or the JSON Lines files of a folder in the order of their steps.

    Raises:
        UserError: There is none.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path]
    files = [file for file in path.glob("*.jsonl") if not file.name.endswith(_WRITTEN)]
    if not files:
        raise UserError(f"{path}: no *.jsonl in this folder; give a rollout dump of verl or a JSON Lines file")
    return sorted(files, key=lambda file: (int(file.stem) if file.stem.isdecimal() else -1, file.name))


def read_replies(path: Path) -> Iterator[Reply]:
    """Yield the rows of one file, blank lines left out; `row` is the line's number from 1.

    Raises:
        UserError: The file cannot be read, or a row lacks a field or holds the wrong type in it.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _reply(path, number, line)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); give a JSON Lines file") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def _reply(path: Path, number: int, line: str) -> Reply:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: row {number} is not JSON ({error}); write one JSON object a line") from error
    if not isinstance(row, dict):
        raise UserError(f"{path}: row {number} is {type(row).__name__}, not an object; write one JSON object a line")
    if isinstance(row.get("reward_model"), dict):  # a row of the training files, with a reply put in
        row = {"ground_truth": row["reward_model"].get("ground_truth"), **row}
    text = _field(path, number, row, "reply", REPLY_FIELDS)
    reference = _field(path, number, row, "reference", REFERENCE_FIELDS)
    step = f"step {row['step']}" if "step" in row else path.name
    return Reply(path, number, text, reference, str(row.get("data_source") or step))


def _field(path: Path, number: int, row: dict[str, Any], what: str, names: tuple[str, ...]) -> str:
    name = next((name for name in names if name in row), None)
    if name is None:
        raise UserError(f"{path}: row {number} has no {what}: name its field one of {', '.join(names)}")
    if not isinstance(row[name], str):
        found = type(row[name]).__name__
        raise UserError(f"{path}: row {number}, field {name}: {what} as text expected, not {found}; write a string")
    return row[name]


def check_choice(profile: str, variant: str) -> None:
    """Raise a UserError that names the choices if there is no such profile or variant."""
    try:
        compute_score("", "", "[]", profile=profile, variant=variant)
    except ValueError as error:
        raise UserError(str(error)) from error


def score_reply(reply: Reply, profile: str, variant: str) -> dict[str, Any]:
    """The row that `score_files` writes for one reply: where it stands, its scores, and why.

    Raises:
        UserError: The reference is broken.
    """
    try:
        scores = compute_score(reply.group, reply.text, reply.reference, profile=profile, variant=variant)
        why = explain(reply.text, reply.reference, profile=profile)
    except ValueError as error:
        raise UserError(f"{reply.path}: row {reply.row}, field {'/'.join(REFERENCE_FIELDS)}: {error}") from error
    return {"file": str(reply.path), "row": reply.row, "group": reply.group, **scores, **asdict(why)}


def score_files(path: Path, output: Path | None, profile: str, variant: str) -> str:
    """Score all replies of a file or folder, write a JSON Lines file of their scores, and return a table.

    Args:
        path: A JSON Lines file, or a folder of them such as verl's `trainer.rollout_data_dir`.
        output: Where to write; beside `path` without it.
        profile: ``strict`` or ``paper``.
        variant: One of the reward's variants.

    Raises:
        UserError: Something in the input is wrong; nothing is written then.
    """
    check_choice(profile, variant)
    output = output or path.with_name(path.name.removesuffix(".jsonl") + _WRITTEN)
    groups: dict[str, list[float]] = defaultdict(lambda: [0.0] * (1 + len(_RATES)))
    reasons: Counter[str] = Counter()  # its total is the number of the reply at hand, as --explain counts
    examples: dict[str, dict[str, Any]] = {}
    files = input_files(path)
    with atomic_path(output) as temporary, temporary.open("w", encoding="utf-8", errors="backslashreplace") as lines:
        for file in files:
            for reply in tqdm(read_replies(file), desc=file.name, unit=" replies", disable=None, leave=False):
                scored = score_reply(reply, profile, variant)
                reasons[scored["reason"]] += 1
                scored["number"] = reasons.total()
                lines.write(json.dumps(scored) + "\n")
                examples.setdefault(scored["reason"], scored)
                for group in (reply.group, _ALL):
                    sums = groups[group]
                    sums[:] = [old + new for old, new in zip(sums, [1.0, *map(scored.get, _RATES)], strict=True)]
        if not reasons:
            raise UserError(f"{path}: no rows; give a rollout dump of verl or a JSON Lines file")
    title = f"{reasons.total()} replies, profile {profile}, variant {variant}"
    return "\n\n".join([title, _rates_table(groups), _reasons_table(reasons, examples), f"written: {output}"])


def _rates_table(groups: dict[str, list[float]]) -> str:
    everything = groups.pop(_ALL)
    if len(groups) == 1:
        groups = {}
    rows = [[name, f"{count:.0f}", *(f"{one / count:.3f}" for one in sums)] for name, (count, *sums) in groups.items()]
    count, *sums = everything
    return table([["", *_HEADS], *rows, ["all", f"{count:.0f}", *(f"{one / count:.3f}" for one in sums)]])


def _reasons_table(reasons: Counter[str], examples: dict[str, dict[str, Any]]) -> str:
    wrong = [(reason, count) for reason, count in reasons.most_common() if reason != CORRECT]
    if not wrong:
        return "every reply is correct"
    rows = [["most common reasons", "replies", "share", "for example"]]
    for reason, count in wrong:
        one = examples[reason]
        where = f"{one['number']} ({Path(one['file']).name} row {one['row']}): {one['detail']}"
        rows.append([reason, str(count), f"{count / reasons.total():.1%}", where])
    return table(rows)


def table(rows: list[list[str]]) -> str:
    """The rows as text, in columns as wide as their widest cell; columns of numbers are set to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    numbers = [column[-1].rstrip("%").replace(".", "").isdigit() for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def explain_row(path: Path, number: int, profile: str, variant: str) -> str:
    """Reply `number`, counted from 1 over all files, its scores, and its first fault marked.

    Raises:
        UserError: There is no such row, or it cannot be read.
    """
    check_choice(profile, variant)
    seen = 0
    for file in input_files(path):
        for reply in read_replies(file):
            seen += 1
            if seen == number:
                return _explained(reply, score_reply(reply, profile, variant))
    raise UserError(f"{path}: no row {number}, it has {seen}; give --explain a number from 1 to {seen}")


def _explained(reply: Reply, scored: dict[str, Any]) -> str:
    scores = ", ".join(f"{name} {scored[name]:g}" for name in _RATES)
    lines = [f"{reply.path}, row {reply.row}: {scores}", f"expected: {reply.reference}", f"reason: {scored['reason']}"]
    if scored["position"] is None:
        return "\n".join([*lines, "", *map(visible, reply.text.split("\n"))])
    return "\n".join([*lines, f"detail: {scored['detail']}", "", mark(reply.text, scored["position"])])
