"""The parquet files of a run: their rows, and their prompts against the limit."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.checks.findings import Finding, fact, fault, warning
from tooln1.checks.prompt_tokens import PromptTokens, count_prompt_tokens
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError

# A file that was meant for this limit loses fewer rows.
_MANY_DROPPED = 0.05
_ROWS_SHOWN = 5


def check_data_files(run: UpcomingRun) -> Iterator[Finding]:
    """Files that are missing or cannot be trained on, and too few rows for a batch."""
    run.rows = yield from _count_rows(run, "data.train_files", run.train_files)
    run.val_rows = yield from _count_rows(run, "data.val_files", run.val_files)
    yield from _check_batch(run, "rows")


def _count_rows(run: UpcomingRun, key: str, files: Sequence[str]) -> Generator[Finding, None, int | None]:
    """Yield the faults of some files and return how many rows they have, None with a fault or without a file."""
    counts = []
    for path in files:
        try:
            counts.append(_check_file(run, Path(path)))
        except UserError as error:
            yield fault(f"{key}: {error}")
    return sum(counts) if files and len(counts) == len(files) else None


def _check_file(run: UpcomingRun, path: Path) -> int:
    """Return the number of rows. Raises UserError."""
    if not run.is_sft:
        return validate_parquet(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a parquet file of data_prep/sft.py; check the path")
    try:
        with pq.ParquetFile(path) as file:
            names, rows = file.schema_arrow.names, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({error}); write it again") from None
    column = run.config.data.messages_key
    if column not in names:
        raise UserError(
            f"{path}: column {column}: missing; expected data.messages_key={column}, found {', '.join(names)}; write "
            f"the file with data_prep/sft.py"
        )
    return rows


def _check_batch(run: UpcomingRun, what: str) -> Iterator[Finding]:
    if run.rows is not None and run.rows < run.prompts:
        yield fault(
            f"data.train_files: {run.rows} {what}, fewer than the data.train_batch_size={run.prompts} of one batch; "
            f"prepare more rows, lower it, or raise data.max_prompt_length"
        )


def check_prompt_tokens(run: UpcomingRun) -> Iterator[Finding]:
    """Prompts that are too long, counted with the model's own tokenizer and chat template."""
    if run.is_sft or run.rows is None or run.val_rows is None or run.rows < run.prompts:
        return
    if run.whole_model is None:
        yield warning("prompts are not counted in tokens: that takes a whole model, with its tokenizer")
        return
    files = [*run.train_files, *run.val_files]
    counted = count_prompt_tokens(run.whole_model, files, run.config.data.get("apply_chat_template_kwargs"))
    for path, one in zip(files, counted, strict=True):
        yield _describe(run, path, one)
    kept = [[length for length in one.lengths if length and length <= run.prompt_length] for one in counted]
    train, val = sum(kept[: len(run.train_files)], []), sum(kept[len(run.train_files) :], [])
    run.rows, run.mean_prompt = len(train), float(np.mean(train or [0]))
    yield from _check_batch(run, "rows that fit")
    if not val:
        yield fault("data.val_files: no prompt is left to validate with; raise data.max_prompt_length")


def _describe(run: UpcomingRun, path: str, counted: PromptTokens) -> Finding:
    limit, rows = run.prompt_length, len(counted.lengths)
    lengths = {row: length for row, length in enumerate(counted.lengths) if length is not None}
    if not lengths:
        return fault(
            f"{path}: the chat template refuses every prompt ({counted.refusal}); take an instruction-tuned model, "
            f"whose template knows system, user, assistant and tool messages"
        )
    too_long = [row for row, length in lengths.items() if length > limit]
    refused = [row for row in range(rows) if row not in lengths]
    values = list(lengths.values())
    ranks = [f"p{rank} {np.percentile(values, rank, method='inverted_cdf'):g}" for rank in (50, 95, 99)]
    measured = f"prompt tokens {', '.join(ranks)}, longest {max(values)} of {limit}"
    if not too_long and not refused:
        return fact(f"{path}: {rows} rows, {measured}")
    if too_long and not run.config.data.filter_overlong_prompts and run.config.data.truncation == "error":
        return fault(
            f"{path}: {len(too_long)} of {rows} prompts too long ({measured}), and the first would stop the run; set "
            f"data.filter_overlong_prompts=true or raise data.max_prompt_length"
        )
    reasons = {f"longer than {limit} tokens": too_long, f"refused by the chat template ({counted.refusal})": refused}
    dropped = [f"{len(which)} {reason}, {_some(which)}" for reason, which in reasons.items() if which]
    note = f"{path}: verl drops {len(too_long) + len(refused)} of {rows} prompts: {'; '.join(dropped)}; {measured}"
    if len(too_long) + len(refused) > _MANY_DROPPED * rows:
        return warning(f"{note}; raise data.max_prompt_length or shorten the prompts")
    return fact(note)


def _some(rows: Sequence[int]) -> str:
    shown = ", ".join(map(str, rows[:_ROWS_SHOWN]))
    return f"row{'s' if len(rows) > 1 else ''} {shown}{', …' if len(rows) > _ROWS_SHOWN else ''}"
