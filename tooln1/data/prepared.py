"""Reading prepared files back, for mixing, fine-tuning and distillation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from tooln1.data.counts import Counts
from tooln1.data.rows import ABILITY, STYLE
from tooln1.data.validate import noted_template, refuse_rows, row_problem
from tooln1.errors import UserError
from tooln1.files import one_line
from tooln1.prompt import TemplateError, fill_template, load_template, split_system

COLUMNS = ("data_source", "prompt", "reward_model", "extra_info")
# The data source under which broken rows are counted.
BROKEN = "broken"
BROKEN_REASONS = {"broken_row": "the row is not a prepared one (--on-error skip)"}

_BATCH = 1000
_PACKAGED = Path(__file__).parent.parent / "templates"


@dataclass(slots=True)
class PreparedRow:
    """A row of a prepared file, where it stands, and the template that its file notes."""

    row: dict[str, Any]
    place: str
    template: str | None


def read_prepared(inputs: Sequence[str | Path], skip_broken: bool, counts: Counts) -> list[PreparedRow]:
    """Return the rows of prepared files; a folder stands for its train.parquet and test.parquet.

    Args:
        skip_broken: count broken rows instead of refusing the files.

    Raises:
        UserError: a file is missing or is no file of prepared rows, or rows are broken, which are named together.
    """
    paths = [path for given in inputs for path in _files(Path(given))]
    numbers = [_check_file(path) for path in paths]
    rows, problems = [], []
    with tqdm(total=sum(numbers), unit="row", unit_scale=True, desc="reading", disable=None) as bar:
        for path in paths:
            template = template_of(path)
            for position, row in enumerate(_read_file(path)):
                bar.update(1)
                place = f"{path}, row {position}"
                problem = row_problem(row, template)
                if problem is None and row["prompt"][0]["role"] != "system":
                    problem = "prompt: expected a system message first"
                if problem is None:
                    row.update(ability=ABILITY, reward_model={**row["reward_model"], "style": STYLE})
                    rows.append(PreparedRow(row, place, template))
                elif skip_broken:
                    counts.drop(BROKEN, "broken_row", place, problem)
                else:
                    problems.append((place, problem))
    refuse_rows(problems, "fix or drop the row, or give --on-error skip")
    return rows


def _files(given: Path) -> list[Path]:
    if not given.is_dir():
        if not given.exists():
            raise UserError(f"{given}: no such file or folder; give what a script of data_prep/ has written")
        return [given]
    files = [path for path in (given / "train.parquet", given / "test.parquet") if path.exists()]
    if not files:
        raise UserError(f"{given}: holds neither train.parquet nor test.parquet; give a folder of prepared files")
    return files


@contextmanager
def _opened(path: str | Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({one_line(error)}); write it again") from None


def _check_file(path: Path) -> int:
    """Return the number of rows. Raises UserError if the file lacks columns of prepared rows."""
    with _opened(path) as file:
        schema = file.schema_arrow
        info = schema.field("extra_info").type if "extra_info" in schema.names else pa.null()
        has_source_row = pa.types.is_struct(info) and info.get_field_index("source_row") >= 0
        if not has_source_row or any(name not in schema.names for name in COLUMNS):
            raise UserError(
                f"{path}: not a file of prepared rows; expected the columns {', '.join(COLUMNS)} with "
                f"extra_info.source_row, found {', '.join(schema.names) or 'none'}"
            )
        return file.metadata.num_rows


def _read_file(path: Path) -> Iterator[dict[str, Any]]:
    with _opened(path) as file:
        for batch in file.iter_batches(_BATCH, columns=list(COLUMNS)):
            yield from batch.to_pylist()


def template_of(path: str | Path) -> str | None:
    """Return the text of the template that a file's prompts are written with, None if nothing tells.

    A file that notes none is judged by its first row, which may be written with any packaged template.

    Raises:
        UserError: the file cannot be read.
    """
    with _opened(path) as file:
        if noted := noted_template(file):
            return noted
        column = next((name for name in ("prompt", "messages") if name in file.schema_arrow.names), None)
        batch = next(file.iter_batches(1, columns=[column]), None) if column else None
    if batch:
        with suppress(ValueError, TypeError, KeyError, IndexError):
            return _take_apart(batch[column][0].as_py()[0]["content"], None)[2]
    return None


def take_apart(prepared: PreparedRow) -> tuple[str, list[dict[str, Any]], str]:
    """Return the context, the tools and the template's text that a row's system message consists of.

    Raises:
        UserError: the message was not written with the template that the file notes, or with no packaged one.
    """
    try:
        return _take_apart(prepared.row["prompt"][0]["content"], prepared.template)
    except ValueError:
        raise UserError(
            f"{prepared.place}: its tool list cannot be found; prepare the file again with a script of data_prep/"
        ) from None


def _take_apart(system: str, template: str | None) -> tuple[str, list[dict[str, Any]], str]:
    # A file that notes no template may use any packaged one.
    for text in (template,) if template else _packaged_templates():
        try:
            return *split_system(system, text), text
        except (ValueError, TemplateError):
            continue
    raise ValueError("written with none of the templates")


@cache
def _packaged_templates() -> list[str]:
    return [load_template(path) for path in sorted(_PACKAGED.glob("*.txt"), reverse=True)]


def with_template(prepared: PreparedRow, template: str | None) -> list[dict[str, str]]:
    """Return a row's prompt, its system message written with another template unless that is None.

    Raises:
        UserError: the system message cannot be taken apart.
    """
    system, *turns = prepared.row["prompt"]
    if template not in (None, prepared.template):
        context, tools, _ = take_apart(prepared)
        system = {"role": "system", "content": fill_template(tools, context, template)}
    return [system, *turns]
