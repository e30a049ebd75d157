"""Reading source rows one at a time: JSON and JSON Lines files, parquet files, data sets on the Hugging Face hub.

A JSON file of any size is read piece by piece, so memory stays flat. Whatever is wrong with an input is a `DataError`
that names the file and the row. Only a broken line of a JSON Lines file lets the reading go on behind it.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.data.errors import DataError

_CHUNK = 1 << 20
_BATCH = 1000


@dataclass
class Source:
    """Where rows come from: a name for messages, and a function that starts reading.

    `read(progress)` yields each row as it is in the source, in order, or a `DataError` in the place of a line that is
    broken; it calls `progress` with the number of `unit`s passed, of which there are `total`.
    """

    name: str
    read: Callable[[Callable[[int], Any]], Iterator[Any]]
    total: int
    unit: str


def open_source(path: str | Path | None, hub_name: str) -> Source:
    """Return the source for a file (json, jsonl or parquet), or for a hub data set when no file is given.

    Raises:
        DataError: the file is missing, empty, a directory or of another kind; the hub cannot be reached.
    """
    if path is None:
        return _hub_source(hub_name)
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: is a directory; give one json, jsonl or parquet file")
    if not path.exists():
        raise DataError(f"{path}: no such file; check the path given to --input")
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty; expected source rows")
    readers = {".json": _read_json, ".jsonl": _read_lines, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise DataError(f"{path}: cannot tell what kind of file this is; expected {', '.join(readers)}")
    reader = readers[path.suffix]
    if path.suffix == ".parquet":
        return Source(str(path), lambda progress: reader(path, progress), _parquet(path).metadata.num_rows, "row")
    return Source(str(path), lambda progress: reader(path, progress), size, "B")


def _hub_source(name: str) -> Source:
    import datasets
    from huggingface_hub.utils import logging

    # The hub's client retries for a while and says so on every attempt; the error below says it once.
    logging.set_verbosity_error()
    try:
        data = datasets.load_dataset(name, split="train")
    # Missing network, a proxy, a gate and a full cache all surface as different classes of three libraries.
    except Exception as error:
        raise DataError(
            f"{name}: cannot be loaded from the Hugging Face hub ({type(error).__name__}: {str(error)[:200]}); "
            "check the network, or download its data file and give it with --input FILE"
        ) from error

    def read(progress: Callable[[int], Any]) -> Iterator[Any]:
        for row in data:
            yield row
            progress(1)

    return Source(name, read, len(data), "row")


def _read_json(path: Path, progress: Callable[[int], Any]) -> Iterator[Any]:
    """Yield the items of a JSON array; a .json file that starts with an object is taken for JSON Lines."""
    with _Text(path, progress) as text:
        first = text.peek()
        if first == "[":
            yield from _array_items(text)
            return
    if first != "{":
        raise DataError(f"{path}: starts with {first!r}; expected a JSON array of rows, or one JSON object a line")
    yield from _read_lines(path, progress)


def _array_items(text: "_Text") -> Iterator[Any]:
    text.take()
    if text.peek() == "]":
        return
    while True:
        yield text.value()
        mark = text.peek()
        if mark == "]":
            break
        if mark != ",":
            found = f"found {mark!r}" if mark else "the file ends; is it cut?"
            raise text.error(f"expected a comma before it, or ']' after the last row, but {found}")
        text.take()
    text.take()
    if text.peek():
        raise text.error("text follows the array of rows; expected nothing after its ']'")


class _Text:
    """A window on a text file that decodes one JSON value after another and drops what it has passed."""

    def __init__(self, path: Path, progress: Callable[[int], Any]):
        self._path = path
        self._progress = progress
        self._file = open(path, encoding="utf-8-sig", newline="")
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._at = 0
        self._bytes = 0
        self._row = 0

    def __enter__(self) -> "_Text":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def error(self, problem: str) -> DataError:
        return DataError(f"{self._path}: row {self._row}: {problem}")

    def peek(self) -> str:
        """The next character that is not white space, "" at the end of the file."""
        while True:
            while self._at < len(self._buffer) and self._buffer[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._buffer) or not self._more(_CHUNK):
                return self._buffer[self._at : self._at + 1]

    def take(self) -> None:
        self._at += 1

    def value(self) -> Any:
        self.peek()
        size = _CHUNK
        while True:
            try:
                value, self._at = self._decoder.raw_decode(self._buffer, self._at)
                self._row += 1
                return value
            except json.JSONDecodeError as error:
                # An error near the window's edge may only mean that the value goes on beyond it.
                cut = error.pos > len(self._buffer) - 16 or error.msg.startswith("Unterminated string")
                if not cut or not self._more(size):
                    raise self.error(f"broken JSON ({error.msg}){'; is the file cut?' if cut else ''}") from None
                size *= 2
            except (ValueError, RecursionError) as error:
                raise self.error(f"JSON that cannot be read ({error})") from None

    def _more(self, size: int) -> bool:
        try:
            text = self._file.read(size)
        except UnicodeDecodeError as error:
            raise self.error(f"not UTF-8 text here or behind ({error.reason}); convert the file to UTF-8") from None
        self._buffer = self._buffer[self._at :] + text
        self._at = 0
        position = self._file.buffer.tell()
        self._progress(position - self._bytes)
        self._bytes = position
        return bool(text)


def _read_lines(path: Path, progress: Callable[[int], Any]) -> Iterator[Any]:
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            progress(len(line))
            if not line.strip():
                continue
            try:
                yield json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                yield DataError(f"line {number}: not UTF-8 text ({error.reason}); convert the file to UTF-8")
            except (ValueError, RecursionError) as error:
                yield DataError(f"line {number}: broken JSON ({error}); expected one JSON object a line")


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a parquet file ({error})") from None


def _read_parquet(path: Path, progress: Callable[[int], Any]) -> Iterator[Any]:
    with _parquet(path) as file:
        for batch in file.iter_batches(_BATCH):
            yield from batch.to_pylist()
            progress(batch.num_rows)
