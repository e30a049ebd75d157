"""Writing parquet files: whole or not at all, in flat memory, and the same bytes for the same rows."""

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.data.rows import row_schema, rows_batch
from tooln1.data.split import choose_test
from tooln1.files import atomic_path, write_json, writing

SPLITS = ("train", "test")
_BATCH = 1000
_ROW_GROUP = 10_000
_PREPARED_ROW_GROUP = 4000
# Columns of few different values. A dictionary of prompts would grow to its limit and be thrown away.
_DICTIONARY = ["data_source", "ability", "reward_model.style", "extra_info.split", "prompt.list.element.role"]


def write_parquet(
    path: str | Path, rows: Iterable[Mapping[str, Any]], extra_fields: Mapping[str, pa.DataType] | None = None
) -> int:
    """Write rows of `make_row` as they are, and return how many there were.

    Raises:
        UserError: the file cannot be written.
    """
    schema = row_schema(extra_fields)
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        groups = _RowGroups(writer, Path(path))
        for batch in _batches(rows, schema):
            groups.add(batch)
        return groups.finish()


class _RowGroups:
    """Writes batches in row groups of an even size, whatever size they arrive in."""

    def __init__(self, writer: pq.ParquetWriter, path: Path, size: int = _ROW_GROUP):
        self._writer = writer
        self._size = size
        self._path = path
        self._pending: list[pa.RecordBatch] = []
        self._waiting = 0
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._pending.append(batch)
        self._waiting += len(batch)
        self.rows += len(batch)
        if self._waiting >= self._size:
            self._flush()

    def finish(self) -> int:
        if self._waiting:
            self._flush()
        return self.rows

    def _flush(self) -> None:
        with writing(self._path):
            self._writer.write_table(pa.Table.from_batches(self._pending, self._writer.schema))
        self._pending, self._waiting = [], 0


class SplitWriter:
    """Takes the rows of both splits and numbers them; made by `split_files`.

    `stats` becomes stats.json, with "rows" added to it. `measure(split, batch)`, if set, sees each batch.
    """

    def __init__(self, folder: Path, writers: Mapping[str, pq.ParquetWriter]):
        self._groups = {
            split: _RowGroups(writer, _path(folder, split), _PREPARED_ROW_GROUP) for split, writer in writers.items()
        }
        self._schemas = {split: writer.schema for split, writer in writers.items()}
        self.stats: dict[str, Any] = {}
        self.measure: Any = None

    @property
    def rows(self) -> dict[str, int]:
        """How many rows each split has so far."""
        return {split: groups.rows for split, groups in self._groups.items()}

    def write(self, split: str, batch: pa.RecordBatch) -> None:
        """Add rows to a split."""
        if not len(batch):
            return
        batch = _numbered(batch, split, self._groups[split].rows, self._schemas[split])
        if self.measure:
            self.measure(split, batch)
        self._groups[split].add(batch)

    def finish(self) -> None:
        for groups in self._groups.values():
            groups.finish()


@contextmanager
def split_files(folder: str | Path, schema: pa.Schema) -> Iterator[SplitWriter]:
    """Write train.parquet, test.parquet and stats.json: they appear together when the block ends well, or not at all.

    Raises:
        UserError: the folder or a file in it cannot be written.
    """
    folder = Path(folder)
    with ExitStack() as stack:
        temporary = {split: stack.enter_context(atomic_path(_path(folder, split))) for split in SPLITS}
        with ExitStack() as open_files:
            options = {"compression": "zstd", "use_dictionary": [name for name in _DICTIONARY if _has(schema, name)]}
            writers = {
                split: open_files.enter_context(pq.ParquetWriter(path, schema, **options))
                for split, path in temporary.items()
            }
            files = SplitWriter(folder, writers)
            yield files
            files.finish()
        write_json(folder / "stats.json", {**files.stats, "rows": files.rows})


def _path(folder: Path, split: str) -> Path:
    return folder / f"{split}.parquet"


def _has(schema: pa.Schema, name: str) -> bool:
    return name.partition(".")[0] in schema.names


