"""The results of `tooln1 eval` in a run folder."""

from dataclasses import dataclass
from typing import Any

from tooln1.errors import UserError
from tooln1.eval.summary import Table, make_tables
from tooln1.files import one_line, read_json
from tooln1.run_folder import Run


@dataclass
class Evaluation:
    """One evaluated model: when, on what, and its tables."""

    name: str
    model: str
    created: str
    tables: list[Table]


def read_evaluations(files: Run) -> list[Evaluation]:
    """Read every ``eval/*/summary.json`` of the run; an unreadable one becomes a note."""
    found = []
    for path in files.evaluations:
        try:
            summary = read_json(path)
            # Summaries of earlier versions call the paper's figures "reference".
            summary.setdefault("published", summary.get("reference", []))
            tables = [table for benchmark in summary["benchmarks"] for table in make_tables(summary, benchmark)]
            found.append(Evaluation(path.parent.name, summary["model"], summary["created"], tables))
        except (UserError, ValueError, TypeError, AttributeError, KeyError) as error:
            files.notes.append(f"eval/{path.parent.name}/summary.json: cannot be read ({one_line(error, 120)})")
    return found


def percent(fraction: Any) -> str:
    """Write a fraction as a percentage, and anything but a number as a dash."""
    return f"{100 * fraction:.1f} %" if isinstance(fraction, int | float) else "–"
