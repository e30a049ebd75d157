"""Reading prepared files back: rows of train.parquet and test.parquet for mixing, fine-tuning and distillation."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.data.rows import TEMPLATE_KEY
from tooln1.data.validate import prompt_problem, truth_problem
from tooln1.errors import UserError
from tooln1.prompt import TemplateError, load_template, split_system

COLUMNS = ("data_source", "prompt", "reward_model", "extra_info")
_BATCH = 250
_PACKAGED = Path(__file__).parent.parent / "templates"


@dataclass(frozen=True)
class Unit:
    """A row group of a prepared file, the piece that a worker reads; `first` is the position of its first row."""

    path: str
    group: int
    first: int
    rows: int
    template: str | None


def open_prepared(inputs: Sequence[str | Path]) -> list[Unit]:
    """Return the row groups of prepared files; a folder stands for its train.parquet and test.parquet.

    Raises:
        UserError: a file is missing, is no parquet file, or has not the columns of prepared rows.
    """
    units: list[Unit] = []
    for path in (file for given in inputs for file in _files(Path(given))):
        try:
            with pq.ParquetFile(path) as file:
                units += _units(path, file)
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path}: not a readable parquet file ({error})") from None
    return units


def read_unit(unit: Unit) -> Iterator[tuple[int, dict[str, Any] | UserError]]:
    """Yield each row with its position in the file, or what is wrong with it.

    Raises:
        UserError: the file is damaged.
    """
    position = unit.first
    try:
        with pq.ParquetFile(unit.path) as file:
            for batch in file.iter_batches(_BATCH, row_groups=[unit.group], columns=list(COLUMNS)):
                for row in batch.to_pylist():
                    problem = _problem(row)
                    yield position, UserError(f"row {position}: {problem}") if problem else row
                    position += 1
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{unit.path}: damaged at row {position} or behind ({error}); write it again") from None


def take_apart(system: str, template: str | None) -> tuple[str, list[dict[str, Any]], str]:
    """Return the context, the tools and the template's text that a prepared row's system message was made of.

    `template` is the one that the row's file notes; a file without a note may be of any packaged template.

    Raises:
        UserError: it was written with none of them.
    """
    for text in (template,) if template else _packaged_templates():
        try:
            return *split_system(system, text), text
        except (ValueError, TemplateError):
            continue
    raise UserError("its tool list cannot be found; prepare the file again with a script of data_prep/")


@contextmanager
def naming(unit: Unit, position: int) -> Iterator[None]:
    """Put the file and the row in front of what is wrong with it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{unit.path}: row {position}: {error}") from None


def _files(given: Path) -> list[Path]:
    if not given.is_dir():
        if not given.exists():
            raise UserError(f"{given}: no such file or folder; give what a script of data_prep/ has written")
        return [given]
    files = [path for path in (given / "train.parquet", given / "test.parquet") if path.exists()]
    if not files:
        raise UserError(f"{given}: holds neither train.parquet nor test.parquet; give a folder of prepared files")
    return files


def _units(path: Path, file: pq.ParquetFile) -> Iterator[Unit]:
    schema = file.schema_arrow
    missing = [name for name in COLUMNS if name not in schema.names]
    info = None if missing else schema.field("extra_info").type
    if missing or not pa.types.is_struct(info) or info.get_field_index("source_row") < 0:
        raise UserError(
            f"{path}: not a file of prepared rows; expected the columns {', '.join(COLUMNS)} with "
            f"extra_info.source_row, found {', '.join(schema.names) or 'none'}"
        )
    template = _template_of(file)
    first = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        yield Unit(str(path), group, first, rows, template)
        first += rows


def template_of(path: str | Path) -> str | None:
    """Return the text of the template that a file's prompts were written with, None if nothing tells.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            column = next((name for name in ("prompt", "messages") if name in file.schema_arrow.names), None)
            return _template_of(file, column) if column else None
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({error})") from None


def _template_of(file: pq.ParquetFile, column: str = "prompt") -> str | None:
    noted = (file.schema_arrow.metadata or {}).get(TEMPLATE_KEY)
    return noted.decode() if noted else _packaged_template_of(file, column)


def _packaged_template_of(file: pq.ParquetFile, column: str) -> str | None:
    """Return which packaged template a file without a note was written with, judged by its first row."""
    for batch in file.iter_batches(1, columns=[column]):
        for prompt in batch[column].to_pylist():
            with suppress(UserError, TypeError, KeyError, IndexError):
                return take_apart(prompt[0]["content"], None)[2]
        break
    return None


def _problem(row: dict[str, Any]) -> str | None:
    prompt = row["prompt"]
    pairs = prompt and [((m or {}).get("role"), (m or {}).get("content") is not None) for m in prompt]
    found = prompt_problem(pairs) or truth_problem((row["reward_model"] or {}).get("ground_truth"))
    if found is None and prompt[0]["role"] != "system":
        found = "expected a system message first"
    return found if found or row["data_source"] else "data_source is missing"


def calls_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a prepared row's reference calls."""
    return json.loads(row["reward_model"]["ground_truth"])


@cache
def _packaged_templates() -> list[str]:
    return [load_template(path) for path in sorted(_PACKAGED.glob("*.txt"), reverse=True)]


def each_row(unit: Unit, skip_broken: bool, broken: Callable[[UserError], Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the good rows of a unit; a broken one goes to `broken`, or ends everything unless `skip_broken`.

    Raises:
        UserError: naming the file and the row.
    """
    for position, row in read_unit(unit):
        if isinstance(row, UserError):
            if not skip_broken:
                raise UserError(f"{unit.path}: {row}")
            broken(row)
        else:
            yield position, row
