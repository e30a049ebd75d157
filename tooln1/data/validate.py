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
            _check_columns(path, file.schema_arrow.names)
            if file.metadata.num_rows == 0:
                raise UserError(f"{path}: the file has no rows; {_AGAIN} from more input")
            batches = file.iter_batches(_BATCH, columns=list(_COLUMNS))
            for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
                if problem := row_problem(row):
                    raise UserError(f"{path}, row {number}: {problem}; fix or drop the row, or {_AGAIN}")
            return file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({one_line(error)}); {_AGAIN}") from None


def _check_columns(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in _COLUMNS if name not in names]
    if missing:
        raise UserError(
            f"{path}: column {', '.join(missing)}: missing; expected {', '.join(_COLUMNS)}, "
            f"found {', '.join(names) or 'none'}; {_AGAIN}"
        )


def row_problem(row: Mapping[str, Any]) -> str | None:
    """Return the field of a row that a model cannot be trained on, and what is wrong with it; None if nothing is."""
    source, reward = row["data_source"], row["reward_model"]
    if not source or not isinstance(source, str):
        return f"data_source: expected a name, found {source!r}"
    if problem := _prompt_problem(row["prompt"]):
        return f"prompt: {problem}"
    try:
        compute_score(source, "", reward.get("ground_truth") if isinstance(reward, Mapping) else None)
    except ValueError as error:
        return f'reward_model.ground_truth: expected a JSON list of {{"name", "arguments"}} objects ({one_line(error)})'
    return None


def _prompt_problem(prompt: Any) -> str | None:
    if not isinstance(prompt, list) or not prompt:
        return f'expected a list of {{"role", "content"}} messages, found {shorten(repr(prompt), 80)}'
    for number, message in enumerate(prompt):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in _ROLES or not isinstance(message.get("content"), str):
            expected = f"expected a role of {', '.join(_ROLES)} with content as text"
            return f"message {number}: {expected}, found {shorten(repr(message), 80)}"
    if prompt[-1]["role"] not in ("user", "tool"):
        return f"expected the last message from the user or a tool, found role {prompt[-1]['role']!r}"
    return None
