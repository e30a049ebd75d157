"""The closing table of a run and the same figures as summary.json."""

import statistics
from typing import Any

from tooln1.files import format_table, sparkline, write_json
from tooln1.report.build import RunData
from tooln1.run_folder import STEP_SECONDS, RunFolder, checkpoint_folder, tracked_step

# The first steps compile and fill caches; they count in seconds_to_first_step.
WARM_UP_STEPS = 2


def summarize(run: RunData, wall_seconds: float | None) -> dict[str, Any]:
    """Return the figures of a run: accuracies are fractions of 1, times are seconds, memory is in 10**9 bytes."""
    folder, accuracy = RunFolder(run.files.folder), run.facts.accuracy
    record = folder.read_record()
    # There is no accuracy before with trainer.val_before_train=false, and none after with trainer.test_freq=-1.
    first, last = (0 if 0 in accuracy else None), max((step for step in accuracy if step > 0), default=None)
    seconds = list(run.scalars.get(STEP_SECONDS, {}).values())[WARM_UP_STEPS:]
    step = tracked_step(folder.checkpoints)
    return {
        "seed": run.files.setting("data.seed"),
        "steps": run.facts.steps,
        "val_acc_before": accuracy.get(first),
        "val_acc_after": accuracy.get(last),
        "val_acc_before_by_kind": _by_kind(run, first),
        "val_acc_after_by_kind": _by_kind(run, last),
        "reward_by_step": {str(step): value for step, value in run.facts.reward.items()},
        "seconds_per_step": statistics.median(seconds) if seconds else None,
        "seconds_to_first_step": record.get("seconds_to_first_step"),
        "wall_seconds": wall_seconds,
        "peak_memory_gb": record.get("peak_memory_gb"),
        "checkpoint": None if step is None else str(checkpoint_folder(folder.checkpoints, step)),
    }


def _by_kind(run: RunData, step: int | None) -> dict[str, float]:
    """Return the accuracy of one step by kind of task; rows without a kind count under their data source."""
    sources = run.facts.accuracy_by_source
    return {name.rpartition(": ")[2]: steps[step] for name, steps in sources.items() if step in steps}


def write_summary(run: RunData, wall_seconds: float | None) -> str:
    """Write summary.json into the run's folder and return the closing table.

    Raises:
        UserError: the file cannot be written.
    """
    summary = summarize(run, wall_seconds)
    folder = RunFolder(run.files.folder)
    write_json(folder.summary, summary)
    return _closing_table(folder, summary)


def _closing_table(folder: RunFolder, summary: dict[str, Any]) -> str:
    before, after = summary["val_acc_before_by_kind"], summary["val_acc_after_by_kind"]
    rows = [[kind, _number(before.get(kind), 2), _number(after.get(kind), 2)] for kind in before or after]
    rows.append(["all", _number(summary["val_acc_before"], 3), _number(summary["val_acc_after"], 3)])
    parts = [
        f"\nValidation accuracy before and after GRPO ({summary['steps']} steps)\n",
        format_table(["kind of task", "before", "after"], rows) + "\n",
    ]
    if rewards := list(summary["reward_by_step"].values()):
        parts.append(f"Reward by step   {sparkline(rewards)}   {rewards[0]:.2f} → {rewards[-1]:.2f}")
    parts += [
        f"Seconds a step   {_number(summary['seconds_per_step'])}",
        f"To the first     {_number(summary['seconds_to_first_step'])} s",
        f"The whole run    {_number(summary['wall_seconds'])} s",
        f"Peak memory      {_number(summary['peak_memory_gb'])} GB\n",
    ]
    places = {
        "figures": folder.summary,
        "report": folder.report,
        "model": folder.path / "merged",
        "checkpoint": summary["checkpoint"],
        "rollouts": folder.rollouts,
        "logs": folder.log.parent,
    }
    parts += [f"{name:<12} {path}" for name, path in places.items()]
    return "\n".join(parts)


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
