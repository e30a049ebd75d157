"""From verdicts to results.jsonl, summary.json and summary.md; the package's docstring has the formats."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from tooln1.eval.benchmark import MISTAKES, Benchmark
from tooln1.eval.certainty import (
    Counts,
    Interval,
    by_variance,
    case_variance,
    pass_hat,
    repeat_variance,
    weighted_interval,
)
from tooln1.files import one_line, write_json, write_text

RESULTS, SUMMARY, PAGE = "results.jsonl", "summary.json", "summary.md"
# Where the paper has its main results; the others are ablations.
_MAIN = ("Table 2", "Figure 3")
_EXAMPLES = 3
_LISTED = 50

Row = dict[str, Any]


def write_evaluation(folder: Path, summary: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Write the three files, and return the text of summary.md without its examples. Raises UserError."""
    write_text(folder / RESULTS, "".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder / SUMMARY, summary)
    tables = render(summary)
    write_text(folder / PAGE, tables + "\n".join(_examples(rows)))
    return tables


def summarise(benchmark: Benchmark, rows: Sequence[Row], unanswered: Mapping[tuple[str, str, int], str]) -> Row:
    """Return one benchmark's part of summary.json.

    Args:
        rows: its lines of results.jsonl.
        unanswered: {(benchmark, case id, repeat): why there is no response}.
    """
    by_category: dict[str, list[Row]] = {}
    for row in rows:
        by_category.setdefault(row["category"], []).append(row)
    categories = {name: _category(own) for name, own in by_category.items()}
    groups = benchmark.groups(categories)
    kinds = Counter(row["error"] for row in rows if row["correct"] is False)
    asked = {row["id"] for row in rows}
    return {
        "categories": categories,
        "groups": {name: value for name, value in groups.items() if name != "accuracy"},
        "accuracy": groups["accuracy"],
        "intervals": _intervals(benchmark, categories, {name: one["interval"] for name, one in categories.items()}),
        "repeats": _repeats(benchmark, categories, by_category),
        "errors": {kind: kinds[kind] for kind in MISTAKES},
        "truncated": sum(row["finish_reason"] == "length" for row in rows),
        "impossible": [{"id": id, "reason": why} for id, why in benchmark.impossible().items() if id in asked],
        "unanswered": [
            {"id": id, "reason": why} for (name, id, _), why in unanswered.items() if name == benchmark.name
        ],
    }


def _counts(rows: Sequence[Row]) -> Counts:
    """Return (correct, answered) of each case that has a response."""
    counts: dict[str, tuple[int, int]] = {}
    for row in rows:
        if row["correct"] is not None:
            correct, answered = counts.get(row["id"], (0, 0))
            counts[row["id"]] = correct + row["correct"], answered + 1
    return list(counts.values())


def _category(rows: Sequence[Row]) -> Row:
    counts = _counts(rows)
    correct, scored = sum(correct for correct, _ in counts), sum(answered for _, answered in counts)
    return {
        "accuracy": correct / scored if scored else None,
        "correct": correct,
        "scored": scored,
        "unanswered": len(rows) - scored,
        "interval": by_variance(correct / scored, case_variance(counts), len(counts)) if scored else None,
    }


def _intervals(benchmark: Benchmark, categories: Row, intervals: Mapping[str, Interval | None]) -> dict[str, Interval]:
    """Return the intervals of the groups that are weighted sums of categories, from those of the categories."""
    found: dict[str, Interval] = {}
    # The weight of a category is the group's value if it alone has an accuracy of 1.
    alone = {name: benchmark.groups(_with(categories, {name: 1.0})) for name in categories}
    for group, value in benchmark.groups(categories).items():
        parts = [(alone[name][group], one["accuracy"], intervals[name]) for name, one in categories.items()]
        parts = [part for part in parts if part[0]]
        if value is None or any(None in part for part in parts):
            continue
        if math.isclose(value, sum(weight * accuracy for weight, accuracy, _ in parts)):
            found[group] = weighted_interval(parts)
    return found


def _with(categories: Row, accuracies: Mapping[str, float | None]) -> Row:
    """Return categories with other accuracies, 0 where none is given."""
    return {
        name: {**one, "accuracy": accuracy, "correct": (accuracy or 0.0) * one["scored"]}
        for name, one in categories.items()
        for accuracy in (accuracies.get(name, 0.0),)
    }


def _repeats(benchmark: Benchmark, categories: Row, by_category: Mapping[str, Sequence[Row]]) -> Row | None:
    """Return the number of repeats, and intervals and pass^k of categories and groups; None without repeats."""
    repeats = 1 + max(row["repeat"] for rows in by_category.values() for row in rows)
    if repeats == 1:
        return None
    counts = {name: _counts(rows) for name, rows in by_category.items()}
    intervals = {}
    for name, one in categories.items():
        variance = repeat_variance(counts[name])
        intervals[name] = None if variance is None else by_variance(one["accuracy"], variance, one["scored"])
    passes: dict[str, list[float | None]] = {}
    for k in range(1, repeats + 1):
        shares = {name: pass_hat(own, k) for name, own in counts.items()}
        for name, share in (shares | benchmark.groups(_with(categories, shares))).items():
            passes.setdefault(name, []).append(share)
    intervals |= _intervals(benchmark, categories, intervals)
    return {"count": repeats, "intervals": intervals, "pass": passes}


def _paper() -> Any:
    return json.loads((files("tooln1.eval") / "published.json").read_text(encoding="utf-8"))


