"""The figures of a finished run: summary.json and the closing table."""

import json
import os
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tooln1.files import format_table
from tooln1.tiny.stages import Run, latest_checkpoint
from tooln1.train.metrics import REWARD, STEP_SECONDS, read_jsonl, read_metrics, validation_steps

BARS = "▁▂▃▄▅▆▇█"

# As many characters of a reply are shown; replies.jsonl has all of them.
LONGEST_SHOWN = 400

# The first steps compile and fill caches; they count in seconds_to_first_step.
WARM_UP_STEPS = 2


def summarize(run: Run, clock: dict[str, float]) -> dict[str, Any]:
    """What a run achieved; accuracies are shares of right replies, times are seconds, memory is in 10**9 bytes."""
    metrics = read_metrics(run.metrics)
    trained = {step: values for step, values in metrics.items() if REWARD in values}
    kinds = _kinds_by_prompt(run)
    steps = validation_steps(run.validation)
    # There is no accuracy before with trainer.val_before_train=false, and none after with trainer.test_freq=-1.
    first, last = (0 if 0 in steps else None), max((step for step in steps if step > 0), default=None)
    (before, before_by_kind), (after, after_by_kind) = (
        (None, {}) if step is None else accuracy_by_kind(run.validation / f"{step}.jsonl", kinds)
        for step in (first, last)
    )
    seconds = [values[STEP_SECONDS] for values in list(trained.values())[WARM_UP_STEPS:] if STEP_SECONDS in values]
    return {
        "seed": run.seed,
        "steps": max(trained, default=0),
        "val_acc_before": before,
        "val_acc_after": after,
        "val_acc_before_by_kind": before_by_kind,
        "val_acc_after_by_kind": after_by_kind,
        "reward_by_step": {str(step): values[REWARD] for step, values in trained.items()},
        "seconds_per_step": statistics.median(seconds) if seconds else None,
        "seconds_to_first_step": clock.get("seconds_to_first_step"),
        "wall_seconds": clock.get("wall_seconds"),
        "peak_memory_gb": clock.get("peak_memory_gb"),
        "checkpoint": str(latest_checkpoint(run)),
        "merged": str(run.merged),
    }


def accuracy_by_kind(dump: Path, kinds: dict[str, str]) -> tuple[float, dict[str, float]]:
    """The accuracy of a validation dump, altogether and by kind of task.

    Args:
        dump: ``<step>.jsonl`` of trainer.validation_data_dir.
        kinds: the kind of task by the prompt's text as verl decodes it; prompts that are not in it have no kind.
    """
    right = defaultdict(list)
    for reply in read_jsonl(dump):
        right[kinds.get(reply["input"])].append(reply["acc"])
    every = [acc for values in right.values() for acc in values]
    by_kind = {kind: sum(values) / len(values) for kind, values in right.items() if kind is not None}
    return sum(every) / len(every), by_kind


def _kinds_by_prompt(run: Run) -> dict[str, str]:
    """The kind of task by prompt text as verl's validation dump holds it: rendered, encoded and decoded."""
    rows = pq.read_table(run.val).to_pylist()
    rows = [row for row in rows if (row.get("extra_info") or {}).get("kind")]
    if not rows:
        return {}
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(run.start_model)
    texts = tokenizer.apply_chat_template([row["prompt"] for row in rows], add_generation_prompt=True, tokenize=False)
    encoded = tokenizer(texts, add_special_tokens=False)["input_ids"]
    prompts = tokenizer.batch_decode(encoded, skip_special_tokens=True)
    return dict(zip(prompts, (row["extra_info"]["kind"] for row in rows), strict=True))


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write ``summary`` as JSON, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def print_summary(run: Run, summary: dict[str, Any]) -> None:
    """The closing table: accuracy by kind, the reward curve, times, and where everything lies."""
    before, after = summary["val_acc_before_by_kind"], summary["val_acc_after_by_kind"]
    rows = [[kind, _number(before.get(kind), 2), _number(after.get(kind), 2)] for kind in before or after]
    rows.append(["all", _number(summary["val_acc_before"], 3), _number(summary["val_acc_after"], 3)])
    print(f"\nValidation accuracy before and after GRPO ({summary['steps']} steps)\n")
    print(format_table(["kind of task", "before", "after"], rows))
    rewards = list(summary["reward_by_step"].values())
    if rewards:
        print(f"\nReward by step   {sparkline(rewards)}   {rewards[0]:.2f} → {rewards[-1]:.2f}")
    print(f"Seconds a step   {_number(summary['seconds_per_step'])}")
    print(f"To the first     {_number(summary['seconds_to_first_step'])} s")
    print(f"The whole run    {_number(summary['wall_seconds'])} s")
    print(f"Peak memory      {_number(summary['peak_memory_gb'])} GB\n")
    for reply in read_jsonl(run.folder / "replies.jsonl")[:2]:
        # A model that was trained for a few steps only may write a hundred blank lines.
        print(f"> {reply['query']}\n{' '.join(reply['reply'].split())[:LONGEST_SHOWN]}\n")
    for name, path in (
        ("figures", run.folder / "summary.json"),
        ("report", run.folder / "report.html"),
        ("model", run.merged),
        ("checkpoint", summary["checkpoint"]),
        ("rollouts", run.folder / "rollouts"),
        ("logs", run.logs),
    ):
        print(f"{name:<12} {path}")


def sparkline(values: list[float]) -> str:
    """Values from 0 to 1 as a line of bars."""
    return "".join(BARS[min(len(BARS) - 1, int(max(0.0, value) * len(BARS)))] for value in values)


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
