"""The summary of a run: labelled values, changed settings, and notes on what is missing or damaged."""

import math
import statistics
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tooln1.config import plain
from tooln1.report.changed_settings import Change, find_changed_settings
from tooln1.report.evaluation import percent
from tooln1.report.run_data import RunData, find_reward, is_number
from tooln1.run_folder import STEP_SECONDS, checkpoint_steps

_SETTINGS = {
    "Estimator": "algorithm.adv_estimator",
    "Prompts a step": "data.train_batch_size",
    "Rollouts a prompt": "actor_rollout_ref.rollout.n",
    "Learning rate": "actor_rollout_ref.actor.optim.lr",
    "Temperature": "actor_rollout_ref.rollout.temperature",
    "KL coefficient": "actor_rollout_ref.actor.kl_loss_coef",
    "Longest prompt": "data.max_prompt_length",
    "Longest response": "data.max_response_length",
}


@dataclass(frozen=True)
class Facts:
    """What the page and the text say about one run. `changed` holds the settings that differ from `recipe`."""

    values: dict[str, str]
    changed: list[Change]
    recipe: str
    notes: list[str]


def gather_facts(run: RunData) -> Facts:
    """Return the facts of a run."""
    changed, recipe = find_changed_settings(run.files)
    notes = [*run.files.notes, *_missing(run), *(note for dump in run.dumps for note in dump.notes)]
    return Facts(_training(run) | _progress(run) | _machine(run), changed, recipe, notes)


def _training(run: RunData) -> dict[str, str]:
    values = {"Model": run.files.model or "–"}
    for label, key in (("Training data", "data.train_files"), ("Validation data", "data.val_files")):
        rows = [f"{name} ({run.rows[name]:,} rows)" if name in run.rows else name for name in run.files.listed(key)]
        values[label] = ", ".join(rows) or "–"
    return values | {label: plain(run.files.setting(key)) for label, key in _SETTINGS.items()}


def _progress(run: RunData) -> dict[str, str]:
    seconds, accuracy = list(run.scalars.get(STEP_SECONDS, {}).values()), run.accuracy
    rewards = list(run.reward.values())
    checkpoints = checkpoint_steps(run.files.checkpoints) if run.files.checkpoints else []

    def at(step: int | None) -> str:
        return "–" if step is None else f"{percent(accuracy[step])} at step {step:,}"

    return {
        "Steps": f"{run.steps:,} of {run.planned:,}" if run.planned else f"{run.steps:,}",
        **{
            f"Changed after step {step:,}": ", ".join(f"{key} {old} → {new}" for key, old, new in changes)
            for step, changes in run.changes.items()
        },
        "First validation accuracy": at(min(accuracy, default=None)),
        "Final validation accuracy": at(max(accuracy, default=None)),
        "Best validation accuracy": at(max(accuracy, key=accuracy.get, default=None)),
        "Reward": f"{rewards[0]:.3f} → {rewards[-1]:.3f}" if rewards else "–",
        "Time": _duration(wall_seconds(run.record) or sum(seconds)),
        "Seconds a step": f"{statistics.median(seconds):.1f} (median)" if seconds else "–",
        "Checkpoints": ", ".join(map(str, checkpoints)) or "–",
    }


def _machine(run: RunData) -> dict[str, str]:
    """Return the values that are known: a run that tooln1 did not start has few of them."""
    files, record = run.files, run.record
    nodes, devices = files.setting("trainer.nnodes"), files.setting("trainer.n_gpus_per_node")
    configured = f"{nodes} × {devices} {files.setting('trainer.device', 'cuda')}" if nodes and devices else ""
    peak = record.get("peak_memory_gb")
    values = {
        "Hardware": _flat(record.get("hardware")) or configured,
        "Memory at the peak": "" if peak is None else f"{peak:.1f} GB",
        "Versions": _flat(record.get("versions")),
        "Git commit": _flat(record.get("git_commit")),
        "Started": _flat(record.get("start")),
        "Command": _flat(record.get("command"), " "),
        "Folder": str(files.folder),
    }
    return {label: value for label, value in values.items() if value}


def _missing(run: RunData) -> list[str]:
    files, notes = run.files, []
    if not run.scalars:
        notes.append("no metrics: neither verl's file logger (trainer.logger=[console,file]) nor tensorboard events")
    if not files.is_sft:
        notes += _missing_dumps(run)
    if not files.config:
        notes.append("no configuration: neither config.yaml nor .hydra/config.yaml of verl's trainer was found")
    if run.planned and run.steps < run.planned:
        notes.append(f"the run is at step {run.steps:,} of {run.planned:,}")
    if run.scalars and run.reward and min(run.reward) > 1:
        first = min(run.reward)
        notes.append(f"metrics begin at step {first:,}: verl's file logger overwrites what an earlier process wrote")
    if not run.evaluations:
        notes.append("no evaluation: no eval/*/summary.json of `tooln1 eval` in the folder")
    differing = sum(dump.differing for dump in run.dumps)
    # This variant gives 1 without reasoning too.
    is_binary = files.setting("reward.custom_reward_function.reward_kwargs.variant") != "binary_no_reason"
    if differing and find_reward(files) and is_binary:
        notes.append(f"{differing:,} scores differ from this reward: was another reward used in training?")
    return notes


def _missing_dumps(run: RunData) -> list[str]:
    notes = []
    if not run.rollouts:
        notes.append("no rollouts: trainer.rollout_data_dir was not set, or the run ended before its first step")
    if not run.accuracy:
        notes.append("no validation accuracy: trainer.test_freq was off, or the run ended before its first validation")
    elif not run.validation:
        notes.append("no validation responses: trainer.validation_data_dir was not set")
    return notes


def wall_seconds(record: dict[str, Any]) -> float | None:
    """Return the time of the whole run, else of all attempts of which start and end are known."""
    if is_number(record.get("wall_seconds")):
        return float(record["wall_seconds"])
    earlier = record.get("attempts")
    attempts = [record, *(earlier if isinstance(earlier, list) else [])]
    ended = [one for one in attempts if isinstance(one, dict) and one.get("start") and one.get("end")]
    spans = [_instant(one["end"]) - _instant(one["start"]) for one in ended]
    return sum(spans) if spans and not any(map(math.isnan, spans)) else None


def _instant(text: Any) -> float:
    """Return the seconds of a time as run.json writes it; NaN for another text."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return math.nan


def _duration(seconds: float) -> str:
    if seconds <= 0:
        return "–"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _flat(value: Any, separator: str = ", ") -> str:
    """Write a value of run.json on one line, without what is empty."""
    if isinstance(value, dict):
        return separator.join(f"{key} {_flat(one)}" for key, one in value.items() if one not in (None, "", [], {}))
    if isinstance(value, list):
        return separator.join(map(_flat, value))
    return "" if value is None else str(value)
