"""The run as text: everything for `--text`, and for `--summary` the closing table with the same figures as a file."""

import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tooln1.files import format_table, read_jsonl, shorten, sparkline, visible, write_json
from tooln1.report.charts import possible_outcomes
from tooln1.report.dumps import SIGNALS
from tooln1.report.evaluation import percent
from tooln1.report.facts import gather_facts, wall_seconds
from tooln1.report.run_data import RunData
from tooln1.run_folder import STEP_SECONDS, RunFolder, checkpoint_folder, tracked_step

_LONGEST, _LONGEST_FACT, _LONGEST_NOTE, _LONGEST_RESPONSE = 100, 200, 300, 400
_MOST_REASONS = 6
# The first steps compile and fill caches; they count in seconds_to_first_step.
WARM_UP_STEPS = 2
# Responses of the exported model that the closing table shows.
_EXAMPLES = 2


def format_text(runs: list[RunData]) -> str:
    """Return the facts, curves, outcomes and notes of every run."""
    return "\n\n".join(map(_format_run, runs))


def _format_run(run: RunData) -> str:
    facts = gather_facts(run)
    width = max(map(len, facts.values))
    parts = [
        f"{run.name}\n{'=' * len(run.name)}",
        "\n".join(_line(f"{label:<{width}}  {value}", _LONGEST_FACT) for label, value in facts.values.items()),
    ]
    if run.reward:
        parts.append(f"reward    {sparkline(list(run.reward.values()))}  {facts.values['Reward']}")
    if run.accuracy:
        parts.append(_accuracy(run))
    if run.rollouts:
        parts += [_outcomes(run), _reasons(run)]
    for evaluation in run.evaluations:
        for table in evaluation.tables:
            parts.append(f"{table.title} ({evaluation.model})\n\n{format_table(table.head, table.rows)}")
    if facts.changed:
        lines = (f"  {key}: {default} → {value}" for key, default, value in facts.changed)
        parts.append("\n".join([f"settings unlike {facts.recipe}", *map(_line, lines)]))
    if facts.notes:
        notes = (_line(f"  {note}", _LONGEST_NOTE) for note in facts.notes)
        parts.append("\n".join(["missing or damaged", *notes]))
    return "\n\n".join(part for part in parts if part)


def _line(text: str, longest: int = _LONGEST) -> str:
    return shorten(visible(text), longest)


def _accuracy(run: RunData) -> str:
    """Make a row for each source and a column for the first, the best and the last step."""
    steps = sorted(run.accuracy)
    chosen = sorted({steps[0], max(steps, key=run.accuracy.get), steps[-1]})
    sources = {"all": run.accuracy} | run.accuracy_by_source
    rows = [[_line(name), *(percent(values.get(step)) for step in chosen)] for name, values in sources.items()]
    return format_table(["validation accuracy", *(f"step {step:,}" for step in chosen)], rows)


