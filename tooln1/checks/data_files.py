"""The parquet files of a run: their rows, and whether there are enough."""

import os
from collections.abc import Generator, Iterable, Iterator
from typing import Any

import pyarrow.parquet as pq

from tooln1.checks.findings import Finding, fault, warning
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError


def check_data_files(run: UpcomingRun) -> Iterator[Finding]:
    """Files that are missing, rows that cannot be trained on, and too few rows for a batch."""
    counts: dict[str, int | None] = {}
    for key, files in (("data.train_files", run.train_files), ("data.val_files", run.val_files)):
        for path in files:
            if path not in counts:
                counts[path] = yield from _count_rows(run, key, path)
    run.rows, run.val_rows = (_add(counts[path] for path in files) for files in (run.train_files, run.val_files))
    yield from check_batch(run, "rows")


def _count_rows(run: UpcomingRun, key: str, path: str) -> Generator[Finding, None, int | None]:
    """Yield the faults of a file and return how many rows it has, None with a fault."""
    try:
        return validate_parquet(path, run.config.data.messages_key if run.is_sft else None)
    except UserError as error:
        # A planned run's files may be on the other machine only.
        report = warning if run.planned and not os.path.exists(path) else fault
        yield from (report(f"{key}: {message}") for message in error.messages)
    return None


def _add(counts: Iterable[int | None]) -> int | None:
    """Return how many rows some files have, None if one has faults or there is no file."""
    counts = list(counts)
    return None if not counts or None in counts else sum(counts)


def check_batch(run: UpcomingRun, what: str) -> Iterator[Finding]:
    """Fewer rows than a batch."""
    if run.rows is not None and run.rows < run.prompts:
        yield fault(
            f"data.train_files: {run.rows} {what}, fewer than the data.train_batch_size={run.prompts} of one batch; "
            f"prepare more rows, lower it, or raise data.max_prompt_length"
        )


def read_rows(path: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a file that `check_data_files` found nothing wrong with."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(1000):
            yield from batch.to_pylist()
