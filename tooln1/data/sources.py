"""Source rows: from JSON, JSON Lines and parquet files, or from a data set on the Hugging Face hub."""

import codecs
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.errors import UserError
from tooln1.files import one_line

_BATCH = 1000


@dataclass
class Source:
    """Where rows come from: a name for messages, the rows, and about how many there are.

    A UserError among the rows takes the place of one that cannot be decoded.
    """

    name: str
    rows: Iterable[Any]
    total: int


def open_source(path: str | Path | None, hub_name: str) -> Source:
    """Return the source for a file (json, jsonl or parquet), or for a hub data set if no file is given.

    Raises:
        UserError: the file is missing, empty, damaged or of another kind; the hub cannot be reached.
    """
    if path is None:
        return _hub_source(hub_name)
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path}: is a directory; give one json, jsonl or parquet file")
    if not path.exists():
        raise UserError(f"{path}: no such file; check the path given to --input")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; expected source rows")
    readers = {".json": _read_json, ".jsonl": _read_lines, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise UserError(f"{path}: cannot tell what kind of file this is; expected {', '.join(readers)}")
    return readers[path.suffix](path)


def _hub_source(name: str) -> Source:
    import datasets
    from huggingface_hub.utils import logging

    # The hub's client logs every attempt of its retries; the error below says it once.
    logging.set_verbosity_error()
    try:
        data = datasets.load_dataset(name, split="train")
    # Missing network, a proxy, a gate and a full cache raise different classes of three libraries.
    except Exception as error:
        raise UserError(_hub_problem(name, error)) from error
    return Source(name, data, len(data))


def _hub_problem(name: str, error: Exception) -> str:
    # Only the text of its error tells a gated data set.
    if "gated" in str(error).lower():
        return (
            f"{name}: is gated on the Hugging Face hub; accept its terms at https://huggingface.co/datasets/{name} "
            "and log in with: hf auth login (or set HF_TOKEN), or give a file you have with --input FILE"
        )
    return (
        f"{name}: cannot be loaded from the Hugging Face hub ({type(error).__name__}: {one_line(error)}); "
        "check the network, or download its data file and give it with --input FILE"
    )


def _read_json(path: Path) -> Source:
    """Read a JSON array; a .json file that starts with an object is taken for JSON Lines."""
    with open(path, "rb") as file:
        if file.read(1000).removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"{":
            return _read_lines(path)
    try:
        # Not orjson, which rounds large integers and refuses half an emoji.
        rows = json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); convert the file to UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: broken JSON ({one_line(error)}); is the file cut?") from None
    if not isinstance(rows, list):
        raise UserError(f"{path}: expected a JSON array of rows, or one object a line, found {type(rows).__name__}")
    return Source(str(path), rows, len(rows))


def _read_lines(path: Path) -> Source:
    with open(path, "rb") as lines:
        total = sum(1 for _ in lines)
    return Source(str(path), _decode_lines(path), total)


def _decode_lines(path: Path) -> Iterator[Any]:
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                yield json.loads(line)
            except UnicodeDecodeError as error:
                yield UserError(f"line {number}: not UTF-8 text ({error.reason}); convert the file to UTF-8")
            except (ValueError, RecursionError) as error:
                yield UserError(f"line {number}: broken JSON ({one_line(error)}); expected one JSON object a line")


def _read_parquet(path: Path) -> Source:
    try:
        with pq.ParquetFile(path) as file:
            total = file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a parquet file ({one_line(error)})") from None
    return Source(str(path), _decode_parquet(path), total)


def _decode_parquet(path: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        yield UserError(f"damaged parquet file ({one_line(error)}); download it again")
