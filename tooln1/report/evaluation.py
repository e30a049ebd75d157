"""The results of `tooln1 eval` that lie in a run folder, as tables beside the figures that they quote."""

import json
from dataclasses import dataclass, field
from typing import Any

from tooln1.report.files import RunFiles


@dataclass
class Table:
    """One benchmark: a row for each category, with the share that was right, how many, and its interval."""

    benchmark: str
    head: list[str]
    rows: list[list[str]]
    errors: dict[str, int] = field(default_factory=dict)


@dataclass
class Evaluation:
    """One evaluated model: when, on what, and its tables."""

    name: str
    model: str
    created: str
    tables: list[Table] = field(default_factory=list)


def read_evaluations(files: RunFiles) -> list[Evaluation]:
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
    references = [one for one in summary.get("reference") or [] if isinstance(one, dict)]
    evaluation = Evaluation(name, str(summary.get("model", "")), str(summary.get("created", "")))
    for benchmark, result in (summary.get("benchmarks") or {}).items():
        evaluation.tables.append(_table(str(benchmark), result, references))
    return evaluation


def _table(benchmark: str, result: dict[str, Any], references: list[dict[str, Any]]) -> Table:
    columns = [(str(one.get("model", "?")), figures) for one in references if (figures := _figures(one, benchmark))]
    head = ["category", "accuracy", "95 % interval", "right / scored", "unanswered", *(name for name, _ in columns)]
    rows = []
    for category, one in (result.get("categories") or {}).items():
        low, high = one.get("interval") or (None, None)
        interval = "–" if low is None or high is None else f"{percent(low)} – {percent(high)}"
        counts = f"{one.get('correct', '–')} / {one.get('scored', '–')}"
        quoted = [percent(_lookup(figures, str(category))) for _, figures in columns]
        missed = str(one.get("unanswered", "–"))
        rows.append([str(category), percent(one.get("accuracy")), interval, counts, missed, *quoted])
    overall = [percent(_lookup(figures, "overall")) for _, figures in columns]
    rows.append(["overall", percent(result.get("accuracy")), "", "", "", *overall])
    return Table(benchmark, head, rows, {str(kind): count for kind, count in (result.get("errors") or {}).items()})


def _figures(reference: dict[str, Any], benchmark: str) -> dict[str, Any] | None:
    figures = (reference.get("benchmarks") or {}).get(benchmark, reference.get(benchmark))
    return figures if isinstance(figures, dict) else {"overall": figures} if figures is not None else None


def _lookup(figures: dict[str, Any], category: str) -> Any:
    """A category's figure, whatever separates its words."""
    plain = {_plain(str(key)): value for key, value in figures.items()}
    return plain.get(_plain(category), plain.get("accuracy") if category == "overall" else None)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def percent(share: Any) -> str:
    """A share from 0 to 1 as per cent; a dash for what is not a number."""
    return f"{100 * share:.1f} %" if isinstance(share, int | float) else "–"
