"""The results of `tooln1 eval` that lie in a run folder, as tables beside the figures that they quote."""

import json
from dataclasses import dataclass, field
from typing import Any

from tooln1.run_folder import Run


@dataclass
class Table:
    """A table of one benchmark: its categories, or this run beside the published figures.

    `own` is the row that sums the run up; `errors` counts the kinds of error.
    """

    benchmark: str
    head: list[str]
    rows: list[list[str]]
    own: int
    errors: dict[str, int] = field(default_factory=dict)


@dataclass
class Evaluation:
    """One evaluated model: when, on what, and its tables."""

    name: str
    model: str
    created: str
    tables: list[Table] = field(default_factory=list)


def read_evaluations(files: Run) -> list[Evaluation]:
    """Every ``eval/*/summary.json`` of the run; one that cannot be read becomes a note."""
    found = []
    for path in files.evaluations:
        try:
            summary = json.loads(path.read_text(encoding="utf-8", errors="replace"))
            found.append(_read(path.parent.name, summary))
        except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            files.notes.append(f"eval/{path.parent.name}/summary.json: cannot be read ({str(error)[:120]})")
    return found


def _read(name: str, summary: dict[str, Any]) -> Evaluation:
    evaluation = Evaluation(name, str(summary.get("model", "")), str(summary.get("created", "")))
    for benchmark, result in (summary.get("benchmarks") or {}).items():
        evaluation.tables.append(_categories(benchmark, result))
        published = [one for one in summary.get("published") or [] if one["benchmark"] == benchmark]
        if published:
            evaluation.tables.append(_comparison(benchmark, result, published))
    return evaluation


def _categories(benchmark: str, result: dict[str, Any]) -> Table:
    """A row for each category: the share that was right, its interval, and how many that are."""
    rows = []
    for category, one in result["categories"].items():
        low, high = one.get("interval") or (None, None)
        interval = "–" if low is None or high is None else f"{percent(low)} – {percent(high)}"
        counts = f"{one.get('correct', '–')} / {one.get('scored', '–')}"
        rows.append([category, percent(one.get("accuracy")), interval, counts, str(one.get("unanswered", "–"))])
    rows.append(["accuracy", percent(result.get("accuracy")), "", "", ""])
    head = ["category", "accuracy", "95 % interval", "right / scored", "unanswered"]
    errors = {kind: int(count) for kind, count in (result.get("errors") or {}).items()}
    return Table(benchmark, head, rows, len(rows) - 1, errors)


def _comparison(benchmark: str, result: dict[str, Any], published: list[dict[str, Any]]) -> Table:
    """This run above the models of the paper, by the averages that both have."""
    own = {**(result.get("groups") or {}), "accuracy": result.get("accuracy")}
    theirs: dict[str, dict[str, Any]] = {}
    for one in published:
        theirs.setdefault(one["model"], {})[one["group"]] = one["accuracy"]
    named = [name for name in own if name == "accuracy" or any(name in figures for figures in theirs.values())]
    rows = [["this run", *(percent(own[name]) for name in named)]]
    rows += [[model, *(percent(figures.get(name)) for name in named)] for model, figures in theirs.items()]
    return Table(f"{benchmark}, beside the paper's figures", ["model", *named], rows, 0)


def percent(share: Any) -> str:
    """A share from 0 to 1 as per cent; a dash for what is not a number."""
    return f"{100 * share:.1f} %" if isinstance(share, int | float) else "–"
