"""Checking a parquet file before a training run depends on it. Needs neither torch nor verl."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.errors import UserError

# verl and the reward read these; "ability" and "extra_info" may be missing.
_COLUMNS = ("data_source", "prompt", "reward_model")
_ROLES = {"system", "user", "assistant", "tool"}
_BATCH = 5000
_AGAIN = "write it again with a script of data_prep/"


def validate_parquet(path: str | Path) -> int:
    """Check that a file can be trained on, and return its number of rows.

    Every row needs a data_source, a prompt of {"role", "content"} messages that ends with a user's or a tool's, and a
    reward_model.ground_truth that is JSON text of [{"name", "arguments"}, …].

    Raises:
        UserError: naming the file, the row (counted from 0), the field, what was expected and how to mend it.
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
            start = 0
            for batch in file.iter_batches(_BATCH, columns=list(_COLUMNS)):
                _check_batch(path, start, batch)
                start += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({error}); {_AGAIN}") from None
    return start


def _check_columns(path: Path, schema: pa.Schema) -> None:
    missing = [name for name in _COLUMNS if name not in schema.names]
    if missing:
        raise UserError(
            f"{path}: column {', '.join(missing)}: missing; expected {', '.join(_COLUMNS)}, "
            f"found {', '.join(schema.names) or 'none'}; {_AGAIN}"
        )
    _check_type(path, "data_source", schema.field("data_source").type, "text", _is_text)
    reward = schema.field("reward_model").type
    if not pa.types.is_struct(reward) or reward.get_field_index("ground_truth") < 0:
        raise _wrong_type(path, "reward_model", 'an object with "ground_truth"', reward)
    _check_type(path, "reward_model.ground_truth", reward.field("ground_truth").type, "JSON text", _is_text)
    prompt = schema.field("prompt").type
    message = prompt.value_type if pa.types.is_list(prompt) or pa.types.is_large_list(prompt) else None
    if message is None or not pa.types.is_struct(message) or not {"role", "content"} <= {f.name for f in message}:
        raise _wrong_type(path, "prompt", 'a list of {"role", "content"} messages', prompt)
    for name in ("role", "content"):
        _check_type(path, f"prompt.{name}", message.field(name).type, "text", _is_text)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _check_type(path: Path, field: str, kind: pa.DataType, expected: str, accepted: Any) -> None:
    if not accepted(kind):
        raise _wrong_type(path, field, expected, kind)


def _wrong_type(path: Path, field: str, expected: str, kind: pa.DataType) -> UserError:
    return UserError(f"{path}: column {field}: expected {expected}, found {str(kind)[:120]}; {_AGAIN}")


def _check_batch(path: Path, start: int, batch: pa.RecordBatch) -> None:
    sources = batch["data_source"].to_pylist()
    truths = batch["reward_model"].field("ground_truth").to_pylist()
    rewards = batch["reward_model"].is_valid().to_pylist()
    for offset, (source, prompt) in enumerate(zip(sources, _messages(batch["prompt"]), strict=True)):
        truth = truths[offset] if rewards[offset] else None
        for field, problem in (
            ("data_source", None if source else f"expected a name, found {source!r}"),
            ("prompt", prompt_problem(prompt)),
            ("reward_model.ground_truth", truth_problem(truth)),
        ):
            if problem:
                raise UserError(f"{path}: row {start + offset}: {field}: {problem}; mend or drop the row, or {_AGAIN}")


def _messages(prompts: Any) -> list[list[tuple[str | None, bool]] | None]:
    """Each prompt as (role, whether it has content) pairs; copying the contents would take most of the time."""
    flat = prompts.flatten()
    roles = flat.field("role").to_pylist()
    contents = flat.field("content").is_valid().to_pylist()
    present = flat.is_valid().to_pylist()
    pairs = [(role if here else None, has) for role, has, here in zip(roles, contents, present, strict=True)]
    result: list[list[tuple[str | None, bool]] | None] = []
    position = 0
    for length in prompts.value_lengths().to_pylist():
        result.append(None if length is None else pairs[position : position + length])
        position += length or 0
    return result


def prompt_problem(prompt: list[tuple[str | None, bool]] | None) -> str | None:
    if not prompt:
        return "expected at least one message, found none"
    for number, (role, has_content) in enumerate(prompt):
        if role not in _ROLES or not has_content:
            return f"message {number}: expected a role of {', '.join(sorted(_ROLES))} with content, found role {role!r}"
    if prompt[-1][0] not in ("user", "tool"):
        return f"expected the last message from the user or a tool, found role {prompt[-1][0]!r}"
    return None


def truth_problem(text: str | None) -> str | None:
    try:
        calls = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        calls = None
    if isinstance(calls, list) and all(_is_call(call) for call in calls):
        return None
    shown = repr(text) if text is None or len(text) <= 80 else repr(text[:77]) + "..."
    return f'expected a JSON list of {{"name", "arguments"}} objects, found {shown}'


def _is_call(call: Any) -> bool:
    return (
        isinstance(call, dict)
        and call.keys() == {"name", "arguments"}
        and isinstance(call["name"], str)
        and isinstance(call["arguments"], dict)
    )
