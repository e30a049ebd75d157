"""From verdicts to results.jsonl, summary.json and summary.md; the package's docstring has the formats."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tooln1.eval.benchmark import MISTAKES, Benchmark
from tooln1.eval.significance import wilson
from tooln1.files import one_line, write_json, write_text

RESULTS, SUMMARY, PAGE = "results.jsonl", "summary.json", "summary.md"
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


def published() -> list[Row]:
    """Return the paper's figures as in summary.json."""
    found = json.loads((files("tooln1.eval") / "published.json").read_text(encoding="utf-8"))
    return [{**figure, "source": found["source"]} for figure in found["figures"]]


def render(summary: Mapping[str, Any]) -> str:
    """Return summary.md's tables."""
    lines = [f"# Evaluation of {summary['model']}", "", f"{summary['created']}", ""]
    for name, benchmark in summary["benchmarks"].items():
        lines += [f"## {name}", "", *_category_table(benchmark), *_comparison(summary, name, benchmark)]
        lines += [*_error_table(benchmark), *_listed(benchmark)]
    return "\n".join(lines)


def percent(value: float | None) -> str:
    """Write an accuracy as a percentage, and a missing one as a dash."""
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
    for one in summary["published"]:
        if one["benchmark"] == name:
            theirs.setdefault(one["model"], {})[one["group"]] = one["accuracy"]
    rows += [[f"{model} (paper)", *(percent(groups.get(group)) for group in own)] for model, groups in theirs.items()]
    return table(["model", *own], rows)


def _error_table(benchmark: Row) -> Iterator[str]:
    if not any(benchmark["errors"].values()):
        return iter(())
    rows = [[MISTAKES[kind], f"{count:,}"] for kind, count in benchmark["errors"].items()]
    return table(("mistake", "responses"), rows)


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
