"""Draws the charts of the page as PNG and SVG files for papers, with matplotlib, which needs no browser."""

from pathlib import Path

from tooln1.errors import UserError
from tooln1.files import atomic_path
from tooln1.report.charts import MARK_COLOUR, Chart, make_charts, make_run_charts
from tooln1.report.run_data import RunData

_FORMATS = ("png", "svg")
_STYLE = {"svg.hashsalt": "tooln1", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
_SIZE, _DPI = (5.0, 3.0), 200  # inches, dots an inch
_LEGEND_COLUMNS = 4
_DASHES = ("-", "--", ":", "-.")
_FEW_POINTS = 12  # with at most so many, a line has markers


def write_figures(runs: list[RunData], folder: Path) -> list[Path]:
    """Write every chart that has lines as ``<chart>.png`` and ``.svg``, each atomically.

    Raises:
        UserError: matplotlib is not installed, or a file cannot be written.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise UserError("--figures needs matplotlib: pip install 'tooln1[report]'") from None
    written = []
    with rc_context(_STYLE):
        for chart in [*make_charts(runs), *make_run_charts(runs)]:
            if chart.lines:
                figure = _matplotlib_figure(chart, runs)
                for kind in _FORMATS:
                    written.append(folder / f"{chart.key}.{kind}")
                    with atomic_path(written[-1]) as temporary:
                        # Without a date, the same run gives the same bytes.
                        metadata = {"Date": None} if kind == "svg" else None
                        figure.savefig(temporary, format=kind, dpi=_DPI, metadata=metadata)
    return written


def _matplotlib_figure(chart: Chart, runs: list[RunData]):
    from matplotlib.figure import Figure

    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    (_draw_stack if chart.stacked else _draw_lines)(axes, chart)
    run = f" · {runs[chart.run].name}" if chart.run is not None and len(runs) > 1 else ""
    axes.set(title=_literal(chart.title + run), xlabel="step", ylabel=chart.unit or _literal(chart.metric))
    for mark in chart.marks:
        axes.axvline(mark.step, color=MARK_COLOUR, linestyle=":", linewidth=1)
        place = {"xy": (mark.step, 1), "xycoords": axes.get_xaxis_transform(), "ha": "right", "va": "top"}
        axes.annotate(_literal(mark.text), **place, rotation=90, fontsize=6, color=MARK_COLOUR)
    if chart.percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if chart.names > 1:
        # Inside the axes, the legend would hide lines.
        figure.legend(loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False, fontsize=7)
    return figure


def _draw_stack(axes, chart: Chart) -> None:
    steps = sorted({step for line in chart.lines for step in line.steps})
    layers = [dict(zip(line.steps, line.values, strict=True)) for line in chart.lines]
    axes.stackplot(
        steps,
        [[layer.get(step, 0.0) for step in steps] for layer in layers],
        labels=[_literal(line.name) for line in chart.lines],
        colors=list(map(chart.colour, chart.lines)),
    )
    axes.margins(x=0)
    if chart.percent:
        axes.set_ylim(0, 1)


def _draw_lines(axes, chart: Chart) -> None:
    low: dict[int, list[float]] = {}
    colours = list(map(chart.colour, chart.lines))
    for line, colour in zip(chart.lines, colours, strict=True):
        if line.role == "low":
            low[line.run] = line.values
        elif line.role == "high" and len(low.get(line.run, ())) == len(line.values):
            axes.fill_between(line.steps, low[line.run], line.values, color=colour, alpha=0.15, linewidth=0)
        elif line.role == "line":
            marker = "o" if len(line.steps) <= _FEW_POINTS else None
            # Dashes tell lines of the same colour apart.
            dash = _DASHES[line.style % len(_DASHES)] if colours.count(colour) > 1 else "-"
            label = _literal(line.name) if line.named else None
            axes.plot(line.steps, line.values, dash, color=colour, label=label, marker=marker, markersize=3)


def _literal(text: str) -> str:
    """Escape what matplotlib would read as a formula, and a first underscore, which would hide a label."""
    return ("\u200b" if text.startswith("_") else "") + text.replace("$", r"\$")