def published() -> list[Row]:
    """Return the paper's figures as in summary.json."""
    found = _paper()
    return [
        {"model": model, "benchmark": table["benchmark"], "group": group, "accuracy": round(figure / 100, 4)}
        | {"source": f"{found['source']}, {table['place']}"}
        for table in found["tables"]
        for model, figures in table["models"].items()
        for group, figure in zip(table["groups"], figures, strict=True)
    ]


def render(summary: Mapping[str, Any]) -> str:
    """Return summary.md's tables."""
    lines = [f"# Evaluation of {summary['model']}", "", f"{summary['created']}", ""]
    for name, benchmark in summary["benchmarks"].items():
        for one in make_tables(summary, name):
            lines += [f"## {one.title}", "", *markdown(one.head, one.rows), *([one.note, ""] if one.note else [])]
        lines += _listed(benchmark)
    return "\n".join(lines)


@dataclass
class Table:
    """A table of summary.md, the report and the model card; `own` is the row that sums the run up."""

    title: str
    head: list[str]
    rows: list[list[str]]
    own: int | None = None
    note: str = ""


def make_tables(summary: Mapping[str, Any], name: str) -> list[Table]:
    """Return one benchmark's accuracies, the paper's figures if there are any, and the mistakes if there are any."""
    benchmark = summary["benchmarks"][name]
    averages = {**benchmark["groups"], "accuracy": benchmark["accuracy"]}
    tables = [_accuracy_table(name, benchmark, averages)]

    theirs: dict[str, dict[str, float]] = {}
    for figure in summary["published"]:
        if figure["benchmark"] == name and figure["source"].endswith(_MAIN):
            theirs.setdefault(figure["model"], {})[figure["group"]] = figure["accuracy"]
    if theirs:
        ours = {group: one["accuracy"] for group, one in benchmark["categories"].items()} | averages
        groups = [group for group in dict.fromkeys(group for one in theirs.values() for group in one) if group in ours]
        rows = [["this run", *(percent(ours[group]) for group in groups)]]
        rows += [[f"{model} (paper)", *(percent(one.get(group)) for group in groups)] for model, one in theirs.items()]
        title, note = f"{name}: accuracy % beside the paper's figures", _paper()["notes"].get(name, "")
        tables.append(Table(title, ["model", *groups], rows, own=0, note=note))

    if mistakes := [[MISTAKES[kind], f"{count:,}"] for kind, count in benchmark["errors"].items() if count]:
        tables.append(Table(f"{name}: mistakes", ["mistake", "responses"], mistakes))
    return tables


def _accuracy_table(title: str, benchmark: Row, averages: Row) -> Table:
    categories, counts = benchmark["categories"], ("correct", "scored", "unanswered")
    repeats, intervals = benchmark.get("repeats"), dict(benchmark.get("intervals", {}))
    intervals |= {name: one["interval"] for name, one in categories.items()}
    rows = []
    for name, accuracy in ({name: one["accuracy"] for name, one in categories.items()} | averages).items():
        row = [name, percent(accuracy), span(intervals.get(name, ()))]
        if repeats:
            row += [span(repeats["intervals"].get(name, ())), percent(repeats["pass"][name][-1])]
        rows.append(row + [f"{categories[name][count]:,}" if name in categories else "" for count in counts])
    head = ["category", "accuracy %", "95 % interval"]
    head += ["if asked again", f"pass^{repeats['count']} %"] if repeats else []
    return Table(title, [*head, *counts], rows, own=len(rows) - 1)


def span(interval: Sequence[float] | None) -> str:
    """Write an interval in per cent, a missing one as a dash, and an empty one as nothing."""
    return " to ".join(map(percent, [None] if interval is None else interval))


def percent(value: float | None) -> str:
    """Write an accuracy as a percentage, and a missing one as a dash."""
    return "–" if value is None else f"{100 * value:.2f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table, columns aligned, and a blank line."""
    cells = [list(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    for number, row in enumerate(cells):
        figures = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield f"| {' | '.join([row[0].ljust(widths[0]), *figures])} |"
        if number == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"
    yield ""


def _listed(benchmark: Row) -> Iterator[str]:
    if benchmark["truncated"]:
        yield f"{benchmark['truncated']:,} responses were cut off at the length limit.\n"
    titles = {
        "unanswered": "without a response, in no figure above",
        "impossible": "that no model can have right, by the benchmark's own data and rules",
    }
    for key, what in titles.items():
        if benchmark[key]:
            yield f"Cases {what}: {len(benchmark[key]):,}\n"
            yield from (f"- {one['id']}: {one_line(one['reason'])}" for one in benchmark[key][:_LISTED])
            yield f"- … (all in {SUMMARY})\n" if len(benchmark[key]) > _LISTED else ""


def _examples(rows: Sequence[Row]) -> Iterator[str]:
    """Yield examples of each kind of mistake, the first of each benchmark."""
    yield "\n## Examples of mistakes\n"
    for kind, meaning in MISTAKES.items():
        found = [row for row in rows if row["error"] == kind]
        if found:
            yield f"### {kind}: {meaning}\n"
        for benchmark in dict.fromkeys(row["benchmark"] for row in found):
            for row in [row for row in found if row["benchmark"] == benchmark][:_EXAMPLES]:
                yield f"- {benchmark} `{row['id']}`: {row['detail']}"
                yield f"  - ground truth: `{one_line(json.dumps(row['ground_truth'], ensure_ascii=False), 300)}`"
                yield f"  - response: `{one_line(row['response'] or '(empty)', 400).replace('`', chr(39))}`"
        yield ""
