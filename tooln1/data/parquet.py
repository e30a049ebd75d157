"""Writing parquet files: whole or not at all, in flat memory, and the same bytes for the same rows.

Rows are spooled to an Arrow file first, because only after the last one is it known how many conversations there are to
split. Both halves are then copied out of it, and the finished files take the place of the old ones at the very end.
"""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.data.errors import DataError
from tooln1.data.rows import row_schema
from tooln1.data.split import choose_test

_BATCH = 1000
_ROW_GROUP = 10_000
_CONVERSATION = "conversation"


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what can go wrong while writing (no space, no permission, a file in the way) into a `DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that becomes `path` if the block ends well and is removed otherwise.

    Raises:
        DataError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_parquet(
    path: str | Path, rows: Iterable[Mapping[str, Any]], extra_fields: Mapping[str, pa.DataType] | None = None
) -> int:
    """Write rows of `make_row` as they are, and return how many there were.

    Raises:
        DataError: the file cannot be written.
    """
    schema = row_schema(extra_fields)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        return _copy(_batches(rows, schema), writer)


def write_stats(path: str | Path, stats: Mapping[str, Any]) -> None:
    """Write stats.json.

    Raises:
        DataError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(stats, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class PreparedFiles:
    """The files of one prepared data set: add conversations, then `finish`; use it in a with block.

    Nothing appears in the folder before `finish`, and nothing stays behind if the block ends early.
    """

    def __init__(self, folder: str | Path, extra_fields: Mapping[str, pa.DataType] | None = None):
        """Open the folder, making it if needed.

        Raises:
            DataError: the folder cannot be written.
        """
        self._folder = Path(folder)
        self._schema = row_schema(extra_fields)
        self._spool_schema = self._schema.append(pa.field(_CONVERSATION, pa.int64()))
        self._pending: list[dict[str, Any]] = []
        self._conversations = 0
        with _writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, self._spool = tempfile.mkstemp(".arrow", ".rows-", self._folder)
            os.close(handle)
            self._writer = pa.ipc.new_file(self._spool, self._spool_schema)

    def __enter__(self) -> "PreparedFiles":
        return self

    def __exit__(self, *exc: object) -> None:
        # Nothing is lost if this fails: either `finish` has closed the spool before, or an error is on its way.
        with suppress(OSError):
            self._writer.close()
        Path(self._spool).unlink(missing_ok=True)

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the rows of one conversation, which will stay on one side of the split.

        Raises:
            DataError: the spool file cannot be written.
        """
        rows = [{**row, _CONVERSATION: self._conversations} for row in rows]
        if rows:
            self._conversations += 1
            self._pending += rows
        if len(self._pending) >= _BATCH:
            self._flush()

    def finish(self, test_size: float | int, seed: int, stats: Mapping[str, Any]) -> dict[str, int]:
        """Split, write train.parquet, test.parquet and stats.json, and return the rows of each split.

        `stats` is written with those numbers added as "rows".

        Raises:
            DataError: there are too few conversations to split, or a file cannot be written.
        """
        self._flush()
        with _writing(self._folder):
            self._writer.close()
        test = choose_test(self._conversations, test_size, seed)
        paths = {split: self._folder / f"{split}.parquet" for split in ("train", "test")}
        # Both files are complete before either replaces an old one.
        with atomic_path(paths["train"]) as train, atomic_path(paths["test"]) as held_out:
            rows = {
                split: self._write_split(split, temporary, test)
                for split, temporary in (("train", train), ("test", held_out))
            }
            write_stats(self._folder / "stats.json", {**stats, "rows": rows})
        return rows

    def _flush(self) -> None:
        if self._pending:
            with _writing(self._folder):
                self._writer.write_batch(pa.RecordBatch.from_pylist(self._pending, self._spool_schema))
            self._pending = []

    def _write_split(self, split: str, path: Path, test: set[int]) -> int:
        with (
            _writing(self._folder / f"{split}.parquet"),
            pa.memory_map(self._spool) as spool,
            pq.ParquetWriter(path, self._schema) as writer,
        ):
            reader = pa.ipc.open_file(spool)
            batches = (reader.get_batch(number) for number in range(reader.num_record_batches))
            return _copy(_of_split(batches, split, test, self._schema), writer)


def _of_split(
    batches: Iterable[pa.RecordBatch], split: str, test: set[int], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Pick the rows of one split out of spooled batches and number them."""
    index = 0
    for batch in batches:
        belongs = [(number in test) == (split == "test") for number in batch[_CONVERSATION].to_pylist()]
        batch = batch.filter(pa.array(belongs, pa.bool_()))
        info = batch["extra_info"]
        fields = [info.field(number) for number in range(info.type.num_fields)]
        fields[info.type.get_field_index("split")] = pa.array([split] * len(batch), pa.string())
        fields[info.type.get_field_index("index")] = pa.array(range(index, index + len(batch)), pa.int64())
        index += len(batch)
        columns = {name: batch[name] for name in schema.names}
        columns["extra_info"] = pa.StructArray.from_arrays(fields, fields=list(info.type))
        yield pa.RecordBatch.from_pydict(columns, schema)


def _batches(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    pending: list[Mapping[str, Any]] = []
    for row in rows:
        pending.append(row)
        if len(pending) == _BATCH:
            yield pa.RecordBatch.from_pylist(pending, schema)
            pending = []
    if pending:
        yield pa.RecordBatch.from_pylist(pending, schema)


def _copy(batches: Iterable[pa.RecordBatch], writer: pq.ParquetWriter) -> int:
    """Write batches in row groups of an even size, whatever size they arrive in."""
    pending: list[pa.RecordBatch] = []
    rows = waiting = 0
    for batch in batches:
        pending.append(batch)
        rows += len(batch)
        waiting += len(batch)
        if waiting >= _ROW_GROUP:
            writer.write_table(pa.Table.from_batches(pending, writer.schema))
            pending, waiting = [], 0
    if waiting:
        writer.write_table(pa.Table.from_batches(pending, writer.schema))
    return rows
