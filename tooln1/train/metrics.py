"""verl's metrics while a run trains: one file for each attempt, one for all, and the progress bar."""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tooln1.files import read_jsonl, write_text
from tooln1.run_folder import STEP_SECONDS, RunFolder


def new_metrics_file(folder: RunFolder) -> Path:
    """Return the file for verl's logger in this attempt: verl truncates its file with every process."""
    folder.attempts.mkdir(parents=True, exist_ok=True)
    return folder.attempts / f"attempt-{len(list(folder.attempts.glob('attempt-*.jsonl'))):03d}.jsonl"


def read_metrics(attempts: Path) -> dict[int, dict[str, Any]]:
    """Return verl's metrics by step from the files of all attempts; if a step ran twice, the later run counts."""
    steps: dict[int, dict[str, Any]] = defaultdict(dict)
    for path in sorted(attempts.glob("attempt-*.jsonl")):
        for line in read_jsonl(path, Counter()):
            steps[line.value["step"]].update(line.value["data"])
    return dict(sorted(steps.items()))


def gather_metrics(folder: RunFolder, step: int) -> None:
    """Write what all attempts measured up to ``step`` to metrics.jsonl."""
    records = [{"step": one, "data": data} for one, data in read_metrics(folder.attempts).items() if one <= step]
    write_text(folder.metrics, "".join(json.dumps(record) + "\n" for record in records))


class MetricsCopy:
    """Appends the finished lines of a growing file to another one, each time it is called."""

    def __init__(self, source: Path, target: Path):
        self._source, self._target = source, target
        self._copied = 0

    def __call__(self) -> None:
        if not self._source.exists() or self._source.stat().st_size <= self._copied:
            return
        with self._source.open("rb") as source, self._target.open("ab") as target:
            source.seek(self._copied)
            lines, newline, _ = source.read().rpartition(b"\n")
            target.write(lines + newline)
            self._copied += len(lines + newline)


def progress_bar(name: str, total: int | None, value: str, initial: int = 0) -> tqdm:
    """Return a bar of training steps that shows a metric; without a terminal it prints a line in ten seconds."""
    interval = 0.5 if sys.stderr.isatty() else 10
    layout = "{desc}: step {n_fmt}/{total_fmt}{postfix} [{elapsed} passed, {remaining} left]"
    return tqdm(total=total, initial=initial, desc=name, bar_format=layout, mininterval=interval, postfix=f"{value} -")


def follow(path: Path, bar: tqdm, key: str) -> Callable[[], bool]:
    """Return a function that updates ``bar`` from verl's metrics file and says whether a step has ended.

    Args:
        path: the file of verl's logger, which need not exist yet.
        key: the metric that every training step has; the bar shows it.
    """
    seen, name = 0, bar.postfix.split()[0] if bar.postfix else key

    def update() -> bool:
        nonlocal seen
        if not path.exists() or path.stat().st_size == seen:
            return bool(bar.n > bar.initial)
        seen = path.stat().st_size
        steps = [line.value for line in read_jsonl(path, Counter()) if key in line.value["data"]]
        if steps:
            seconds = steps[-1]["data"].get(STEP_SECONDS)
            pace = f", {seconds:.1f} s a step" if seconds else ""
            bar.set_postfix_str(f"{name} {steps[-1]['data'][key]:.2f}{pace}", refresh=False)
            bar.update(steps[-1]["step"] - bar.n)
        return bool(steps)

    return update
