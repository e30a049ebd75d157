"""What is plotted: each chart as titled lines of numbers, independent of the library that draws it.

`plotly_charts` draws them on the page and `figures` for papers. Metrics keep verl's names.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tooln1.report.build import RunData
from tooln1.report.scan import OTHER, OUTCOMES, SIGNALS, StepScan

# A longer curve is thinned to every k-th step: more points than pixels show nothing.
MOST_POINTS = 1000
# Where runs are overlaid, the dashes of more sources would fill the chart with their legend.
MOST_EXPLAINED = 4

# What verl's trainer does in a step, in its order; other timings are parts of these or stand on their own.
PHASES = ("gen", "reward", "old_log_prob", "ref", "values", "adv", "update_critic", "update_actor", "update_weights")


@dataclass(frozen=True)
class Line:
    """A curve of one run. ``role`` decides its look: a line, the lower or upper edge of a band, or a layer of a stack.
    ``named`` lines stand in the legend.
    """

    run: int
    name: str
    steps: list[int]
    values: list[float]
    role: str = "line"
    style: int = 0
    named: bool = True


@dataclass
class Chart:
    """Curves on one pair of axes, or what to do to get them where there are none."""

    key: str
    title: str
    metric: str
    unit: str = ""
    remedy: str = ""
    share: bool = False
    stacked: bool = False
    run: int | None = None
    lines: list[Line] = field(default_factory=list)

    @property
    def names(self) -> int:
        """How many lines a legend would name."""
        return sum(line.named and line.role in ("line", "layer") for line in self.lines)


def make_charts(runs: list[RunData]) -> list[Chart]:
    """The learning curves: reward, accuracy, KL, entropy, lengths, speed and stability. A chart may have no lines."""
    charts = [
        _reward(runs),
        _accuracy(runs),
        _metric(runs, "kl", "KL to the reference", ("actor/kl_loss", "actor/reward_kl_penalty"), remedy=_NO_KL),
        _metric(runs, "entropy", "Entropy of the policy", ("actor/entropy", "actor/entropy_loss"), remedy=_NO_ENTROPY),
        _lengths(runs, "response_length", "Response length"),
        _metric(runs, "throughput", "Throughput", ("perf/throughput",), "tokens a second and device"),
        _metric(runs, "step_seconds", "Time of a step", ("timing_s/step", "perf/time_per_step"), "seconds"),
        _metric(runs, "grad_norm", "Gradient norm", ("actor/grad_norm",)),
        _metric(runs, "pg_loss", "Policy loss", ("actor/pg_loss",)),
        _metric(
            runs,
            "clip_ratio",
            "Responses as long as their step's longest",
            ("response_length/clip_ratio",),
            share=True,
        ),
        _lengths(runs, "prompt_length", "Prompt length"),
        _metric(runs, "memory", "Memory of the actor at its peak", ("actor/perf/max_memory_allocated_gb",), "GB"),
        _metric(runs, "sft_loss", "Loss of supervised fine-tuning", ("train/loss",)),
        _metric(runs, "sft_validation_loss", "Validation loss of supervised fine-tuning", ("val/loss",)),
    ]
    trained_by_rl = not all(run.files.is_sft for run in runs)
    return [chart for chart in charts if chart.lines or chart.remedy and trained_by_rl]


_NO_REWARD = "critic/score/mean was not logged, and there are no rollouts to reckon it from."
_NO_ACCURACY = "No validation was logged. trainer.test_freq=10 validates every ten steps."
_NO_KL = "Not logged: verl computes it with actor_rollout_ref.actor.use_kl_loss=true."
_NO_ENTROPY = (
    "Not logged: verl computes it with actor_rollout_ref.actor.calculate_entropy=true, or when it recomputes the old "
    "log-probs (algorithm.rollout_correction.bypass_mode=false)."
)


def make_run_charts(runs: list[RunData]) -> list[Chart]:
    """The charts whose layers add up, so that each shows one run: outcomes, groups without signal, reasons, time."""
    charts = []
    for number, run in enumerate(runs):
        charts += [
            _stack(
                f"outcomes_{number}",
                "Training rollouts by what they came to",
                number,
                _shares(run.rollouts, "outcomes", _outcomes(run)),
                "No rollouts to count: set trainer.rollout_data_dir.",
                share=True,
            ),
            _stack(
                f"signal_{number}",
                "Groups by what GRPO can learn from them",
                number,
                _shares(run.rollouts, "groups", SIGNALS),
                "No groups to count: set trainer.rollout_data_dir.",
                share=True,
            ),
            _reasons(number, run),
            _phases(number, run),
        ]
    return charts


def _reward(runs: list[RunData]) -> Chart:
    chart = Chart("reward", "Reward of the training rollouts", "critic/score/mean", remedy=_NO_REWARD)
    chart.lines = [_line(number, run.name, run.facts.reward) for number, run in enumerate(runs) if run.facts.reward]
    return chart


def _accuracy(runs: list[RunData]) -> Chart:
    """Validation accuracy by source; where there are several, their common one too."""
    chart = Chart("accuracy", "Validation accuracy", "val-core/…/acc/mean", remedy=_NO_ACCURACY, share=True)
    sources = sorted({source for run in runs for source in run.facts.accuracy_by_source})
    shared = len(_shared_start(sources))
    for number, run in enumerate(runs):
        if len(run.facts.accuracy_by_source) != 1 and run.facts.accuracy:
            chart.lines.append(_line(number, _label(runs, run, "all"), run.facts.accuracy))
        for source, steps in sorted(run.facts.accuracy_by_source.items()):
            style = 0 if len(sources) == 1 else 1 + sources.index(source)
            line = _line(number, _label(runs, run, source[shared:]), steps, style)
            # Runs have colours and sources have dashes: one run's names explain those of the others.
            explains = number == 0 and (len(runs) == 1 or len(sources) <= MOST_EXPLAINED)
            chart.lines.append(replace(line, named=explains or style == 0))
    return chart


def _shared_start(names: list[str]) -> str:
    """What all names begin with, up to a separator: "toolcall/" tells nothing apart."""
    start = os.path.commonprefix(names) if len(names) > 1 else ""
    return start[: max(start.rfind("/"), start.rfind(": ") + 1) + 1]


def _label(runs: list[RunData], run: RunData, text: str) -> str:
    return text if len(runs) == 1 else f"{run.name} · {text}"


def _metric(
    runs: list[RunData],
    key: str,
    title: str,
    names: tuple[str, ...],
    unit: str = "",
    remedy: str = "",
    share: bool = False,
) -> Chart:
    """The first of ``names`` that any run has."""
    name = next((name for name in names if any(name in run.scalars for run in runs)), names[0])
    chart = Chart(key, title, name, unit, remedy, share)
    chart.lines = [_line(number, run.name, run.scalars[name]) for number, run in enumerate(runs) if name in run.scalars]
    return chart


def _lengths(runs: list[RunData], metric: str, title: str) -> Chart:
    chart = Chart(metric, title, f"{metric}/mean, min, max", "tokens")
    for number, run in enumerate(runs):
        for part, role in (("min", "low"), ("max", "high"), ("mean", "line")):
            if steps := run.scalars.get(f"{metric}/{part}"):
                name = run.name if part == "mean" else f"{run.name} · {part}"
                chart.lines.append(_line(number, name, steps, role=role))
    return chart


def _phases(number: int, run: RunData) -> Chart:
    names = [f"timing_s/{phase}" for phase in PHASES]
    layers = {name.rpartition("/")[2]: run.scalars[name] for name in names if name in run.scalars}
    whole = run.scalars.get("timing_s/step")
    if whole and layers:
        layers["the rest"] = {
            step: max(0.0, seconds - sum(layer.get(step, 0.0) for layer in layers.values()))
            for step, seconds in whole.items()
        }
    remedy = "No timing_s/… was logged."
    return _stack(f"phases_{number}", "Time by phase", number, layers, remedy, "timing_s/…", "seconds")


def _reasons(number: int, run: RunData, most: int = 6) -> Chart:
    """The most common reasons of failure, as shares of the failures that were asked for it."""
    total = sum((scan.reasons for scan in run.rollouts.values()), start=Counter())
    names = [reason for reason, _ in total.most_common(most)]
    layers = {
        reason: {step: scan.reasons[reason] / scan.reasoned for step, scan in run.rollouts.items() if scan.reasoned}
        for reason in names
    }
    asked = [step for step, scan in run.rollouts.items() if scan.reasoned]
    others = {step: 1.0 - sum(layer[step] for layer in layers.values()) for step in asked}
    if any(share > 1e-9 for share in others.values()):
        layers["other"] = others
    title = "Why rollouts fail: the first fault, as a share of the failures"
    return _stack(f"reasons_{number}", title, number, layers, "No failures to explain.", share=True)


def _outcomes(run: RunData) -> Iterable[str]:
    other = any(scan.outcomes[OTHER] for scan in run.rollouts.values())
    return (*OUTCOMES, OTHER) if other else OUTCOMES


def _shares(scans: dict[int, StepScan], counter: str, names: Iterable[str]) -> dict[str, dict[int, float]]:
    """The share of each name in a counter of the scans, by step."""
    totals = {step: getattr(scan, counter) for step, scan in scans.items() if getattr(scan, counter)}
    return {name: {step: counts[name] / counts.total() for step, counts in totals.items()} for name in names}


def _stack(key, title, run, layers, remedy, metric="", unit="", share=False) -> Chart:
    chart = Chart(key, title, metric, unit, remedy, share, stacked=True, run=run)
    chart.lines = [
        _line(run, name, steps, style, "layer") for style, (name, steps) in enumerate(layers.items()) if steps
    ]
    return chart


def _line(run: int, name: str, steps: dict[int, float], style: int = 0, role: str = "line") -> Line:
    kept = list(steps)
    if len(kept) > MOST_POINTS:
        kept = [*kept[:: -(-len(kept) // MOST_POINTS)], kept[-1]]
    return Line(run, name, kept, [steps[step] for step in kept], role, style)
