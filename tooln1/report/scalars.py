"""The metrics of a run by name and step, from verl's file logger and from tensorboard."""

import math
from collections import Counter
from pathlib import Path

from tooln1.files import describe_damage, read_jsonl
from tooln1.report.files import RunFiles

Scalars = dict[str, dict[int, float]]


def read_scalars(files: RunFiles) -> Scalars:
    """{metric: {step: value}} with steps in order. What is missing or damaged is added to the run's notes.

    verl's file logger starts its file anew with every process, so tensorboard's events fill what it lost; of a step
    that was trained twice, the later value counts.
    """
    scalars: Scalars = {}
    for path in files.events:
        _read_events(path, scalars, files.notes)
    for path in files.metrics:
        damage: Counter[str] = Counter()
        for line in read_jsonl(path, damage):
            step, data = line.value.get("step"), line.value.get("data")
            if isinstance(step, int) and isinstance(data, dict):
                for name, value in data.items():
                    _keep(scalars, str(name), step, value)
        files.notes += describe_damage(path, damage)
    return {name: dict(sorted(steps.items())) for name, steps in sorted(scalars.items())}


def _keep(scalars: Scalars, name: str, step: int, value: object) -> None:
    if isinstance(value, int | float) and math.isfinite(value):
        scalars.setdefault(name, {})[step] = float(value)


def _read_events(path: Path, scalars: Scalars, notes: list[str]) -> None:
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        notes.append(f"{path.name}: not read, tensorboard is not installed; pip install tensorboard")
        return
    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    try:
        events.Reload()
    except Exception as error:  # tensorboard raises what its record reader and protobuf raise
        notes.append(f"{path.name}: tensorboard cannot read it to its end ({' '.join(str(error).split())[:200]})")
    for name in events.Tags()["scalars"]:
        for event in events.Scalars(name):
            _keep(scalars, name, event.step, event.value)
