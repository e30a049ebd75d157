"""The same charts as PNG and SVG files for papers, drawn by matplotlib, which needs no browser."""

from pathlib import Path

from tooln1.errors import UserError
from tooln1.files import atomic_path
from tooln1.report.build import RunData
from tooln1.report.charts import Chart, make_charts, make_run_charts
from tooln1.report.palette import layer_colour, line_colour

FORMATS = ("png", "svg")
_SIZE, _DPI = (5.0, 3.0), 200  # inches; dots an inch
_COLUMNS = 4  # of the legend
_DASHES = ("-", "--", ":", "-.")


def write_figures(runs: list[RunData], folder: Path) -> list[Path]:
    """Write every chart that has lines as ``<chart>.png`` and ``.svg``, each whole or not at all.

    Raises:
        UserError: matplotlib is not installed, or a file cannot be written.
    """
    try:
        from matplotlib import rc_context
    except ImportError:
        raise UserError("--figures needs matplotlib: pip install 'tooln1[report]'") from None
    written = []
    style = {"svg.hashsalt": "tooln1", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with rc_context(style):
        for chart in [*make_charts(runs), *make_run_charts(runs)]:
            if chart.lines:
                written += _write(chart, runs, folder)
    return written


def _write(chart: Chart, runs: list[RunData], folder: Path) -> list[Path]:
    from matplotlib.figure import Figure

    figure = Figure(_SIZE, layout="constrained")
    axes = figure.subplots()
    if chart.stacked:
        _draw_stack(axes, chart)
    else:
        _draw_lines(axes, chart)
    run = f" · {runs[chart.run].name}" if chart.run is not None and len(runs) > 1 else ""
    axes.set(title=_literal(chart.title + run), xlabel="step", ylabel=chart.unit or _literal(chart.metric))
    if chart.share:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if chart.names > 1:
        # Below the axes: within, it would hide what it names.
        figure.legend(loc="outside lower center", ncols=_COLUMNS, frameon=False, fontsize=7)
    paths = []
    for kind in FORMATS:
        paths.append(folder / f"{chart.key}.{kind}")
        with atomic_path(paths[-1]) as temporary:
            # Without a date, the same run gives the same bytes.
            figure.savefig(temporary, format=kind, dpi=_DPI, metadata={"Date": None} if kind == "svg" else None)
    return paths


def _draw_stack(axes, chart: Chart) -> None:
    steps = sorted({step for line in chart.lines for step in line.steps})
    layers = [dict(zip(line.steps, line.values, strict=True)) for line in chart.lines]
    colours = [layer_colour(line) for line in chart.lines]
    axes.stackplot(
        steps,
        [[layer.get(step, 0.0) for step in steps] for layer in layers],
        labels=[_literal(line.name) for line in chart.lines],
        colors=colours,
    )
    axes.margins(x=0)
    if chart.share:
        axes.set_ylim(0, 1)


def _draw_lines(axes, chart: Chart) -> None:
    low: dict[int, list[float]] = {}
    colours = [line_colour(chart, line) for line in chart.lines]
    for line, colour in zip(chart.lines, colours, strict=True):
        if line.role == "low":
            low[line.run] = line.values
        elif line.role == "high" and len(low.get(line.run, ())) == len(line.values):
            axes.fill_between(line.steps, low[line.run], line.values, color=colour, alpha=0.15, linewidth=0)
        elif line.role == "line":
            marker = "o" if len(line.steps) <= 12 else None
            # Dashes tell apart what has one colour.
            dash = _DASHES[line.style % len(_DASHES)] if colours.count(colour) > 1 else "-"
            label = _literal(line.name) if line.named else None
            axes.plot(line.steps, line.values, dash, color=colour, label=label, marker=marker, markersize=3)


def _literal(text: str) -> str:
    """matplotlib would read formulas between dollar signs, and hide labels that begin with an underscore."""
    return ("\u200b" if text.startswith("_") else "") + text.replace("$", r"\$")
