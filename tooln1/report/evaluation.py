"""The results of `tooln1 eval` in a run folder, as tables beside the paper's figures."""

from dataclasses import dataclass, field
from typing import Any

from tooln1.errors import UserError
from tooln1.files import one_line, read_json
from tooln1.run_folder import Run


@dataclass
class Table:
    """A table of one benchmark: its categories, or this run beside the published figures.

    `own` is the row that sums the run up; `errors` counts the kinds of mistakes.
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
    """Read every ``eval/*/summary.json`` of the run; an unreadable one becomes a note."""
    found = []
    for path in files.evaluations:
        try:
            found.append(_read(path.parent.name, read_json(path)))
        except (UserError, ValueError, TypeError, AttributeError, KeyError) as error:
            files.notes.append(f"eval/{path.parent.name}/summary.json: cannot be read ({one_line(error, 120)})")
    return found


def _read(name: str, summary: dict[str, Any]) -> Evaluation:
    evaluation = Evaluation(name, str(summary.get("model", "")), str(summary.get("created", "")))
    for benchmark, result in (summary.get("benchmarks") or {}).items():
        evaluation.tables.append(_categories(benchmark, result))
        # Summaries of earlier versions call the paper's figures "reference".
        published = summary.get("published") or summary.get("reference") or []
        if of_benchmark := [one for one in published if one["benchmark"] == benchmark]:
            evaluation.tables.append(_comparison(benchmark, result, of_benchmark))
    return evaluation


def _categories(benchmark: str, result: dict[str, Any]) -> Table:
    """Make a row for each category: its accuracy, the interval, and the counts."""
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
    """Put this run above the models of the paper, by the averages that both have."""
    own = {**(result.get("groups") or {}), "accuracy": result.get("accuracy")}
    theirs: dict[str, dict[str, Any]] = {}
    for one in published:
        theirs.setdefault(one["model"], {})[one["group"]] = one["accuracy"]
    names = [name for name in own if name == "accuracy" or any(name in figures for figures in theirs.values())]
    rows = [["this run", *(percent(own[name]) for name in names)]]
    rows += [[model, *(percent(figures.get(name)) for name in names)] for model, figures in theirs.items()]
    return Table(f"{benchmark}, beside the paper's figures", ["model", *names], rows, 0)


def percent(fraction: Any) -> str:
    """Write a fraction as a percentage, and anything but a number as a dash."""
    return f"{100 * fraction:.1f} %" if isinstance(fraction, int | float) else "–"
