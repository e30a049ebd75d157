"""The charts of a report: titled lines of numbers with their colours, independent of the library that draws them.

The page draws them with plotly (templates/report.js), `figures` with matplotlib. Metrics keep verl's names.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tooln1.files import shorten
from tooln1.report.dumps import OTHER, OUTCOMES, SIGNALS, Dump
from tooln1.report.run_data import SFT_LOSS, RunData, Steps
from tooln1.run_folder import REWARD, STEP_SECONDS

# A longer curve is thinned to every k-th step: more points than pixels show nothing.
MOST_POINTS = 1000
# If runs are overlaid, the names of more sources would fill the chart with its legend.
_MOST_SOURCES = 4
_MOST_REASONS = 6
_LONGEST_MARK = 32
MARK_COLOUR = "#8a8f98"

# What verl's trainer does in a step, in its order; other timings are parts of these or independent of them.
_PHASES = ("gen", "reward", "old_log_prob", "ref", "values", "adv", "update_critic", "update_actor", "update_weights")

# A hue for each run, readable on white and on black. Further runs start over.
_RUN_COLOURS = ("#3b82f6", "#f08030", "#18a572", "#a06cf0", "#e0507a", "#c79a12", "#20a4b8", "#8a8f98")
# Layers with a meaning have the same colours as the page's tables and tags; the others take turns.
_LAYER_COLOURS = {
    "right": "#22a06b",
    "wrong arguments": "#e5b02e",
    "wrong tool": "#ee7f3b",
    "format wrong": "#d6456a",
    OTHER: "#8a8f98",
    "all right": "#22a06b",
    "mixed": "#3b82f6",
    "all wrong": "#d6456a",
    "the rest": "#8a8f98",
    "other": "#8a8f98",
}
_OTHER_COLOURS = ("#3b82f6", "#a06cf0", "#20a4b8", "#e0507a", "#18a572", "#6f7ad6", "#f08030", "#c79a12")


@dataclass(frozen=True)
class Line:
    """A curve of one run. `role` is line, layer (of a stack), or low or high (edge of a band).

    Lines of the same run differ in `style`. Lines that are `named` appear in the legend.
    """

    run: int
    name: str
    steps: list[int]
    values: list[float]
    role: str = "line"
    style: int = 0
    named: bool = True


@dataclass(frozen=True)
class Mark:
    """A vertical line with a label: after this step, a run continued under other settings."""

    run: int
    step: int
    text: str


@dataclass
class Chart:
    """Curves on one pair of axes. `hint` says how to get them if there are none; `run` is set if all are of one run."""

    key: str
    title: str
    metric: str
    unit: str = ""
    hint: str = ""
    percent: bool = False
    stacked: bool = False
    run: int | None = None
    lines: list[Line] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    @property
    def names(self) -> int:
        """The number of names in a legend."""
        return sum(line.named and line.role in ("line", "layer") for line in self.lines)

    def add(self, run: int, name: str, steps: Steps, role: str = "line", style: int = 0, named: bool = True) -> None:
        """Add a line, thinned if it is long."""
        kept = list(steps)
        if len(kept) > MOST_POINTS:
            kept = [*kept[:: -(-len(kept) // MOST_POINTS)], kept[-1]]
        self.lines.append(Line(run, name, kept, [steps[step] for step in kept], role, style, named))

    def colour(self, line: Line) -> str:
        """Return the colour of one of the lines as #rrggbb."""
        if line.role == "layer":
            return _LAYER_COLOURS.get(line.name, _OTHER_COLOURS[line.style % len(_OTHER_COLOURS)])
        # Colours tell runs apart; in a chart of a single run they tell styles apart.
        alone = len({other.run for other in self.lines}) == 1
        return run_colour(line.run + line.style if alone else line.run)


def run_colour(number: int) -> str:
    """Return the colour of a run by its place on the command line."""
    return _RUN_COLOURS[number % len(_RUN_COLOURS)]


