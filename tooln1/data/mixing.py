"""Writing a mixture: the chosen rows are read again and carried to files of a few thousand, each shuffled in memory.

The order is that of one big shuffle, and memory stays flat.
"""

import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from tooln1.data.augment import mask, without_answer_tools
from tooln1.data.choice import Choice
from tooln1.data.parquet import SplitWriter, pack, unpack
from tooln1.data.pool import map_in_order
from tooln1.data.prepared import Unit, calls_of, each_row, naming, take_apart
from tooln1.data.rows import make_row, rows_batch
from tooln1.data.scan import Rules, digest
from tooln1.files import writing
from tooln1.prompt import fill_template

_POSITION = "position"
# Rows that are shuffled in memory together, and the most temporary files that hold such.
_BUCKET = 8192
_BATCH = 500
_MOST_BUCKETS = 256


@dataclass(frozen=True)
class Task:
    """A unit with, for each of its rows that is to be written, offset, place, and how it is changed."""

    unit: Unit
    offsets: list[int]
    places: list[int]
    irrelevant: list[bool]
    masked: list[bool]


def write_mixture(
    units: Sequence[Unit],
    offsets: Sequence[np.ndarray],
    choice: Choice,
    rules: Rules,
    files: SplitWriter,
    folder: Path,
    workers: int,
) -> None:
    """Read the chosen rows and write them in their order; `offsets` are where the good rows of each unit stand in it.

    Raises:
        UserError: an input is damaged, or the temporary files cannot be written.
    """
    rows = len(choice.places[choice.places >= 0])
    size = max(_BUCKET, -(-rows // _MOST_BUCKETS))
    with ExitStack() as stack:
        buckets = [stack.enter_context(_Bucket(folder)) for _ in range(-(-rows // size))]
        tasks = list(_tasks(units, offsets, choice))
        work = partial(_write_task, rules=rules)
        with tqdm(total=rows, unit="row", unit_scale=True, desc="writing", disable=None) as bar:
            for batch in map(unpack, map_in_order(work, tasks, workers)):
                bar.update(len(batch))
                numbers = batch[_POSITION].to_numpy() // size
                for number in np.unique(numbers):
                    buckets[number].add(batch.take(pa.array(np.flatnonzero(numbers == number))))
        for bucket in buckets:
            for split, table in _sides(bucket.read(), choice.train_rows):
                for piece in table.to_batches():
                    files.write(split, piece)


def _tasks(units: Sequence[Unit], offsets: Sequence[np.ndarray], choice: Choice) -> Iterator[Task]:
    start = 0
    for unit, of_unit in zip(units, offsets, strict=True):
        stop = start + len(of_unit)
        chosen = np.flatnonzero(choice.places[start:stop] >= 0)
        columns = (of_unit, *(a[start:stop] for a in (choice.places, choice.irrelevant, choice.masked)))
        if len(chosen):
            yield Task(unit, *(column[chosen].tolist() for column in columns))
        start = stop


def _write_task(task: Task, rules: Rules) -> bytes:
    wanted = {offset: number for number, offset in enumerate(task.offsets)}
    rows: list[dict[str, Any]] = []
    batches = []
    for position, row in each_row(task.unit, rules.skip_broken, lambda error: None):
        number = wanted.get(position - task.unit.first)
        if number is not None:
            with naming(task.unit, position):
                rows.append(change_row(row, task.unit.template, rules, task.irrelevant[number], task.masked[number]))
        # As an Arrow batch, a row takes a third of what it does as objects.
        if len(rows) == _BATCH:
            batches.append(rows_batch(rows))
            rows = []
    batch = pa.concat_batches([*batches, rows_batch(rows)])
    places = pa.array(task.places, pa.int64())
    return pack(pa.RecordBatch.from_arrays([*batch.columns, places], names=[*batch.schema.names, _POSITION]))


def change_row(row: dict[str, Any], written_with: str | None, rules: Rules, irrelevant: bool, masked: bool) -> dict:
    """Return a prepared row with its template changed, its answer tools removed, its names masked, or as it was.

    Raises:
        UserError: the row's system message cannot be taken apart.
    """
    info, (system, *turns), calls = row["extra_info"], row["prompt"], calls_of(row)
    number_of_tools = info["num_tools"]
    if irrelevant or masked or (rules.template is not None and rules.template != written_with):
        seed = f"{rules.seed} {digest(row['prompt']).hex()}"
        context, tools, template = take_apart(system["content"], written_with)
        if irrelevant:
            tools, calls = without_answer_tools(tools, calls, turns) or tools, []
        if masked:
            tools, calls, turns = mask(tools, calls, turns, random.Random(seed))
        content = fill_template(tools, context, rules.template or template)
        system, number_of_tools = {"role": "system", "content": content}, len(tools)
    return make_row(
        data_source=row["data_source"],
        messages=[system, *turns],
        calls=calls,
        source_row=info["source_row"],
        num_tools=number_of_tools,
        turn=info.get("turn") or 0,
    )


def _sides(table: pa.Table, train_rows: int) -> Iterator[tuple[str, pa.Table]]:
    """The rows of a bucket in their order, those of each split by themselves."""
    table = table.sort_by(_POSITION)
    train = int((table[_POSITION].to_numpy() < train_rows).sum())
    table = table.drop_columns(_POSITION)
    yield "train", table.slice(0, train)
    yield "test", table.slice(train)


class _Bucket:
    """Rows on disk, in a file that vanishes when it is closed, or when the process is killed."""

    def __init__(self, folder: Path):
        self._folder = folder

    def __enter__(self) -> "_Bucket":
        with writing(self._folder):
            self._file = tempfile.TemporaryFile(prefix=".bucket-", dir=self._folder)
        self._lengths: list[int] = []
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def add(self, batch: pa.RecordBatch) -> None:
        packed = pack(batch)
        with writing(self._folder):
            self._file.write(packed)
        self._lengths.append(len(packed))

    def read(self) -> pa.Table:
        self._file.seek(0)
        return pa.Table.from_batches([unpack(self._file.read(length)) for length in self._lengths])
