"""Reading what a run of verl leaves: the file logger's metrics and the dumps of validation."""

import json
from collections import defaultdict
from pathlib import Path

REWARD = "critic/score/mean"
STEP_SECONDS = "timing_s/step"


def read_jsonl(path: Path) -> list[dict]:
    """The objects of a JSON Lines file; a last line that is not finished yet is left out."""
    if not path.exists():
        return []
    objects = []
    for line in path.read_bytes().split(b"\n"):
        try:
            objects.append(json.loads(line))
        except ValueError:
            continue
    return objects


def read_metrics(folder: Path) -> dict[int, dict]:
    """verl's metrics by step, from the files of all attempts; of a step that was trained twice, the later one.

    verl's file logger starts its file anew with every process, so every attempt writes one of its own.
    """
    steps: dict[int, dict] = defaultdict(dict)
    for path in sorted(folder.glob("attempt-*.jsonl")):
        for record in read_jsonl(path):
            steps[record["step"]].update(record["data"])
    return dict(sorted(steps.items()))


def validation_steps(folder: Path) -> list[int]:
    """The steps of which ``folder`` holds a validation dump, in order; an empty one is of a run that was killed."""
    return sorted(int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdigit() and path.stat().st_size)
