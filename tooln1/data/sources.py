"""Source rows: from JSON, JSON Lines and parquet files, compressed or not, folders of them, or the Hugging Face hub."""

import codecs
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.errors import UserError
from tooln1.files import one_line, shorten

_BATCH = 1000
_JSON, _PARQUET = (".json", ".jsonl", ".ndjson"), (".parquet",)
_COMPRESSED = (".gz", ".zst")
_EXPECTED = f"{', '.join(_JSON + _PARQUET)}, each also with {' or '.join(_COMPRESSED)}"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# An object around the rows has them under one of these keys.
_ROWS_KEYS = ("data", "rows", "examples", "items", "records", "samples", "instances", "entries", "dataset", "train")
_ROWS_KEYS += ("conversations", "dialogues", "dialogs", "messages")
_MESSAGE_KEYS = {"role", "from"}
_SEPARATOR = re.compile(r"\s*")
_BLANK = codecs.BOM_UTF8 + b" \t\r\n"
_DECODER = json.JSONDecoder()


@dataclass
class Source:
    """Where rows come from: a name for messages, the rows, and about how many there are.

    A row is a pair: where it stands, and what `decode_row` takes, so that workers can decode it.
    """

    name: str
    rows: Iterable[tuple[str, Any]]
    total: int


def open_sources(inputs: Sequence[str | Path]) -> Source:
    """Return the source of all rows of files, folders of files, and data sets on the hub, in this order.

    Raises:
        UserError: a file is missing, empty, damaged or of another kind; the hub cannot be reached.
    """
    sources = [source for given in inputs for source in _open(given)]
    rows = chain.from_iterable(source.rows for source in sources)
    return Source(", ".join(source.name for source in sources), rows, sum(source.total for source in sources))


def _open(given: str | Path) -> list[Source]:
    path = Path(given)
    if path.is_dir():
        found = [file for file in sorted(path.rglob("*")) if _kind(file) and not _is_hidden(file.relative_to(path))]
        if not found:
            raise UserError(f"{path}: the folder holds no file of rows; expected {_EXPECTED}")
        return [_open_file(file) for file in found]
    if not path.exists() and is_on_hub(str(given)):
        return [_open_hub(str(given))]
    return [_open_file(path)]


def is_on_hub(name: str) -> bool:
    """Return whether a source's name is that of a data set on the hub: a file of rows has the suffix of its kind."""
    return not _kind(Path(name)) and bool(_HUB_NAME.fullmatch(name))


def _kind(path: Path) -> str:
    """Return the suffix that tells how a file is read, without that of its compression; "" if it is none of ours."""
    suffix = path.with_suffix("").suffix if path.suffix in _COMPRESSED else path.suffix
    return suffix if suffix in _JSON + _PARQUET else ""


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _open_file(path: Path) -> Source:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; check the path given to --input")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; expected source rows")
    kind = _kind(path)
    if not kind:
        raise UserError(f"{path}: cannot tell what kind of file this is; expected {_EXPECTED}")
    try:
        rows, total = (_read_parquet if kind in _PARQUET else _read_json)(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable {kind.lstrip('.')} file ({one_line(error)})") from None
    return Source(str(path), ((f"{path}, row {number}", row) for number, row in enumerate(rows)), total)


def _open_hub(name: str) -> Source:
    import datasets
    from huggingface_hub.utils import logging

    # The hub's client logs every attempt of its retries; the error below says it once.
    logging.set_verbosity_error()
    try:
        data = datasets.load_dataset(name, split="train")
    # Missing network, a proxy, a gate and a full cache raise different classes of three libraries.
    except Exception as error:
        raise UserError(_hub_problem(name, error)) from error
    return Source(name, ((f"{name}, row {number}", row) for number, row in enumerate(data)), len(data))


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


def _opened(path: Path) -> BinaryIO:
    if path.suffix in _COMPRESSED:
        return io.BufferedReader(pa.input_stream(str(path), compression="detect"))
    return open(path, "rb")


def _read_json(path: Path) -> tuple[Iterable[Any], int]:
    """Return the rows of a file and about how many there are.

    The content decides, not the name: one row a line, an array, an object around the rows, or rows one after another.
    """
    with _opened(path) as file:
        lines = (line for line in file if line.strip(_BLANK))
        if _are_rows(next(lines, b""), next(lines, b"")):
            return _read_lines(path), 2 + sum(1 for _ in lines)
    try:
        with _opened(path) as file:
            rows = _decode_text(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason}); convert the file to UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {_json_problem(error)}") from None
    return rows, len(rows)


