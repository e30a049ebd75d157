"""Checking a parquet file before a training run depends on it. Needs neither torch nor verl."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.errors import UserError
from tooln1.files import one_line, shorten
from tooln1.reward_score.toolcall import compute_score

# verl and the reward read these; "ability" and "extra_info" may be missing.
_COLUMNS = ("data_source", "prompt", "reward_model")
_ROLES = ("system", "user", "assistant", "tool")
_BATCH = 1000
_AGAIN = "write it again with a script of data_prep/"


def validate_parquet(path: str | Path) -> int:
    """Check that a file can be trained on, and return its number of rows.

    Every row needs a data_source, a prompt of {"role", "content"} messages that ends with a user's or a tool's, and a
    reward_model.ground_truth that the reward can read: JSON text of [{"name", "arguments"}, …].

    Raises:
        UserError: naming the file, the row (counted from 0), the field, what was expected, and what to do.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a directory, not a parquet file" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; check the path, or {_AGAIN}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; {_AGAIN}")
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow)
            if file.metadata.num_rows == 0:
                raise UserError(f"{path}: the file has no rows; {_AGAIN} from more input")
            batches = file.iter_batches(_BATCH, columns=list(_COLUMNS))
            for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
                if problem := row_problem(row):
                    raise UserError(f"{path}, row {number}: {problem}; fix or drop the row, or {_AGAIN}")
            return file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({one_line(error)}); {_AGAIN}") from None


def _check_columns(path: Path, schema: pa.Schema) -> None:
    missing = [name for name in _COLUMNS if name not in schema.names]
    if missing:
        raise UserError(
            f"{path}: column {', '.join(missing)}: missing; expected {', '.join(_COLUMNS)}, "
            f"found {', '.join(schema.names) or 'none'}; {_AGAIN}"
        )
    _check_text(path, "data_source", schema.field("data_source").type)
    reward = schema.field("reward_model").type
    if not pa.types.is_struct(reward) or reward.get_field_index("ground_truth") < 0:
        raise _wrong_type(path, "reward_model", 'an object with "ground_truth"', reward)
    _check_text(path, "reward_model.ground_truth", reward.field("ground_truth").type)
    prompt = schema.field("prompt").type
    message = prompt.value_type if pa.types.is_list(prompt) or pa.types.is_large_list(prompt) else None
    if message is None or not pa.types.is_struct(message) or not {"role", "content"} <= {f.name for f in message}:
        raise _wrong_type(path, "prompt", 'a list of {"role", "content"} messages', prompt)
    for name in ("role", "content"):
        _check_text(path, f"prompt.{name}", message.field(name).type)


def _check_text(path: Path, field: str, kind: pa.DataType) -> None:
    if not pa.types.is_string(kind) and not pa.types.is_large_string(kind):
        raise _wrong_type(path, field, "text", kind)


def _wrong_type(path: Path, field: str, expected: str, kind: pa.DataType) -> UserError:
    return UserError(f"{path}: column {field}: expected {expected}, found {shorten(str(kind), 120)}; {_AGAIN}")


def row_problem(row: Mapping[str, Any]) -> str | None:
    """Return the field of a row that a model cannot be trained on, and what is wrong with it; None if nothing is."""
    if not row["data_source"]:
        return f"data_source: expected a name, found {row['data_source']!r}"
    if problem := _prompt_problem(row["prompt"]):
        return f"prompt: {problem}"
    try:
        compute_score(row["data_source"], "", (row["reward_model"] or {}).get("ground_truth"))
    except ValueError as error:
        return f'reward_model.ground_truth: expected a JSON list of {{"name", "arguments"}} objects ({one_line(error)})'
    return None


def _prompt_problem(prompt: Sequence[Mapping[str, str | None] | None] | None) -> str | None:
    if not prompt:
        return "expected at least one message, found none"
    for number, message in enumerate(prompt):
        if message is None or message["role"] not in _ROLES or message["content"] is None:
            role = message and message["role"]
            return f"message {number}: expected a role of {', '.join(_ROLES)} with content, found role {role!r}"
    if prompt[-1]["role"] not in ("user", "tool"):
        return f"expected the last message from the user or a tool, found role {prompt[-1]['role']!r}"
    return None
