"""Evaluations side by side: each against the first, on the cases that both answered, with McNemar's exact test."""

import math
from collections.abc import Sequence
from pathlib import Path

from tooln1.errors import UserError
from tooln1.eval.summary import RESULTS, SUMMARY, Z, markdown, percent
from tooln1.files import read_json, read_jsonl

# Of each case, whether the first and the other evaluation have it right.
Pairs = list[tuple[bool, bool]]


def compare(folders: Sequence[Path]) -> str:
    """Return the comparison as Markdown tables, one for each evaluation after the first.

    Raises UserError if a folder holds no finished evaluation, or two evaluations share no case.
    """
    first, *others = [_Evaluation(folder) for folder in folders]
    return "\n".join(["# Comparison", "", *(_compare(first, other) for other in others)])


class _Evaluation:
    """What a folder holds: the verdict and the category by case; the verdict is None without a response."""

    def __init__(self, folder: Path):
        summary = read_json(folder / SUMMARY)
        rows = [line.value for line in read_jsonl(folder / RESULTS)]
        try:
            self.title = f"{summary['model']} ({folder})"
            self.benchmarks = summary["settings"]["benchmarks"]
            self.categories = {(row["benchmark"], row["id"]): row["category"] for row in rows}
            self.correct = {(row["benchmark"], row["id"]): row["correct"] for row in rows}
        except (KeyError, TypeError):
            raise UserError(f"{folder}: holds no evaluation of this version; run tooln1 eval again") from None


def _compare(first: _Evaluation, other: _Evaluation) -> str:
    verdicts = {case: (correct, other.correct.get(case)) for case, correct in first.correct.items()}
    shared = {case: pair for case, pair in verdicts.items() if None not in pair}
    if not shared:
        raise UserError(f"{first.title} and {other.title} have no answered case in common; nothing to compare")
    lines = [f"## {other.title} against {first.title}", ""]
    ours, theirs = first.benchmarks, other.benchmarks
    if names := [name for name in ours if name in theirs and ours[name] != theirs[name]]:
        lines.append(f"Not the same prompts or ground truths: {', '.join(names)}.\n")
    if left_out := len(first.correct.keys() | other.correct.keys()) - len(shared):
        lines.append(f"Cases left out, because only one of the two has a response: {left_out:,}\n")
    head = ("category", "cases", "first %", "this %", "difference", "95 % interval", "gained", "lost", "p")
    groups: dict[str, Pairs] = {}
    for case, pair in shared.items():
        groups.setdefault(f"{case[0]}: {first.categories[case]}", []).append(pair)
    for case, pair in shared.items():
        groups.setdefault(f"{case[0]}: all cases", []).append(pair)
    return "\n".join([*lines, *markdown(head, [_line(name, pairs) for name, pairs in groups.items()])])


def _line(name: str, pairs: Pairs) -> list[str]:
    gained, lost = pairs.count((False, True)), pairs.count((True, False))
    low, high = paired_interval(gained, lost, len(pairs))
    before, after = (sum(verdicts) / len(pairs) for verdicts in zip(*pairs, strict=True))
    p = mcnemar(gained, lost)
    return [
        name,
        f"{len(pairs):,}",
        percent(before),
        percent(after),
        f"{100 * (after - before):+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        f"{gained:,}",
        f"{lost:,}",
        f"{p:.3f}" if p >= 0.001 else "< 0.001",
    ]


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    Args:
        gained: cases that only the second of two runs has right.
        lost: cases that only the first has right.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    1947; exact: the smaller count is binomial with probability 1/2.
    """
    total, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(total, count) for count in range(fewer + 1))
    # Integers of any size divide exactly to a float; 2.0 ** total would overflow from 1024 cases on.
    return min(1.0, 2 * tail / 2**total)


def paired_interval(gained: int, lost: int, total: int) -> tuple[float, float]:
    """Return Wald's interval at 95 % for the difference of two accuracies on the same ``total`` cases."""
    difference = (gained - lost) / total
    half = Z * math.sqrt(max(0.0, (gained + lost) / total - difference**2) / total)
    return difference - half, difference + half
