"""The summary as plain text, for terminals and logs."""

from tooln1.files import format_table, sparkline, visible
from tooln1.report.build import RunData
from tooln1.report.evaluation import percent
from tooln1.report.scan import OTHER, OUTCOMES, SIGNALS

_LONGEST = 100


def format_text(runs: list[RunData]) -> str:
    """The facts, curves, outcomes and notes of every run, one after the other."""
    return "\n\n".join(_run(run) for run in runs)


def _run(run: RunData) -> str:
    parts = [f"{run.name}\n{'=' * len(run.name)}", _facts(run)]
    if run.facts.reward:
        parts.append(f"reward    {sparkline(list(run.facts.reward.values()))}  {run.facts.values['Reward']}")
    if run.facts.accuracy:
        parts.append(_accuracy(run))
    if run.rollouts:
        parts += [_outcomes(run), _reasons(run)]
    for evaluation in run.evaluations:
        for table in evaluation.tables:
            parts.append(f"{table.benchmark}: {evaluation.model}\n\n{format_table(table.head, table.rows)}")
    if run.facts.differences:
        lines = (f"  {key}: {default} → {value}" for key, default, value in run.facts.differences)
        parts.append("\n".join([f"settings unlike {run.facts.compared_with}", *map(_line, lines)]))
    if run.notes:
        parts.append("\n".join(["missing or damaged", *(_line(f"  {note}", 300) for note in run.notes)]))
    return "\n\n".join(part for part in parts if part)


def _line(text: str, longest: int = _LONGEST) -> str:
    text = visible(text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _facts(run: RunData) -> str:
    width = max(map(len, run.facts.values))
    return "\n".join(_line(f"{label:<{width}}  {value}", 200) for label, value in run.facts.values.items())


def _accuracy(run: RunData) -> str:
    """A row for each source, a column for the first, the best and the last step."""
    steps = sorted(run.facts.accuracy)
    best = max(steps, key=run.facts.accuracy.get)
    chosen = sorted({steps[0], best, steps[-1]})
    sources = {"all": run.facts.accuracy} | run.facts.accuracy_by_source
    rows = [[_line(name), *(percent(values.get(step)) for step in chosen)] for name, values in sources.items()]
    return format_table(["validation accuracy", *(f"step {step:,}" for step in chosen)], rows)


def _outcomes(run: RunData) -> str:
    """The share of each outcome and each kind of group at the first, a middle and the last step."""
    steps = sorted(run.rollouts)
    chosen = sorted({steps[0], steps[len(steps) // 2], steps[-1]})
    other = (OTHER,) if any(scan.outcomes[OTHER] for scan in run.rollouts.values()) else ()
    rows = []
    for names, counter, what in (((*OUTCOMES, *other), "outcomes", ""), (SIGNALS, "groups", "groups ")):
        for name in names:
            counts = [getattr(run.rollouts[step], counter) for step in chosen]
            rows.append([what + name, *(percent(one[name] / one.total()) if one else "–" for one in counts)])
    return format_table(["training rollouts", *(f"step {step:,}" for step in chosen)], rows)


def _reasons(run: RunData) -> str:
    last = run.rollouts[max(run.rollouts)]
    if not last.reasoned:
        return ""
    rows = [[reason, percent(count / last.reasoned)] for reason, count in last.reasons.most_common(6)]
    return format_table([f"failures of step {last.step:,}: the first fault", "share"], rows)
