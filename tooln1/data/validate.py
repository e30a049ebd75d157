"""Checking a parquet file before a training run depends on it. Needs neither torch nor verl."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.data.rows import TEMPLATE_KEY
from tooln1.errors import UserError
from tooln1.files import one_line, shorten
from tooln1.prompt import listed_tools
from tooln1.reward_score.toolcall import decode_calls, read_ground_truth

# verl and the reward read these; "ability" and "extra_info" may be missing.
_COLUMNS = ("data_source", "prompt", "reward_model")
_ROLES = ("system", "user", "assistant", "tool")
_BATCH = 1000
_SHOWN = 10
_AGAIN = "write it again with a script of data_prep/"


def validate_parquet(path: str | Path, conversations: str | None = None) -> int:
    """Check every row of a file that is to be trained on, and return the number of rows.

    Every row needs a data_source, a prompt of {"role", "content"} messages that ends with a user's or a tool's, and a
    reward_model.ground_truth that the reward can read, with calls to tools that the prompt lists.

    Args:
        conversations: the column of an SFT file, whose messages end with the assistant's.

    Raises:
        UserError: with one line for each bad row: the file, the row (counted from 0), the field, what was expected, and
            what to do. Of very many rows, the last line has the number.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a directory, not a parquet file" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {what}; check the path, or {_AGAIN}")
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty; {_AGAIN}")
    columns = [conversations] if conversations else list(_COLUMNS)
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, file.schema_arrow.names, columns)
            if file.metadata.num_rows == 0:
                raise UserError(f"{path}: the file has no rows; {_AGAIN} from more input")
            template = noted_template(file)
            find: Callable[[Any], str | None] = partial(row_problem, template=template)
            if conversations:
                find = partial(_conversation_problem, column=conversations)
            batches = file.iter_batches(_BATCH, columns=columns)
            rows = enumerate(row for batch in batches for row in batch.to_pylist())
            problems = [(f"{path}, row {number}", problem) for number, row in rows if (problem := find(row))]
            refuse_rows(problems, f"fix or drop the row, or {_AGAIN}")
            return file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({one_line(error)}); {_AGAIN}") from None


def validate_files(paths: Sequence[str | Path]) -> dict[str | Path, int]:
    """Return {file: number of rows}; a file with messages and no prompt is one for SFT.

    Raises:
        UserError: with the lines of every file that has a fault.
    """
    rows, messages = {}, []
    for path in paths:
        names = []
        with suppress(pa.ArrowException, OSError):
            names = pq.read_schema(path).names
        try:
            rows[path] = validate_parquet(path, "messages" if "messages" in names and "prompt" not in names else None)
        except UserError as error:
            messages += error.messages
    if messages:
        raise UserError(*messages)
    return rows


def refuse_rows(problems: Sequence[tuple[str, str]], hint: str) -> None:
    """Raise UserError with a line for each (place, problem), and one for those beyond the first ten."""
    if problems:
        lines = [f"{place}: {problem}; {hint}" for place, problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            lines.append(f"{problems[_SHOWN][0]} and on: {len(problems) - _SHOWN:,} more rows like these; {hint}")
        raise UserError(*lines)


def noted_template(file: pq.ParquetFile) -> str | None:
    """Return the text of the template that a prepared file notes for its prompts."""
    noted = (file.schema_arrow.metadata or {}).get(TEMPLATE_KEY)
    return noted and noted.decode()


def _check_columns(path: Path, names: Sequence[str], expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in names]
    if missing:
        raise UserError(
            f"{path}: column {', '.join(missing)}: missing; expected {', '.join(expected)}, "
            f"found {', '.join(names) or 'none'}; {_AGAIN}"
        )


def row_problem(row: Mapping[str, Any], template: str | None = None) -> str | None:
    """Return the field of a row that a model cannot be trained on, and what is wrong with it; None if nothing is.

    Args:
        template: the text of the template that the file notes.
    """
    source, reward, prompt = row["data_source"], row["reward_model"], row["prompt"]
    truth = reward.get("ground_truth") if isinstance(reward, Mapping) else None
    if not source or not isinstance(source, str):
        return f"data_source: expected a name, found {source!r}"
    if problem := _messages_problem(prompt, ("user", "tool")):
        return f"prompt: {problem}"
    field = "reward_model.ground_truth"
    try:
        calls = read_ground_truth(decode_calls, truth, None)
    except ValueError as error:
        return f'{field}: expected a JSON list of {{"name", "arguments"}} objects ({one_line(error)})'
    return _unlisted_problem(field, {call["name"] for call in calls}, prompt[0], template)


def _unlisted_problem(field: str, names: set[str], first: Mapping[str, str], template: str | None) -> str | None:
    # Reading the whole list would take as long as everything else.
    if first["role"] != "system" or all(f'\n{{"name": {json.dumps(name)}, ' in first["content"] for name in names):
        return None
    tools = listed_tools(first["content"], template)
    if tools is None or names <= tools:
        return None
    listed = shorten(", ".join(sorted(tools)) or "none", 100)
    unknown = ", ".join(sorted(names - tools))
    return f"{field}: calls {unknown}; expected tools that the prompt lists, which are {listed}"


def _conversation_problem(row: Mapping[str, Any], column: str) -> str | None:
    problem = _messages_problem(row[column], ("assistant",))
    return problem and f"{column}: {problem}"


def _messages_problem(messages: Any, last: Sequence[str]) -> str | None:
    if not isinstance(messages, list) or not messages:
        return f'expected a list of {{"role", "content"}} messages, found {shorten(repr(messages), 80)}'
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in _ROLES or not isinstance(message.get("content"), str):
            expected = f"expected a role of {', '.join(_ROLES)} with content as text"
            return f"message {number}: {expected}, found {shorten(repr(message), 80)}"
    if messages[-1]["role"] not in last:
        return f"expected the last message from {' or '.join(last)}, found role {messages[-1]['role']!r}"
    return None
