"""Reading source rows one at a time: JSON and JSON Lines files, parquet files, data sets on the Hugging Face hub.

A file of any size is read piece by piece, so memory stays flat. What is wrong with a whole input is raised as a
`UserError`; one that stands in the place of a row says what is wrong with it, and the reading goes on behind it where
it can.
"""

import codecs
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.data.json_array import read_json_array
from tooln1.errors import UserError

_BATCH = 1000


@dataclass
class Source:
    """Where rows come from: a name for messages, and a function that starts reading.

    `read(progress)` yields each row as it is in the source, in order, or a `UserError` in the place of one that cannot
    be read; it calls `progress` with the number of `unit`s passed, of which there are `total`.
    """

    name: str
    read: Callable[[Callable[[int], Any]], Iterator[Any]]
    total: int
    unit: str


def open_source(path: str | Path | None, hub_name: str) -> Source:
    """Return the source for a file (json, jsonl or parquet), or for a hub data set when no file is given.

    Raises:
        UserError: the file is missing, empty, a directory or of another kind; the hub cannot be reached.
    """
    if path is None:
        return _hub_source(hub_name)
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a directory; give one json, jsonl or parquet file")
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path given to --input")
    size = path.stat().st_size
    if size == 0:
        raise UserError(f"{path}: the file is empty; expected source rows")
    readers = {".json": _read_json, ".jsonl": _read_lines, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise UserError(f"{path}: cannot tell what kind of file this is; expected {', '.join(readers)}")
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
        raise UserError(_hub_problem(name, error)) from error

    def read(progress: Callable[[int], Any]) -> Iterator[Any]:
        for row in data:
            yield row
            progress(1)

    return Source(name, read, len(data), "row")


def _hub_problem(name: str, error: Exception) -> str:
    """One line for a data set that does not load; a gated one says so in the text of its error only."""
    if "gated" in str(error).lower():
        return (
            f"{name}: is gated on the Hugging Face hub; accept its terms at https://huggingface.co/datasets/{name} "
            "and log in with: hf auth login (or set HF_TOKEN), or give a file you have with --input FILE"
        )
    return (
        f"{name}: cannot be loaded from the Hugging Face hub ({type(error).__name__}: {str(error)[:200]}); "
        "check the network, or download its data file and give it with --input FILE"
    )


def _read_json(path: Path, progress: Callable[[int], Any]) -> Iterator[Any]:
    """Yield the items of a JSON array; a .json file that starts with an object is taken for JSON Lines."""
    with open(path, "rb") as file:
        first = file.read(1000).removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if first == b"{":
        return _read_lines(path, progress)
    return read_json_array(path, progress)


def _read_lines(path: Path, progress: Callable[[int], Any]) -> Iterator[Any]:
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            progress(len(line))
            if not line.strip():
                continue
            try:
                yield json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError as error:
                yield UserError(f"line {number}: not UTF-8 text ({error.reason}); convert the file to UTF-8")
            except (ValueError, RecursionError) as error:
                yield UserError(f"line {number}: broken JSON ({error}); expected one JSON object a line")


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a parquet file ({error})") from None


def _read_parquet(path: Path, progress: Callable[[int], Any]) -> Iterator[Any]:
    with _parquet(path) as file:
        try:
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist()
                progress(batch.num_rows)
        except (pa.ArrowException, OSError) as error:
            yield UserError(f"damaged parquet file ({error})")
