"""The page's charts as figures for plotly; colours that depend on light or dark are put in by the page."""

import html
from typing import Any

import plotly.graph_objects as go

from tooln1.files import visible
from tooln1.report.charts import Chart, Line
from tooln1.report.palette import layer_colour, line_colour

_LEGEND = {
    **{"orientation": "h", "x": 0, "y": 1.03, "yanchor": "bottom"},
    **{"traceorder": "normal", "font": {"size": 11.5}},
}
_AXIS = {"zeroline": False, "automargin": True}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def make_figure(chart: Chart) -> dict[str, Any]:
    """The figure as plain values: {"data", "layout"}; every trace's ``meta`` is the number of its run."""
    figure = go.Figure()
    for line in chart.lines:
        figure.add_trace(_layer(chart, line) if chart.stacked else _trace(chart, line))
    figure.update_layout(
        template=None,
        margin={"l": 12, "r": 12, "t": 8, "b": 12},
        hovermode="x unified",
        showlegend=_needs_legend(chart),
        legend=_LEGEND,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        xaxis={"title": {"text": "step", "standoff": 4}, **_AXIS},
        yaxis={"rangemode": "tozero" if chart.stacked or chart.share else "normal", **_AXIS},
    )
    if chart.unit:
        figure.update_yaxes(title={"text": chart.unit, "standoff": 6})
    if chart.share:
        figure.update_yaxes(tickformat=".0%", range=[0, 1] if chart.stacked else None)
    return figure.to_dict()


def _name(line: Line) -> str:
    """The line's name as text: plotly takes some tags in names for mark-up."""
    return html.escape(visible(line.name))


def _needs_legend(chart: Chart) -> bool:
    """Beyond a dozen names a legend would be taller than its chart; hovering names them."""
    return 1 < chart.names <= 12


def _trace(chart: Chart, line: Line) -> go.Scatter:
    colour = line_colour(chart, line)
    few = len(line.steps) <= 12
    options = {
        "low": {"line": {"width": 0}, "showlegend": False},
        "high": {"line": {"width": 0}, "fill": "tonexty", "fillcolor": _faint(colour), "showlegend": False},
        "line": {"line": {"color": colour, "width": 2, "dash": DASHES[line.style % len(DASHES)]}},
    }[line.role]
    return go.Scatter(
        x=line.steps,
        y=line.values,
        name=_name(line),
        mode="lines+markers" if few and line.role == "line" else "lines",
        marker={"color": colour, "size": 6},
        meta=line.run,
        hovertemplate="%{y:.1%}" if chart.share else "%{y:.4g}",
        **{"showlegend": line.named, **options},
    )


def _layer(chart: Chart, line: Line) -> go.Scatter:
    colour = layer_colour(line)
    return go.Scatter(
        x=line.steps,
        y=line.values,
        name=_name(line),
        mode="lines",
        stackgroup="layers",
        line={"width": 0.5, "color": colour},
        fillcolor=_faint(colour, 0.8),
        meta=line.run,
        hovertemplate="%{y:.1%}" if chart.share else "%{y:.2f}",
    )


def _faint(colour: str, opacity: float = 0.15) -> str:
    red, green, blue = (int(colour[index : index + 2], 16) for index in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