_NO_REWARD = "critic/score/mean was not logged, and there are no rollouts to compute it from."
_NO_ACCURACY = "No validation was logged. trainer.test_freq=10 validates every ten steps."
_NO_KL = "Not logged: verl computes it with actor_rollout_ref.actor.use_kl_loss=true."
_NO_ROLLOUTS = "No rollouts to count: set trainer.rollout_data_dir."
_REASONS = "Why rollouts fail: the first mistake, as a fraction of the failures"
_NO_ENTROPY = (
    "Not logged: verl computes it with actor_rollout_ref.actor.calculate_entropy=true, or when it recomputes the old "
    "log-probs (algorithm.rollout_correction.bypass_mode=false)."
)


def make_charts(runs: list[RunData]) -> list[Chart]:
    """Return the learning curves: reward, accuracy, KL, entropy, lengths, speed and stability.

    A chart without lines has a hint.
    """

    def metric(key: str, title: str, *names: str, unit: str = "", hint: str = "", percent: bool = False) -> Chart:
        """Draw the first of the metrics that any run has."""
        name = next((name for name in names if any(name in run.scalars for run in runs)), names[0])
        return _curves(Chart(key, title, name, unit, hint, percent), runs, lambda run: run.scalars.get(name))

    charts = [
        _curves(
            Chart("reward", "Reward of the training rollouts", REWARD, hint=_NO_REWARD), runs, lambda run: run.reward
        ),
        _accuracy(runs),
        metric("kl", "KL to the reference policy", "actor/kl_loss", "actor/reward_kl_penalty", hint=_NO_KL),
        metric("entropy", "Entropy of the policy", "actor/entropy", "actor/entropy_loss", hint=_NO_ENTROPY),
        _lengths(runs, "response_length", "Response length"),
        metric("throughput", "Throughput", "perf/throughput", unit="tokens a second and device"),
        metric("step_seconds", "Time of a step", STEP_SECONDS, "perf/time_per_step", unit="seconds"),
        metric("grad_norm", "Gradient norm", "actor/grad_norm"),
        metric("pg_loss", "Policy loss", "actor/pg_loss"),
        metric("clip_ratio", "Responses as long as their step's longest", "response_length/clip_ratio", percent=True),
        _lengths(runs, "prompt_length", "Prompt length"),
        metric("memory", "Memory of the actor at its peak", "actor/perf/max_memory_allocated_gb", unit="GB"),
        metric("sft_loss", "Loss of supervised fine-tuning", SFT_LOSS),
        metric("sft_validation_loss", "Validation loss of supervised fine-tuning", "val/loss"),
    ]
    has_rl = not all(run.files.is_sft for run in runs)
    return _marked((chart for chart in charts if chart.lines or chart.hint and has_rl), runs)


def make_run_charts(runs: list[RunData]) -> list[Chart]:
    """Return the stacked charts, four of each run: outcomes, groups by signal, reasons of failures, and time."""
    charts = []
    for number, run in enumerate(runs):
        outcomes = _fractions(run, lambda dump: dump.outcomes, possible_outcomes(run))
        signals = _fractions(run, lambda dump: dump.groups, SIGNALS)
        charts += [
            _stack(number, "outcomes", "Training rollouts by outcome", outcomes, _NO_ROLLOUTS),
            _stack(number, "signal", "Groups by what GRPO can learn from them", signals, _NO_ROLLOUTS),
            _stack(number, "reasons", _REASONS, _reasons(run), "No failures to explain."),
            _phases(number, run),
        ]
    return _marked(charts, runs)


def _marked(charts: Iterable[Chart], runs: list[RunData]) -> list[Chart]:
    """Mark in every chart where its runs were continued under other settings."""
    charts = list(charts)
    for chart in charts:
        shown = range(len(runs)) if chart.run is None else [chart.run]
        chart.marks = [
            Mark(number, step, shorten(", ".join(_short(key) for key, *_ in changes), _LONGEST_MARK))
            for number in shown
            for step, changes in runs[number].changes.items()
        ]
    return charts


def _short(key: str) -> str:
    """Return the end of a setting's name or of a path."""
    return key.rpartition("/")[2] if "/" in key else ".".join(key.split(".")[-2:])


def possible_outcomes(run: RunData) -> tuple[str, ...]:
    """Return the outcomes that a run's rollouts can have; rollouts of another task are rare."""
    return (*OUTCOMES, OTHER) if any(dump.outcomes[OTHER] for dump in run.rollouts.values()) else OUTCOMES