def _outcomes(run: RunData) -> str:
    """Make a row for each outcome and signal and a column for the first, a middle and the last step."""
    steps = sorted(run.rollouts)
    chosen = sorted({steps[0], steps[len(steps) // 2], steps[-1]})
    dumps = [run.rollouts[step] for step in chosen]

    def row(label: str, name: str, counts: list[Counter[str]]) -> list[str]:
        return [label, *(percent(one[name] / one.total()) if one else "–" for one in counts)]

    rows = [row(name, name, [dump.outcomes for dump in dumps]) for name in possible_outcomes(run)]
    rows += [row(f"groups {name}", name, [dump.groups for dump in dumps]) for name in SIGNALS]
    return format_table(["training rollouts", *(f"step {step:,}" for step in chosen)], rows)


def _reasons(run: RunData) -> str:
    step = max(run.rollouts)
    reasons = run.rollouts[step].reasons
    rows = [[reason, percent(count / reasons.total())] for reason, count in reasons.most_common(_MOST_REASONS)]
    return format_table([f"failures of step {step:,}: the first mistake", "fraction"], rows) if rows else ""


def write_summary(run: RunData) -> str:
    """Write summary.json into the run's folder and return the closing table.

    Raises:
        UserError: the file cannot be written.
    """
    folder, summary = RunFolder(run.files.folder), summarize(run)
    write_json(folder.summary, summary)
    return _closing_table(folder, summary, _examples(run))


def summarize(run: RunData) -> dict[str, Any]:
    """Return the figures of a run: accuracies are fractions of 1, times are seconds, memory is in 10**9 bytes."""
    accuracy, record, folder = run.accuracy, run.record, RunFolder(run.files.folder)
    # There is no accuracy before with trainer.val_before_train=false, and none after with trainer.test_freq=-1.
    first, last = (0 if 0 in accuracy else None), max((step for step in accuracy if step > 0), default=None)
    seconds = list(run.scalars.get(STEP_SECONDS, {}).values())[WARM_UP_STEPS:]
    checkpoints = run.files.checkpoints
    step = tracked_step(checkpoints) if checkpoints else None
    return {
        "seed": run.files.setting("data.seed"),
        "steps": run.steps,
        "val_acc_before": accuracy.get(first),
        "val_acc_after": accuracy.get(last),
        "val_acc_before_by_kind": _by_kind(run, first),
        "val_acc_after_by_kind": _by_kind(run, last),
        "reward_by_step": {str(step): value for step, value in run.reward.items()},
        "seconds_per_step": statistics.median(seconds) if seconds else None,
        "seconds_to_first_step": record.get("seconds_to_first_step"),
        "wall_seconds": wall_seconds(record),
        "peak_memory_gb": record["peak_memory_gb"],
        "checkpoint": None if step is None else str(checkpoint_folder(checkpoints, step)),
        "merged": str(folder.merged) if folder.merged.is_dir() else None,
    }


def _by_kind(run: RunData, step: int | None) -> dict[str, float]:
    """Return the accuracy of one step by kind of task. Rows without a kind count under their data source."""
    sources = run.accuracy_by_source
    return {name.rpartition(": ")[2]: steps[step] for name, steps in sources.items() if step in steps}


def _closing_table(folder: RunFolder, summary: dict[str, Any], examples: list[str]) -> str:
    before, after = summary["val_acc_before_by_kind"], summary["val_acc_after_by_kind"]
    rows = [[kind, _number(before.get(kind), 2), _number(after.get(kind), 2)] for kind in before or after]
    rows.append(["all", _number(summary["val_acc_before"], 3), _number(summary["val_acc_after"], 3)])
    rewards = list(summary["reward_by_step"].values())
    curve = f"{sparkline(rewards)}   {rewards[0]:.2f} → {rewards[-1]:.2f}" if rewards else "-"
    places = {
        "figures": folder.summary,
        "report": folder.report,
        "model": summary["merged"],
        "checkpoint": summary["checkpoint"],
        "rollouts": folder.rollouts,
        "logs": folder.log.parent,
    }
    return "\n".join(
        [
            f"\nValidation accuracy before and after GRPO ({summary['steps']} steps)\n",
            format_table(["kind of task", "before", "after"], rows),
            f"\nReward by step   {curve}",
            f"Seconds a step   {_number(summary['seconds_per_step'])}",
            f"To the first     {_number(summary['seconds_to_first_step'])} s",
            f"The whole run    {_number(summary['wall_seconds'])} s",
            f"Peak memory      {_number(summary['peak_memory_gb'])} GB\n",
            *examples,
            *(f"{name:<12} {path}" for name, path in places.items() if path),
        ]
    )


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _examples(run: RunData) -> list[str]:
    """Return the first requests of held-out rows with the responses of the exported model, if there are any."""
    results = RunFolder(run.files.folder).evaluations / "held_out" / "results.jsonl"
    files = [Path(name) for name in run.files.listed("data.val_files") if Path(name).is_file()]
    if not results.is_file() or not files:
        return []
    prompts, found = pq.read_table(files[0], columns=["prompt"])["prompt"], []
    for line in read_jsonl(results, Counter()):
        # An id of these rows is <file>/<number of the row>.
        row, response = str(line.value.get("id")).rpartition("/")[2], line.value.get("response")
        if response is not None and row.isdecimal() and int(row) < len(prompts):
            request = prompts[int(row)].as_py()[-1]["content"]
            found.append(f"> {request}\n{shorten(' '.join(response.split()), _LONGEST_RESPONSE)}\n")
    return found[:_EXAMPLES]
