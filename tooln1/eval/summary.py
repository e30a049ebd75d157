"""From verdicts to results.jsonl, summary.json and summary.md; the package's docstring has the formats."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import NormalDist
from typing import Any

from tooln1.eval.benchmark import MISTAKES, Benchmark
from tooln1.files import one_line, write_json, write_text

RESULTS, SUMMARY, PAGE = "results.jsonl", "summary.json", "summary.md"
# Where the paper has its main results; the others are ablations.
_MAIN = ("Table 2", "Figure 3")
_EXAMPLES = 3
_LISTED = 50
# The normal deviate of a two-sided interval at 95 %.
Z = NormalDist().inv_cdf(0.975)

Row = dict[str, Any]


def write_evaluation(folder: Path, summary: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Write the three files, and return the text of summary.md without its examples. Raises UserError."""
    write_text(folder / RESULTS, "".join(json.dumps(row) + "\n" for row in rows))
    write_json(folder / SUMMARY, summary)
    tables = render(summary)
    write_text(folder / PAGE, tables + "\n".join(_examples(rows)))
    return tables


def summarise(benchmark: Benchmark, rows: Sequence[Row], unanswered: Mapping[tuple[str, str], str]) -> Row:
    """Return one benchmark's part of summary.json.

    Args:
        rows: its lines of results.jsonl.
        unanswered: {(benchmark, case id): why the case has no response}.
    """
    names = list(dict.fromkeys(row["category"] for row in rows))
    categories = {name: _category([row for row in rows if row["category"] == name]) for name in names}
    groups = benchmark.groups(categories)
    kinds = Counter(row["error"] for row in rows if row["correct"] is False)
    asked = {row["id"] for row in rows}
    return {
        "categories": categories,
        "groups": {name: value for name, value in groups.items() if name != "accuracy"},
        "accuracy": groups["accuracy"],
        "errors": {kind: kinds[kind] for kind in MISTAKES},
        "truncated": sum(row["finish_reason"] == "length" for row in rows),
        "impossible": [{"id": id, "reason": why} for id, why in benchmark.impossible().items() if id in asked],
        "unanswered": [{"id": id, "reason": why} for (name, id), why in unanswered.items() if name == benchmark.name],
    }


def wilson(correct: int, total: int) -> tuple[float, float] | None:
    """Return Wilson's score interval for an accuracy at 95 % confidence; None without a case.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not total:
        return None
    accuracy = correct / total
    scale = 1 + Z**2 / total
    centre = (accuracy + Z**2 / (2 * total)) / scale
    half = Z / scale * math.sqrt(accuracy * (1 - accuracy) / total + Z**2 / (4 * total**2))
    # At 0 and 1 a limit is the accuracy itself, and rounding must not pass it.
    return min(accuracy, max(0.0, centre - half)), max(accuracy, min(1.0, centre + half))


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
    rows = [_category_row(category, one) for category, one in benchmark["categories"].items()]
    rows += [[group, percent(value), "", "", "", ""] for group, value in averages.items()]
    head = ["category", "accuracy %", "95 % interval", "correct", "scored", "unanswered"]
    tables = [Table(name, head, rows, own=len(rows) - 1)]

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


def _category_row(name: str, category: Row) -> list[str]:
    interval = " to ".join(map(percent, category["interval"] or [None]))
    counts = [f"{category[count]:,}" for count in ("correct", "scored", "unanswered")]
    return [name, percent(category["accuracy"]), interval, *counts]


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


def _category(rows: Sequence[Row]) -> Row:
    scored = [row for row in rows if row["correct"] is not None]
    correct = sum(row["correct"] for row in scored)
    return {
        "accuracy": correct / len(scored) if scored else None,
        "correct": correct,
        "scored": len(scored),
        "unanswered": len(rows) - len(scored),
        "interval": wilson(correct, len(scored)),
    }


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
