"""The charts' colours, the same on the page and in figures for papers."""

from tooln1.report.charts import Chart, Line

# A hue for each run, readable on white and on black. Runs beyond the last start over.
_RUNS = ("#3b82f6", "#f08030", "#18a572", "#a06cf0", "#e0507a", "#c79a12", "#20a4b8", "#8a8f98")
# Meaning has a colour of its own, the same in charts, tables and tags.
_LAYERS = {
    "right": "#22a06b",
    "wrong arguments": "#e5b02e",
    "wrong tool": "#ee7f3b",
    "format wrong": "#d6456a",
    "not a tool call": "#8a8f98",
    "all right": "#22a06b",
    "mixed": "#3b82f6",
    "all wrong": "#d6456a",
    "the rest": "#8a8f98",
    "other": "#8a8f98",
}
_OTHERS = ("#3b82f6", "#a06cf0", "#20a4b8", "#e0507a", "#18a572", "#6f7ad6", "#f08030", "#c79a12")


def run_colour(number: int) -> str:
    """The colour of the run that was given in this place, as #rrggbb."""
    return _RUNS[number % len(_RUNS)]


def line_colour(chart: Chart, line: Line) -> str:
    """The colour of a run's line; where all lines are of one run, each style has the next colour."""
    alone = len({other.run for other in chart.lines}) == 1
    return run_colour(line.run + line.style if alone else line.run)


def layer_colour(line: Line) -> str:
    """The colour of a layer of a stack: its own if it has a meaning, else that of its place."""
    return _LAYERS.get(line.name, _OTHERS[line.style % len(_OTHERS)])
