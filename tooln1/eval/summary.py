"""From a run's verdicts to its results.jsonl, summary.json and summary.md; the package's docstring has the formats."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tooln1.eval.cases import ERRORS, shorten
from tooln1.eval.significance import wilson
from tooln1.files import atomic_path, write_text

RESULTS, SUMMARY, PAGE = "results.jsonl", "summary.json", "summary.md"
_EXAMPLES = 3

Row = dict[str, Any]


def write_results(folder: Path, rows: Iterable[Row]) -> None:
    """Write results.jsonl.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_path(folder / RESULTS) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_summary(folder: Path, summary: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Write summary.json and summary.md, and return the text of the latter without its examples.

    Raises:
        UserError: a file cannot be written.
    """
    write_text(folder / SUMMARY, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    tables = render(summary)
    write_text(folder / PAGE, tables + "\n".join(_examples(rows)))
    return tables


def summarise(benchmark: Any, rows: Sequence[Row], impossible: Mapping[str, str], reasons: Mapping[str, str]) -> Row:
    """Return one benchmark's part of summary.json.

    Args:
        benchmark: has `groups`.
        rows: its lines of results.jsonl.
        impossible: {case id: reason}.
        reasons: {case id: why it has no reply}.
    """
    names = list(dict.fromkeys(row["category"] for row in rows))
    categories = {name: _category([row for row in rows if row["category"] == name]) for name in names}
    groups = benchmark.groups({name: one["accuracy"] for name, one in categories.items()})
    errors = Counter(row["error"] for row in rows if row["correct"] is False)
    asked = {row["id"] for row in rows}
    return {
        "categories": categories,
        "groups": {name: value for name, value in groups.items() if name != "accuracy"},
        "accuracy": groups["accuracy"],
        "errors": {kind: errors.get(kind, 0) for kind in ERRORS},
        "truncated": sum(row["finish_reason"] == "length" for row in rows),
        "impossible": [{"id": name, "reason": reason} for name, reason in impossible.items() if name in asked],
        "unanswered": [{"id": name, "reason": reason} for name, reason in reasons.items()],
    }


def published() -> list[Row]:
    """Return the paper's figures as summary.json's "reference", accuracies as shares."""
    found = json.loads((files("tooln1.eval") / "published.json").read_text(encoding="utf-8"))
    return [
        {
            "model": one["model"],
            "benchmark": benchmark,
            "group": group,
            "accuracy": round(percent / 100, 4),
            "source": found["source"],
        }
        for one in found["models"]
        for benchmark, groups in one.items()
        if benchmark != "model"
        for group, percent in groups.items()
    ]


def render(summary: Mapping[str, Any]) -> str:
    """Return summary.md's tables."""
    lines = [f"# Evaluation of {summary['model']}", "", f"{summary['created']}", ""]
    for name, benchmark in summary["benchmarks"].items():
        lines += [f"## {name}", "", *_category_table(benchmark), *_comparison(summary, name, benchmark)]
        lines += [*_error_table(benchmark), *_listed(benchmark)]
    return "\n".join(lines)


def percent(value: float | None) -> str:
    """Return a share as a percentage; an absent one as a dash."""
    return "–" if value is None else f"{100 * value:.2f}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
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


def _category_table(benchmark: Row) -> Iterator[str]:
    def row(name: str, one: Row) -> list[str]:
        low, high = one["interval"] or (None, None)
        counts = [f"{one['correct']:,}", f"{one['scored']:,}", f"{one['unanswered']:,}"]
        return [name, percent(one["accuracy"]), f"{percent(low)} to {percent(high)}", *counts]

    head = ("category", "accuracy %", "95 % interval", "correct", "scored", "unanswered")
    return table(head, [row(name, one) for name, one in benchmark["categories"].items()])


def _comparison(summary: Mapping[str, Any], name: str, benchmark: Row) -> Iterator[str]:
    own = {**benchmark["groups"], "accuracy": benchmark["accuracy"]}
    rows = [[f"{summary['model']} (this run)", *map(percent, own.values())]]
    theirs: dict[str, dict[str, float]] = {}
    for one in summary["reference"]:
        if one["benchmark"] == name:
            theirs.setdefault(one["model"], {})[one["group"]] = one["accuracy"]
    rows += [[f"{model} (paper)", *(percent(groups.get(group)) for group in own)] for model, groups in theirs.items()]
    return table(["model", *own], rows)


def _error_table(benchmark: Row) -> Iterator[str]:
    if not any(benchmark["errors"].values()):
        return iter(())
    rows = [[ERRORS[kind], f"{count:,}"] for kind, count in benchmark["errors"].items()]
    return table(("what was wrong", "replies"), rows)


def _listed(benchmark: Row) -> Iterator[str]:
    if benchmark["truncated"]:
        yield f"{benchmark['truncated']:,} replies were cut off at the length limit.\n"
    titles = {
        "unanswered": "without a reply, in no figure above",
        "impossible": "that no model can have right, by the benchmark's own data and rules",
    }
    for key, what in titles.items():
        if benchmark[key]:
            yield f"Cases {what}: {len(benchmark[key]):,}\n"
            yield from (f"- {one['id']}: {shorten(one['reason'], 200)}" for one in benchmark[key][:50])
            yield f"- … (all in {SUMMARY})\n" if len(benchmark[key]) > 50 else ""


def _examples(rows: Sequence[Row]) -> Iterator[str]:
    """Yield examples of each kind of error, the first of each benchmark."""
    yield "\n## Examples of errors\n"
    for kind, meaning in ERRORS.items():
        found = [row for row in rows if row["correct"] is False and row["error"] == kind]
        chosen = [row for name in dict.fromkeys(row["benchmark"] for row in found) for row in _first(found, name)]
        if chosen:
            yield f"### {kind}: {meaning}\n"
        for row in chosen:
            yield f"- {row['benchmark']} `{row['id']}`: {row['detail']}"
            yield f"  - reference: `{shorten(json.dumps(row['reference'], ensure_ascii=False), 300)}`"
            yield f"  - reply: `{shorten(row['reply'], 400).replace('`', chr(39))}`"
        yield ""


def _first(rows: Sequence[Row], benchmark: str) -> list[Row]:
    return [row for row in rows if row["benchmark"] == benchmark][:_EXAMPLES]
