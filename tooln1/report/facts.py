"""The summary of a run: what was trained on what, how far it came, on which machine, and what it was set to."""

import json
import math
import re
import statistics
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tooln1.report.differences import find_differences, plain
from tooln1.report.evaluation import percent
from tooln1.report.sources import SourceIndex
from tooln1.run_folder import Run

if TYPE_CHECKING:
    from tooln1.report.build import RunData

REWARD = ("critic/score/mean", "critic/rewards/mean")
LOSS = "train/loss"  # of verl's SFT trainer
STEP_SECONDS = "timing_s/step"
_OVERALL = "validation/accuracy"  # what tooln1's trainer adds to verl's metrics
_VALIDATION = re.compile(r"val-core/(?P<source>.+)/(?P<key>[^/]+)/mean@\d+")
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


@dataclass
class Facts:
    """What is known of a run: labelled values for the summary, accuracy by step, and settings that differ."""

    values: dict[str, str] = field(default_factory=dict)
    accuracy: dict[int, float] = field(default_factory=dict)
    accuracy_by_source: dict[str, dict[int, float]] = field(default_factory=dict)
    reward: dict[int, float] = field(default_factory=dict)
    steps: int = 0
    planned: int | None = None
    differences: list[tuple[str, str, str]] = field(default_factory=list)
    compared_with: str = ""


def gather_facts(run: "RunData", sources: SourceIndex) -> Facts:
    """The facts of a run whose files are read. What is missing is added to the run's notes."""
    facts, files = Facts(), run.files
    info = _read_info(files)
    facts.reward = next((run.scalars[name] for name in REWARD if name in run.scalars), {}) or {
        step: scan.score_sum / scan.scored for step, scan in run.rollouts.items() if scan.scored
    }
    _validate(run, facts)
    facts.steps = max([0, *facts.reward, *run.rollouts]) or max([0, *run.scalars.get(LOSS, {})])
    planned = run.scalars.get("training/total_steps") or files.setting("trainer.total_training_steps")
    facts.planned = planned if isinstance(planned, int) else None
    facts.values = {
        **_training(files, sources),
        **_progress(run, facts, info),
        **_machine(files, info),
    }
    facts.differences, facts.compared_with = find_differences(files, info)
    _note_missing(run, facts)
    return facts


def _read_info(files: Run) -> dict[str, Any]:
    """What tooln1's own files say about the run; further keys of theirs do no harm."""
    info: dict[str, Any] = {}
    for name in ("clock.json", "summary.json", "run.json"):
        path = files.folder / name
        if not path.is_file():
            continue
        try:
            value = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        except (OSError, ValueError, RecursionError) as error:
            files.notes.append(f"{name}: cannot be read ({str(error)[:120]})")
            continue
        info |= value if isinstance(value, dict) else {}
    return info


def _validate(run: "RunData", facts: Facts) -> None:
    """Accuracy on the validation data: by source as verl logs it, else from the dumps; altogether from the dumps."""
    for name, steps in run.scalars.items():
        match = _VALIDATION.fullmatch(name)
        if match and match["key"] in ("acc", "reward"):
            facts.accuracy_by_source.setdefault(match["source"], {}).update(steps)
    from_dumps: dict[str, dict[int, float]] = {}
    for step, scan in run.validation.items():
        for source, (count, right) in scan.by_source.items():
            from_dumps.setdefault(source, {})[step] = right / count
    if len(from_dumps) > len(facts.accuracy_by_source):
        facts.accuracy_by_source = from_dumps
    by_step: dict[int, list[float]] = {}
    for steps in facts.accuracy_by_source.values():
        for step, value in steps.items():
            by_step.setdefault(step, []).append(value)
    dumped = {step: scan.accuracy for step, scan in run.validation.items() if scan.accuracy is not None}
    dumped = dict(run.scalars.get(_OVERALL, {})) | dumped
    # Sources weigh alike where there is no dump that tells how many rows each has.
    means = {step: statistics.fmean(values) for step, values in by_step.items()}
    facts.accuracy = dict(sorted((means | dumped).items()))


def _training(files: Run, sources: SourceIndex) -> dict[str, str]:
    model = files.setting("actor_rollout_ref.model.path") or files.setting("model.path", "–")
    values = {"Model": str(model)}
    for label, key in (("Training data", "data.train_files"), ("Validation data", "data.val_files")):
        names = files.listed(key)
        rows = [f"{name} ({sources.sizes[name]:,} rows)" if name in sources.sizes else name for name in names]
        values[label] = ", ".join(rows) or "–"
    return values | {label: plain(files.setting(key)) for label, key in _SETTINGS.items()}