def _curves(chart: Chart, runs: list[RunData], steps_of: Callable[[RunData], Steps | None]) -> Chart:
    """Add a line for each run that has values."""
    for number, run in enumerate(runs):
        if steps := steps_of(run):
            chart.add(number, run.name, steps)
    return chart


def _accuracy(runs: list[RunData]) -> Chart:
    """Draw the validation accuracy by source, and that of all sources if there are several."""
    chart = Chart("accuracy", "Validation accuracy", "val-core/…/acc/mean", hint=_NO_ACCURACY, percent=True)
    sources = sorted({source for run in runs for source in run.accuracy_by_source})
    # What all names begin with, up to a separator, tells nothing apart.
    start = os.path.commonprefix(sources) if len(sources) > 1 else ""
    shared = max(start.rfind("/"), start.rfind(": ") + 1) + 1
    for number, run in enumerate(runs):
        prefix = "" if len(runs) == 1 else f"{run.name} · "
        if len(run.accuracy_by_source) != 1 and run.accuracy:
            chart.add(number, f"{prefix}all", run.accuracy)
        for source, steps in sorted(run.accuracy_by_source.items()):
            style = 0 if len(sources) == 1 else 1 + sources.index(source)
            # Runs have colours and sources have dashes: the names of the first run explain the dashes of the others.
            explains = number == 0 and (len(runs) == 1 or len(sources) <= _MOST_SOURCES)
            chart.add(number, prefix + source[shared:], steps, style=style, named=explains or style == 0)
    return chart


def _lengths(runs: list[RunData], metric: str, title: str) -> Chart:
    """Draw the mean length in a band from the shortest to the longest."""
    chart = Chart(metric, title, f"{metric}/mean, min, max", "tokens")
    for number, run in enumerate(runs):
        for part, role in (("min", "low"), ("max", "high"), ("mean", "line")):
            if steps := run.scalars.get(f"{metric}/{part}"):
                chart.add(number, run.name if part == "mean" else f"{run.name} · {part}", steps, role)
    return chart


def _stack(number: int, key: str, title: str, layers: dict[str, Steps], hint: str) -> Chart:
    """Stack fractions that add up to 1."""
    chart = Chart(f"{key}_{number}", title, "", hint=hint, percent=True, stacked=True, run=number)
    for style, (name, steps) in enumerate(layers.items()):
        if steps:
            chart.add(number, name, steps, "layer", style)
    return chart


def _fractions(run: RunData, counter: Callable[[Dump], Counter[str]], names: Iterable[str]) -> dict[str, Steps]:
    """Return the fraction of each name in a counter of the training dumps, by step."""
    counts = {step: counter(dump) for step, dump in run.rollouts.items() if counter(dump)}
    return {name: {step: one[name] / one.total() for step, one in counts.items()} for name in names}


def _reasons(run: RunData) -> dict[str, Steps]:
    """Return the most common reasons as fractions of the failures that were explained."""
    total = sum((dump.reasons for dump in run.rollouts.values()), start=Counter())
    names = [reason for reason, _ in total.most_common(_MOST_REASONS)]
    layers = _fractions(run, lambda dump: dump.reasons, names)
    explained = [step for step, dump in run.rollouts.items() if dump.reasons]
    others = {step: 1.0 - sum(layer[step] for layer in layers.values()) for step in explained}
    return layers | ({"other": others} if any(fraction > 1e-9 for fraction in others.values()) else {})


def _phases(number: int, run: RunData) -> Chart:
    """Stack the seconds of each phase, and what is left of the step."""
    layers = {phase: run.scalars[f"timing_s/{phase}"] for phase in _PHASES if f"timing_s/{phase}" in run.scalars}
    if layers and STEP_SECONDS in run.scalars:
        layers["the rest"] = {
            step: max(0.0, seconds - sum(layer.get(step, 0.0) for layer in layers.values()))
            for step, seconds in run.scalars[STEP_SECONDS].items()
        }
    chart = _stack(number, "phases", "Time by phase", layers, "No timing_s/… was logged.")
    chart.metric, chart.unit, chart.percent = "timing_s/…", "seconds", False
    return chart
