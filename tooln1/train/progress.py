"""What a run shows while it trains, and its metrics over all attempts."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from tooln1.files import write_text
from tooln1.train.metrics import STEP_SECONDS, read_jsonl, read_metrics


def progress_bar(name: str, total: int | None, value: str, initial: int = 0) -> tqdm:
    """A bar of training steps that shows the metric called ``value``; without a terminal, a line every ten seconds."""
    # Without a terminal every refresh is a line of its own.
    interval = 0.5 if sys.stderr.isatty() else 10
    layout = "{desc}: step {n_fmt}/{total_fmt}{postfix} [{elapsed} passed, {remaining} left]"
    return tqdm(total=total, initial=initial, desc=name, bar_format=layout, mininterval=interval, postfix=f"{value} -")


def follow(path: Path, bar: tqdm, key: str, on_first: Callable[[], None] = lambda: None) -> Callable[[], None]:
    """A function that brings ``bar`` up to date with verl's metrics file whenever it is called.

    Args:
        path: the file of verl's logger, which need not exist yet.
        key: the metric that a training step has; the bar shows it.
        on_first: called whenever there is something new and a step is among it.
    """
    seen = 0

    def watch() -> None:
        nonlocal seen
        if not path.exists() or path.stat().st_size == seen:
            return
        seen = path.stat().st_size
        steps = [record for record in read_jsonl(path) if key in record["data"]]
        if not steps:
            return
        on_first()
        name = bar.postfix.split()[0] if bar.postfix else key
        seconds = steps[-1]["data"].get(STEP_SECONDS)
        pace = f", {seconds:.1f} s a step" if seconds else ""
        bar.set_postfix_str(f"{name} {steps[-1]['data'][key]:.2f}{pace}", refresh=False)
        bar.update(steps[-1]["step"] - bar.n)

    return watch


def all_of(*watches: Callable[[], None]) -> Callable[[], None]:
    """One function that calls all of them in order."""

    def watch() -> None:
        for one in watches:
            one()

    return watch


def gather_metrics(attempts: Path, target: Path, step: int) -> None:
    """Write what all attempts measured up to ``step`` to one file, of a step that was trained twice the later."""
    records = [{"step": number, "data": data} for number, data in read_metrics(attempts).items() if number <= step]
    write_text(target, "".join(json.dumps(record) + "\n" for record in records))


class MetricsCopy:
    """Adds the finished lines of a growing file to another one, whenever it is called."""

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