def _progress(run: "RunData", facts: Facts, info: dict[str, Any]) -> dict[str, str]:
    seconds = list(run.scalars.get(STEP_SECONDS, {}).values())
    accuracy = facts.accuracy
    best = max(accuracy, key=accuracy.get) if accuracy else None
    checkpoints = _checkpoints(run.files)
    return {
        "Steps": f"{facts.steps:,} of {facts.planned:,}" if facts.planned else f"{facts.steps:,}",
        "First validation accuracy": _at(accuracy, min(accuracy, default=None)),
        "Final validation accuracy": _at(accuracy, max(accuracy, default=None)),
        "Best validation accuracy": _at(accuracy, best),
        "Reward": _first_to_last(list(facts.reward.values())),
        "Time": _duration(_wall_seconds(info) or sum(seconds)),
        "Seconds a step": f"{statistics.median(seconds):.1f} (median)" if seconds else "–",
        "Checkpoints": ", ".join(map(str, checkpoints)) if checkpoints else "–",
    }


def _machine(files: Run, info: dict[str, Any]) -> dict[str, str]:
    nodes, devices = files.setting("trainer.nnodes"), files.setting("trainer.n_gpus_per_node")
    device = files.setting("trainer.device", "cuda")
    of_config = f"{nodes} × {devices} {device}" if nodes and devices else "–"
    values = {
        "Hardware": _flat(info.get("hardware")) or of_config,
        "Memory at the peak": f"{info['peak_memory_gb']:.1f} GB" if _is_number(info.get("peak_memory_gb")) else "–",
        "Versions": _flat(info.get("versions")) or "–",
        "Git commit": _flat(info.get("git_commit")) or "–",
        "Started": _flat(info.get("start")) or "–",
        "Command": _flat(info.get("command"), " ") or "–",
        "Folder": str(files.folder.resolve()),
    }
    # A run that tooln1 did not start has little of this.
    return {label: value for label, value in values.items() if value != "–"}


def _checkpoints(files: Run) -> list[int]:
    folder = files.checkpoints
    names = [path.name.removeprefix("global_step_") for path in folder.glob("global_step_*")] if folder else []
    return sorted(int(name) for name in names if name.isdecimal())


def _note_missing_rollouts(run: "RunData", facts: Facts) -> None:
    notes = run.files.notes
    if not run.rollouts:
        notes.append("no rollouts: trainer.rollout_data_dir was not set, or the run ended before its first step")
    if not facts.accuracy:
        notes.append("no validation accuracy: trainer.test_freq was off, or the run ended before its first validation")
    elif not run.validation:
        notes.append("no validation replies: trainer.validation_data_dir was not set")


def _note_missing(run: "RunData", facts: Facts) -> None:
    files, notes = run.files, run.files.notes
    if not run.scalars:
        notes.append("no metrics: neither verl's file logger (trainer.logger=[console,file]) nor tensorboard events")
    if not files.is_sft:
        _note_missing_rollouts(run, facts)
    if not files.config:
        notes.append("no configuration: neither config.yaml nor .hydra/config.yaml of verl's trainer was found")
    if facts.planned and facts.steps < facts.planned:
        notes.append(f"the run stands at step {facts.steps:,} of {facts.planned:,}")
    if run.scalars and facts.reward and min(facts.reward) > 1:
        first = min(facts.reward)
        notes.append(f"metrics begin at step {first:,}: verl's file logger forgets what an earlier process wrote")
    if not run.evaluations:
        notes.append("no evaluation: no eval/*/summary.json of `tooln1 eval` in the folder")
    differing = sum(scan.differing for scan in [*run.rollouts.values(), *run.validation.values()])
    if differing:
        notes.append(f"{differing:,} scores are not what the reward gives these replies: was another one trained with?")


def _wall_seconds(info: dict[str, Any]) -> float | None:
    """The time of all attempts of which start and end are known."""
    if _is_number(info.get("wall_seconds")):
        return float(info["wall_seconds"])
    attempts = [info, *(one for one in _list(info.get("attempts")) if isinstance(one, dict))]
    ended = [one for one in attempts if one.get("start") and one.get("end")]
    spans = [_instant(one["end"]) - _instant(one["start"]) for one in ended]
    return sum(spans) if spans and not any(map(math.isnan, spans)) else None


def _instant(text: Any) -> float:
    """Seconds of a time as run.json has it; NaN for another text."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except ValueError:
        return math.nan


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _duration(seconds: float) -> str:
    if seconds <= 0:
        return "–"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{seconds / 3600:.1f} h"


def _at(accuracy: dict[int, float], step: int | None) -> str:
    return "–" if step is None else f"{percent(accuracy[step])} at step {step:,}"


def _first_to_last(values: list[float]) -> str:
    return f"{values[0]:.3f} → {values[-1]:.3f}" if values else "–"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(value: Any, separator: str = ", ") -> str:
    if isinstance(value, dict):
        return separator.join(f"{key} {_flat(one)}" for key, one in value.items() if one not in (None, "", [], {}))
    if isinstance(value, list):
        return separator.join(map(_flat, value))
    return "" if value is None else str(value)