def pack(batch: pa.RecordBatch) -> bytes:
    """Return a batch as compressed bytes, to be sent to another process or spooled: a fifth of its size in memory."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_batch(batch)
    return sink.getvalue().to_pybytes()


def unpack(packed: bytes) -> pa.RecordBatch:
    """Return the batch that `pack` made this of."""
    return pa.ipc.open_stream(packed).read_next_batch()


class PreparedFiles:
    """The files of one prepared data set: add conversations, then `finish`; use it in a with block.

    Rows are spooled first, because only after the last one is it known how many there are to split. Nothing appears in
    the folder before `finish`, and nothing stays behind if the block ends early, or if the process is killed.
    """

    def __init__(
        self,
        folder: str | Path,
        extra_fields: Mapping[str, pa.DataType] | None = None,
        schema: pa.Schema | None = None,
    ):
        """Open the folder, making it if needed; `schema` is that of the rows with notes of its own.

        Raises:
            UserError: the folder cannot be written.
        """
        self._folder = Path(folder)
        self._extra_fields = extra_fields
        self._schema = schema or row_schema(extra_fields)
        self._pending: list[Mapping[str, Any]] = []
        self._sizes = array("I")
        self._pending_sizes: list[int] = []
        self._conversations = array("I")
        self._lengths = array("I")
        with writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._spool = tempfile.TemporaryFile(prefix=".rows-", dir=self._folder)

    def __enter__(self) -> "PreparedFiles":
        return self

    def __exit__(self, *exc: object) -> None:
        self._spool.close()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add the rows of one conversation, which will stay on one side of the split.

        Raises:
            UserError: the spool file cannot be written.
        """
        rows = list(rows)
        if rows:
            self._pending_sizes.append(len(rows))
            self._pending += rows
        if len(self._pending) >= _BATCH:
            self._flush()

    def add_packed(self, packed: bytes, sizes: Sequence[int]) -> None:
        """Add the rows of a packed batch; `sizes` says how many belong to each conversation.

        Raises:
            UserError: the spool file cannot be written.
        """
        self._flush()
        with writing(self._folder):
            self._spool.write(packed)
        self._lengths.append(len(packed))
        self._sizes.extend(sizes)
        self._conversations.append(len(sizes))

    def finish(
        self, test_size: float | int, seed: int, stats: Mapping[str, Any], measure: Any = None
    ) -> dict[str, int]:
        """Split, write train.parquet, test.parquet and stats.json, and return the rows of each split.

        Args:
            test_size, seed: as for `tooln1.data.split.choose_test`.
            stats: what stats.json says; the numbers of rows are added as "rows".
            measure: a `tooln1.data.lengths.PromptLengths`, whose findings are added as "prompt_tokens".

        Raises:
            UserError: there are too few rows to split, or a file cannot be written.
        """
        self._flush()
        test = choose_test(self._sizes, test_size, seed)
        with split_files(self._folder, self._schema) as files:
            files.measure = measure and measure.add
            self._spool.seek(0)
            start = 0
            for length, conversations in zip(self._lengths, self._conversations, strict=True):
                batch = unpack(self._spool.read(length))
                stop = start + conversations
                sides = [number in test for number in range(start, stop) for _ in range(self._sizes[number])]
                start = stop
                held_out = pa.array(sides, pa.bool_())
                files.write("train", batch.filter(pa.compute.invert(held_out)))
                files.write("test", batch.filter(held_out))
            files.stats = {**stats, **({"prompt_tokens": measure.as_dict()} if measure else {})}
        return files.rows

    def _flush(self) -> None:
        if self._pending:
            batch, sizes = rows_batch(self._pending, self._extra_fields), self._pending_sizes
            self._pending, self._pending_sizes = [], []
            self.add_packed(pack(batch), sizes)


def _numbered(batch: pa.RecordBatch, split: str, start: int, schema: pa.Schema) -> pa.RecordBatch:
    """Write into extra_info which split the rows are in, and at which place."""
    info = batch["extra_info"]
    fields = [info.field(number) for number in range(info.type.num_fields)]
    fields[info.type.get_field_index("split")] = pa.array([split] * len(batch), pa.string())
    fields[info.type.get_field_index("index")] = pa.array(range(start, start + len(batch)), pa.int64())
    columns = {name: batch[name] for name in schema.names}
    columns["extra_info"] = pa.StructArray.from_arrays(fields, fields=list(info.type))
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=schema)


def _batches(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    pending: list[Mapping[str, Any]] = []
    for row in rows:
        pending.append(row)
        if len(pending) == _BATCH:
            yield pa.RecordBatch.from_pylist(pending, schema)
            pending = []
    if pending:
        yield pa.RecordBatch.from_pylist(pending, schema)
