"""Evaluations side by side: each against the first, on the cases that both answered."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from tooln1.errors import UserError
from tooln1.eval.certainty import p_value, paired_interval, smallest_difference
from tooln1.eval.summary import RESULTS, SUMMARY, markdown, percent
from tooln1.files import read_json, read_jsonl

# Of each case, the share of its responses that the first and the other evaluation have right.
Pairs = list[tuple[float, float]]


def compare(folders: Sequence[Path]) -> str:
    """Return the comparison as Markdown tables, one for each evaluation after the first.

    Raises UserError if a folder holds no finished evaluation, or two evaluations share no case.
    """
    first, *others = [_Evaluation(folder) for folder in folders]
    return "\n".join(["# Comparison", "", *(_compare(first, other) for other in others)])


class _Evaluation:
    """What a folder holds: by case, the category and the share of right responses, which is None without a response."""

    def __init__(self, folder: Path):
        summary = read_json(folder / SUMMARY)
        rows = [line.value for line in read_jsonl(folder / RESULTS)]
        try:
            self.title = f"{summary['model']} ({folder})"
            self.benchmarks = summary["settings"]["benchmarks"]
            self.categories = {(row["benchmark"], row["id"]): row["category"] for row in rows}
            verdicts: dict[tuple[str, str], list[bool | None]] = {}
            for row in rows:
                verdicts.setdefault((row["benchmark"], row["id"]), []).append(row["correct"])
            self.correct = {case: None if None in own else fmean(own) for case, own in verdicts.items()}
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
    head = ("category", "cases", "first %", "this %", "difference", "95 % interval", "can show", "gained", "lost", "p")
    groups: dict[str, Pairs] = {}
    for case, pair in shared.items():
        groups.setdefault(f"{case[0]}: {first.categories[case]}", []).append(pair)
    for case, pair in shared.items():
        groups.setdefault(f"{case[0]}: all cases", []).append(pair)
    lines += markdown(head, [_line(name, pairs) for name, pairs in groups.items()])
    if small := [name for name, pairs in groups.items() if abs(fmean(_differences(pairs))) < _smallest(pairs)]:
        lines.append(
            "Too small to tell from chance: the difference is less than these cases can show (in four of five "
            f"comparisons, at 5 %): {', '.join(small)}.\n"
        )
    return "\n".join(lines)


def _differences(pairs: Pairs) -> list[float]:
    return [after - before for before, after in pairs]


def _smallest(pairs: Pairs) -> float:
    return smallest_difference(_differences(pairs))


def _line(name: str, pairs: Pairs) -> list[str]:
    differences = _differences(pairs)
    low, high = paired_interval(differences)
    p = p_value(differences)
    return [
        name,
        f"{len(pairs):,}",
        *(percent(fmean(shares)) for shares in zip(*pairs, strict=True)),
        f"{100 * fmean(differences):+.2f}",
        f"{100 * low:+.2f} to {100 * high:+.2f}",
        percent(_smallest(pairs)),
        f"{sum(one > 0 for one in differences):,}",
        f"{sum(one < 0 for one in differences):,}",
        f"{p:.3f}" if p >= 0.001 else "< 0.001",
    ]
