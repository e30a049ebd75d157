"""The HTML page: one file that needs no network and runs nothing but its own two scripts."""

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any

from tooln1 import __version__
from tooln1.errors import UserError
from tooln1.files import atomic_path, visible
from tooln1.report.build import ReportSettings, RunData
from tooln1.report.charts import make_charts, make_run_charts
from tooln1.report.evaluation import percent
from tooln1.report.palette import run_colour
from tooln1.report.payload import Payload, compress_text, pack
from tooln1.report.scan import MOST_OF_A_GROUP, REASONED

_LONGEST_VALUE = 400


def write_page(runs: list[RunData], output: Path, settings: ReportSettings, refresh: int | None = None) -> Path:
    """Write the page, whole or not at all, and return its path.

    Args:
        runs: what `load_runs` read.
        output: the HTML file.
        settings: how rollouts were chosen, which the page states.
        refresh: seconds after which a browser loads the page again, while a run goes on.

    Raises:
        UserError: jinja2 or plotly is not installed, or the file cannot be written.
    """
    text = render(runs, settings, refresh)
    if output.is_dir():
        raise UserError(f"{output}: is a folder; give the HTML file's name, such as {output / 'report.html'}")
    with atomic_path(output) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    return output


def render(runs: list[RunData], settings: ReportSettings, refresh: int | None = None) -> str:
    """The page's HTML. Raises UserError if jinja2 or plotly is not installed."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
        from plotly.offline import get_plotlyjs

        from tooln1.report.plotly_charts import make_figure
    except ImportError as error:
        raise UserError(f"the page needs {error.name}: pip install 'tooln1[report]'") from None

    # The charts' library is a third of the time to open the page: it is packed, and run once the page stands.
    plotly, script = get_plotlyjs(), _template_text("report.js")
    charts, run_charts = make_charts(runs), make_run_charts(runs)
    environment = Environment(
        loader=PackageLoader("tooln1.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": shown, "percent": percent}
    payload = pack(runs)
    return environment.get_template("report.html.j2").render(
        runs=runs,
        colours=list(map(run_colour, range(len(runs)))),
        tiles=[tiles(run) for run in runs],
        charts=charts,
        run_charts=run_charts,
        figures={chart.key: make_figure(chart) for chart in [*charts, *run_charts] if chart.lines},
        payload=payload,
        rule=sampling_rule(payload, settings),
        policy=_policy([plotly, script]),
        plotly=compress_text(plotly),
        script=script,
        style=_template_text("style.css"),
        refresh=refresh,
        newest=_newest(runs),
        version=__version__,
    )


def shown(text: Any) -> str:
    """A text of the run as one line of at most some hundred characters, with what would not be seen as escapes."""
    line = visible(str(text))
    return line if len(line) <= _LONGEST_VALUE else line[:_LONGEST_VALUE] + "…"


def tiles(run: RunData) -> list[tuple[str, str, str]]:
    """(label, figure, remark) of what a reader wants to know first."""
    accuracy, reward = run.facts.accuracy, list(run.facts.reward.values())
    found = []
    if accuracy:
        first, last, best = min(accuracy), max(accuracy), max(accuracy, key=accuracy.get)
        gain = f"{100 * (accuracy[last] - accuracy[first]):+.1f} points since step {first}" if last > first else ""
        found.append(("Validation accuracy", percent(accuracy[last]), gain or f"at step {last}"))
        found.append(("Best", percent(accuracy[best]), f"at step {best:,}"))
    if reward:
        found.append(("Reward", f"{reward[-1]:.3f}", f"{reward[0]:.3f} at the first step"))
    steps = f"of {run.facts.planned:,}" if run.facts.planned else "no plan known"
    found.append(("Steps", f"{run.facts.steps:,}", steps))
    if (time := run.facts.values["Time"]) != "–":
        found.append(("Time", time, f"{run.facts.values['Seconds a step'].partition(' (')[0]} s a step"))
    return found


def sampling_rule(payload: Payload, settings: ReportSettings) -> str:
    """Which rollouts the page shows, for the reader."""
    if not payload.read:
        return "There are no rollouts to show."
    if payload.shown == payload.read:
        return f"All {payload.read:,} rollouts are shown. Texts are cut in their middle where they are long."
    return (
        f"{payload.shown:,} of {payload.read:,} rollouts are shown. Every dump gives the same number of whole groups: "
        "first groups whose rollouts disagree in score, then groups in which all fail, then groups in which all are "
        f"right, drawn at random with seed {settings.seed} within each of the three. Of a group, at most "
        f"{MOST_OF_A_GROUP} rollouts are shown, failures first. Counts and curves are over all rollouts; reasons are "
        f"those of up to {REASONED} failures a step, drawn at random."
    )


def _policy(scripts: Iterable[str]) -> str:
    """A content security policy: no network, no script but these two, no handler, no javascript: link."""
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
    """When the newest of the inputs was written: unlike the present time, it makes the same page of the same run."""
    newest = max(path.stat().st_mtime for run in runs for path in run.files.data)
    return datetime.fromtimestamp(newest, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
