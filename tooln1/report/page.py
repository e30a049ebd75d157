"""The HTML page: one file that needs no network and runs nothing but its own two scripts.

Rollouts and metrics travel in it as compressed JSON, in pieces that the page unpacks when it needs them: an index with
a row for every rollout that is shown, and a piece with the texts of each dump. A model's text never becomes markup: in
the file it is Base64, and on the page it is a text node.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

from tooln1 import __version__
from tooln1.errors import UserError
from tooln1.files import shorten, visible, write_text
from tooln1.report.charts import MARK_COLOUR, MOST_POINTS, Chart, make_charts, make_run_charts, run_colour
from tooln1.report.dumps import EXPLAINED, MOST_OF_A_GROUP
from tooln1.report.evaluation import percent
from tooln1.report.facts import Facts, gather_facts
from tooln1.report.run_data import RunData

# At most so many bytes of the page are rollouts and metrics; the charts' library takes two million more.
BUDGET = 8_000_000
_SHRINK = 0.8
_LONGEST_VALUE = 400
_LONGEST_REQUEST = 90


@dataclass(frozen=True)
class Payload:
    """The pieces by their names on the page, as Base64, and how many of the rollouts that were read they show."""

    pieces: dict[str, str]
    shown: int
    read: int


def write_page(runs: list[RunData], output: Path, seed: int = 0, refresh: int | None = None) -> Path:
    """Write the page atomically, and return its path.

    Args:
        runs: what `load_runs` read.
        output: the HTML file.
        seed: the seed that decided which rollouts are shown.
        refresh: seconds after which a browser loads the page again, while a run trains.

    Raises:
        UserError: jinja2 or plotly is not installed, or the file cannot be written.
    """
    if output.is_dir():
        raise UserError(f"{output}: is a folder; give the HTML file's name, such as {output / 'report.html'}")
    write_text(output, render(runs, seed, refresh))
    return output


def render(runs: list[RunData], seed: int = 0, refresh: int | None = None) -> str:
    """Return the page's HTML. Raises UserError if jinja2 or plotly is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError(f"the page needs {error.name}: pip install 'tooln1[report]'") from None

    # Running the charts' library takes a third of the time to open the page. It is packed, and runs after the rest.
    plotly, script = get_plotlyjs(), _template_text("report.js")
    charts, run_charts = make_charts(runs), make_run_charts(runs)
    facts = [gather_facts(run) for run in runs]
    environment = Environment(
        loader=PackageLoader("tooln1.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "percent": percent}
    return environment.get_template("report.html.j2").render(
        runs=runs,
        facts=facts,
        colours=[run_colour(number) for number in range(len(runs))],
        tiles=[tiles(run, of_run) for run, of_run in zip(runs, facts, strict=True)],
        charts=charts,
        run_charts=run_charts,
        chart_data={chart.key: _chart_data(chart) for chart in [*charts, *run_charts]},
        payload=pack(runs),
        seed=seed,
        most_of_a_group=MOST_OF_A_GROUP,
        explained=EXPLAINED,
        policy=_policy([plotly, script]),
        plotly=compress(plotly),
        script=script,
        style=_template_text("style.css"),
        refresh=refresh,
        newest=_newest(runs),
        version=__version__,
    )


def _chart_data(chart: Chart) -> dict[str, Any]:
    """Return what report.js needs to draw a chart."""
    lines = [asdict(line) | {"colour": chart.colour(line)} for line in chart.lines]
    shared = {"unit": chart.unit, "percent": chart.percent, "stacked": chart.stacked, "names": chart.names}
    return shared | {"lines": lines, "marks": [asdict(mark) | {"colour": MARK_COLOUR} for mark in chart.marks]}


def shown(text: Any) -> str:
    """Write a text of the run on one line of limited length, with invisible characters as escapes."""
    return shorten(visible(str(text)), _LONGEST_VALUE + 1)


def tiles(run: RunData, facts: Facts) -> list[tuple[str, str, str]]:
    """Return (label, figure, remark) of what a reader wants to know first."""
    accuracy, reward = run.accuracy, list(run.reward.values())
    found = []
    if accuracy:
        first, last, best = min(accuracy), max(accuracy), max(accuracy, key=accuracy.get)
        gain = f"{100 * (accuracy[last] - accuracy[first]):+.1f} points since step {first}" if last > first else ""
        found.append(("Validation accuracy", percent(accuracy[last]), gain or f"at step {last}"))
        found.append(("Best", percent(accuracy[best]), f"at step {best:,}"))
    if reward:
        found.append(("Reward", f"{reward[-1]:.3f}", f"{reward[0]:.3f} at the first step"))
    found.append(("Steps", f"{run.steps:,}", f"of {run.planned:,}" if run.planned else "no plan known"))
    if (time := facts.values["Time"]) != "–":
        found.append(("Time", time, f"{facts.values['Seconds a step'].partition(' (')[0]} s a step"))
    return found


def pack(runs: list[RunData], budget: int = BUDGET) -> Payload:
    """Pack what the runs show. If that is above the budget, all dumps give up the same fraction of their groups."""
    keep = 1.0
    while True:
        payload = _pack(runs, keep)
        size = sum(map(len, payload.pieces.values()))
        if size <= budget:
            return payload
        keep *= min(_SHRINK, budget / size)


def _pack(runs: list[RunData], keep: float) -> Payload:
    pieces, index, read = {}, [], 0
    for number, run in enumerate(runs):
        for kind, dumps in (("rollouts", run.rollouts), ("validation", run.validation)):
            for step, dump in dumps.items():
                read += dump.rollouts
                kept = dump.shown[: int(len(dump.shown) * keep)]
                if groups := sorted(kept, key=lambda group: group["rollouts"][0]["number"]):
                    pieces[f"{number}-{kind}-{step}"] = _compress_json(groups)
                    index += _index_rows([number, kind, step], groups)
    pieces["index"] = _compress_json(index)
    pieces["metrics"] = _compress_json([_metrics(run) for run in runs])
    return Payload(pieces, len(index), read)


def _index_rows(dump: list[Any], groups: list[dict[str, Any]]) -> Iterator[list[Any]]:
    """Yield a row for each rollout, in the order of COLUMNS in report.js."""
    for place, group in enumerate(groups):
        shared = [group["source"] or "unknown", group["signal"], last_request(group["prompt"])]
        for position, one in enumerate(group["rollouts"]):
            yield [*dump, place, position, one["score"], one["outcome"], one["reason"], *shared]


def last_request(prompt: str) -> str:
    """Return the beginning of the last turn in a prompt of a dump, which has no special tokens of the chat template."""
    text = prompt.rstrip().removesuffix("assistant").rstrip()
    # Qwen's template writes the name of a role on its own line. Without one, the end of the prompt is the request.
    start = next((text.rindex(role) + len(role) for role in ("\nuser\n", "\ntool\n") if role in text), None)
    text = text[-_LONGEST_REQUEST:] if start is None else text[start:]
    return shorten(" ".join(text.split()), _LONGEST_REQUEST + 1)


def _metrics(run: RunData) -> dict[str, list[list[float]]]:
    thinned = {}
    for name, steps in run.scalars.items():
        every = max(1, -(-len(steps) // MOST_POINTS))
        thinned[name] = [list(steps)[::every], [float(f"{value:.6g}") for value in list(steps.values())[::every]]]
    return thinned


def _compress_json(value: Any) -> str:
    # ensure_ascii, so that half of a surrogate pair passes as its escape.
    return compress(json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False))


def compress(text: str) -> str:
    """Return a text as Base64 of gzip of UTF-8; the same text gives the same result."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 6, mtime=0)).decode("ascii")


def _policy(scripts: Iterable[str]) -> str:
    """Return a content security policy: no network, no scripts but these two, no handlers, no javascript: links."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode() for text in scripts]
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    # The charts' library sets styles on elements and offers pictures as blobs.
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _template_text(name: str) -> str:
    return (files("tooln1.report") / "templates" / name).read_text(encoding="utf-8")


def _newest(runs: list[RunData]) -> str:
    """Return when the newest input was written; unlike the present time, this gives the same page for the same run."""
    newest = max(path.stat().st_mtime for run in runs for path in run.files.data)
    return datetime.fromtimestamp(newest, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
