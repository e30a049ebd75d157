"""Runs side by side: each against the first, on the cases that both have answered, with McNemar's exact test."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.eval.data_files import read_json_lines, read_text
from tooln1.eval.significance import mcnemar, paired_interval
from tooln1.eval.summary import RESULTS, SUMMARY, percent, table

# {benchmark, category} of a case, and whether each run has it right
Correct = dict[tuple[str, str], bool]


def compare(folders: Sequence[Path]) -> str:
    """Return the comparison as Markdown tables, one for each run after the first.

    Raises:
        UserError: a folder holds no finished evaluation, or two runs share no case.
    """
    runs = [_Run(folder) for folder in folders]
    first, *others = runs
    parts = [_compare(first, other) for other in others]
    return "\n".join(["# Comparison", "", *parts])


class _Run:
    def __init__(self, folder: Path):
        self.folder = folder
        try:
            summary = json.loads(read_text(folder / SUMMARY))
            self.model, self.settings = str(summary["model"]), summary["settings"]
            rows = [row for _, row in read_json_lines(folder / RESULTS)]
            self.categories = {(row["benchmark"], row["id"]): row["category"] for row in rows}
            self.correct: Correct = {
                (row["benchmark"], row["id"]): row["correct"] for row in rows if row["correct"] is not None
            }
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{folder}: holds no evaluation of this version; run tooln1 eval again") from None


def _compare(first: _Run, other: _Run) -> str:
    shared = [case for case in first.correct if case in other.correct]
    if not shared:
        raise UserError(f"{first.folder} and {other.folder} have no answered case in common; nothing to compare")
    lines = [f"## {other.model} ({other.folder}) against {first.model} ({first.folder})", ""]
    lines += [note for note in (_different_data(first, other), _left_out(first, other, shared)) if note]
    head = ("category", "cases", "first %", "this %", "difference", "95 % interval", "gained", "lost", "p")
    lines += table(head, [_line(name, cases, first, other) for name, cases in _grouped(shared, first).items()])
    return "\n".join(lines)


def _grouped(shared: Sequence[tuple[str, str]], run: _Run) -> dict[str, list[tuple[str, str]]]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for case in shared:
        groups.setdefault(f"{case[0]}: {run.categories[case]}", []).append(case)
    for case in shared:
        groups.setdefault(f"{case[0]}: all cases", []).append(case)
    return groups


def _line(name: str, cases: Sequence[tuple[str, str]], first: _Run, other: _Run) -> list[str]:
    gained = sum(other.correct[case] and not first.correct[case] for case in cases)
    lost = sum(first.correct[case] and not other.correct[case] for case in cases)
    low, high = paired_interval(gained, lost, len(cases)) or (0.0, 0.0)
    shares = [sum(run.correct[case] for case in cases) / len(cases) for run in (first, other)]
    return [
        name,
        f"{len(cases):,}",
        *map(percent, shares),
        f"{100 * (shares[1] - shares[0]):+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        f"{gained:,}",
        f"{lost:,}",
        _p_value(mcnemar(gained, lost)),
    ]


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _different_data(first: _Run, other: _Run) -> str:
    ours: Mapping[str, Any] = first.settings.get("benchmarks", {})
    theirs: Mapping[str, Any] = other.settings.get("benchmarks", {})
    names = [name for name in ours if name in theirs and ours[name] != theirs[name]]
    return f"Not the same prompts or references: {', '.join(names)}.\n" if names else ""


def _left_out(first: _Run, other: _Run, shared: Sequence[Any]) -> str:
    left = len(first.categories.keys() | other.categories.keys()) - len(shared)
    return f"{left:,} cases are left out: only one of the two runs has a reply.\n" if left else ""
