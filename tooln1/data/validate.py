"""Checking a parquet file before a training run depends on it. Needs neither torch nor verl."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.errors import UserError
from tooln1.files import one_line, shorten
from tooln1.reward_score.toolcall import compute_score

# verl and the reward read these; "ability" and "extra_info" may be missing.
_COLUMNS = ("data_source", "prompt", "reward_model")
_ROLES = ("system", "user", "assistant", "tool")
_BATCH = 5000
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
            start = 0
            for batch in file.iter_batches(_BATCH, columns=list(_COLUMNS)):
                _check_batch(path, start, batch)
                start += len(batch)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({one_line(error)}); {_AGAIN}") from None
    return start


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


def _check_batch(path: Path, start: int, batch: pa.RecordBatch) -> None:
    sources = batch["data_source"].to_pylist()
    rewards = batch["reward_model"].to_pylist()
    for row, (source, prompt, reward) in enumerate(
        zip(sources, _messages(batch["prompt"]), rewards, strict=True), start
    ):
        for field, problem in (
            ("data_source", None if source else f"expected a name, found {source!r}"),
            ("prompt", prompt_problem(prompt)),
            ("reward_model.ground_truth", truth_problem(reward and reward["ground_truth"])),
        ):
            if problem:
                raise UserError(f"{path}, row {row}: {field}: {problem}; fix or drop the row, or {_AGAIN}")


def _messages(prompts: pa.ListArray) -> list[list[tuple[str | None, bool]] | None]:
    """Each prompt as (role, whether it has content) pairs; copying the contents would take most of the time."""
    flat = prompts.flatten()
    pairs = list(zip(flat.field("role").to_pylist(), flat.field("content").is_valid().to_pylist(), strict=True))
    present = flat.is_valid().to_pylist()
    pairs = [pair if here else (None, False) for pair, here in zip(pairs, present, strict=True)]
    result: list[list[tuple[str | None, bool]] | None] = []
    position = 0
    for length in prompts.value_lengths().to_pylist():
        result.append(None if length is None else pairs[position : position + length])
        position += length or 0
    return result


def prompt_problem(prompt: Sequence[tuple[str | None, bool]] | None) -> str | None:
    """Return what is wrong with a prompt, given as (role, whether it has content) pairs; None if nothing."""
    if not prompt:
        return "expected at least one message, found none"
    for number, (role, has_content) in enumerate(prompt):
        if role not in _ROLES or not has_content:
            return f"message {number}: expected a role of {', '.join(_ROLES)} with content, found role {role!r}"
    if prompt[-1][0] not in ("user", "tool"):
        return f"expected the last message from the user or a tool, found role {prompt[-1][0]!r}"
    return None


def truth_problem(ground_truth: str | None) -> str | None:
    """Return why the reward cannot read a ground truth, None if it can."""
    try:
        compute_score("", "", ground_truth)
    except ValueError as error:
        return f'expected a JSON list of {{"name", "arguments"}} objects ({one_line(error)})'
    return None