def _read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    with _opened(path) as lines:
        yield from ((number, line.strip()) for number, line in enumerate(lines, 1) if line.strip(_BLANK))


def _are_rows(first: bytes, second: bytes) -> bool:
    """Return whether each line of a file is a row, judged by the first two, of which one may be broken."""
    row, other = map(_try, (first, second))
    starts = first.lstrip(_BLANK)[:1] == b"{"
    return bool(second) if isinstance(row, dict | list) else starts and isinstance(other, dict)


def _try(line: bytes) -> Any:
    with suppress(UserError):
        return _decode_line(1, line.strip())


def decode_row(row: Any) -> Any:
    """Return what a row of a source holds. Raises UserError for one that cannot be decoded."""
    if isinstance(row, UserError):
        raise row
    return _decode_line(*row) if isinstance(row, tuple) else row


def _decode_line(number: int, line: bytes) -> Any:
    try:
        # Not orjson, which rounds large integers and refuses half an emoji.
        return json.loads(line)
    except UnicodeDecodeError as error:
        raise UserError(f"line {number}: not UTF-8 text ({error.reason}); convert the file to UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UserError(_json_problem(error, number - 1)) from None


def _decode_text(text: str) -> list[Any]:
    values, position = [], _SEPARATOR.match(text).end()
    while position < len(text):
        value, position = _DECODER.raw_decode(text, position)
        values.append(value)
        position = _SEPARATOR.match(text, position).end()
    if len(values) != 1:
        return values
    [value] = values
    if isinstance(value, dict):
        return _unwrap(value)
    if not isinstance(value, list):
        raise ValueError(f"expected an array of rows, or one object a line, found {type(value).__name__}")
    return value


def _unwrap(value: dict[str, Any]) -> list[Any]:
    """Return the rows that an object wraps; the object itself if it is a row, or nobody knows."""
    lists = [inner for key in _ROWS_KEYS if isinstance(inner := value.get(key), list) and inner]
    # A row's own list holds its messages.
    if lists and all(isinstance(row, dict) and not _MESSAGE_KEYS & row.keys() for rows in lists for row in rows[:1]):
        return [row for rows in lists for row in rows]
    return [value]


def _json_problem(error: Exception, lines_before: int = 0) -> str:
    """Return what is wrong with a JSON text that starts after so many lines of its file."""
    if not isinstance(error, json.JSONDecodeError):
        return one_line(error) if isinstance(error, ValueError) else "not JSON: nested too deeply"
    place, rest = f"line {lines_before + error.lineno} column {error.colno}", error.doc[error.pos :].strip()
    if not rest or error.msg.startswith("Unterminated string"):
        return f"{place}: the JSON ends inside a value; is the file cut?"
    if rest.lstrip(", \r\n\t")[:1] in ("]", "}") and error.doc[: error.pos + 1].rstrip(" \r\n\t]}").endswith(","):
        return f"{place}: not JSON: a comma before a closing bracket; remove the comma"
    return f"{place}: not JSON: {error.msg}, found {shorten(one_line(rest), 40)}"


def _read_parquet(path: Path) -> tuple[Iterable[Any], int]:
    with _opened(path) as file:
        # A parquet file is read from its end: a compressed one has to be unpacked first.
        content = pa.BufferReader(file.read()) if path.suffix in _COMPRESSED else path
    with pq.ParquetFile(content) as file:
        total = file.metadata.num_rows
    return _decode_parquet(content), total


def _decode_parquet(content: Any) -> Iterator[Any]:
    try:
        with pq.ParquetFile(content) as file:
            for batch in file.iter_batches(_BATCH):
                yield from batch.to_pylist(maps_as_pydicts="strict")
    except (pa.ArrowException, OSError, KeyError) as error:
        yield UserError(f"damaged parquet file ({one_line(error)}); download it again")
