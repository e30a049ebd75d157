"""The parquet files of a run: their rows, and their prompts against the limit."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tooln1.checks.findings import Finding, fault, ok, warning
from tooln1.checks.prompt_tokens import PromptTokens, count_prompt_tokens
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError

# Of a file that was meant for this limit, verl drops fewer rows.
_MANY_DROPPED = 0.05


def check_data_files(run: UpcomingRun) -> Iterator[Finding]:
    """Files that are missing or cannot be trained on, and too few rows for a batch."""
    counts: dict[str, list[int]] = {}
    for kind, files in (("train_files", run.settings.train_files), ("val_files", run.settings.val_files)):
        if f"data.{kind}" in run.missing:
            continue
        counts[kind] = []
        for path in files:
            try:
                counts[kind].append(_check_file(run, Path(path).expanduser()))
            except UserError as error:
                yield fault(f"data.{kind}: {error}")
        if len(counts[kind]) == len(files):
            setattr(run, kind, [str(Path(path).expanduser()) for path in files])
    if run.train_files:
        run.rows = sum(counts["train_files"])
        yield from _check_batch(run, "rows")


def _check_file(run: UpcomingRun, path: Path) -> int:
    """Return the number of rows. Raises UserError."""
    if not run.is_sft:
        return validate_parquet(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a parquet file that data_prep/sft.py wrote; check the path")
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
    if run.rows < run.prompts:
        yield fault(
            f"data.train_files: {run.rows} {what}, fewer than the data.train_batch_size={run.prompts} of one batch; "
            f"prepare more rows, lower it, or raise data.max_prompt_length"
        )


def check_prompt_tokens(run: UpcomingRun) -> Iterator[Finding]:
    """Prompts that are too long, counted with the model's own tokenizer and chat template."""
    if run.is_sft or not (run.train_files and run.val_files) or run.rows < run.prompts:
        return
    if run.whole_model is None:
        yield warning("prompts are not counted in tokens: that takes a whole model, with its tokenizer")
        return
    files = [*run.train_files, *run.val_files]
    counted = count_prompt_tokens(
        run.whole_model, files, limit=run.prompt_length, options=run.config.data.get("apply_chat_template_kwargs")
    )
    for one in counted:
        yield _describe(run, one)
    train, val = counted[: len(run.train_files)], counted[len(run.train_files) :]
    run.rows = sum(one.kept for one in train)
    run.mean_prompt = sum(one.mean * one.rows for one in train) / max(sum(one.rows for one in train), 1)
    yield from _check_batch(run, "rows that fit")
    if not sum(one.kept for one in val):
        yield fault("data.val_files: no prompt is left to validate with; raise data.max_prompt_length")


def _describe(run: UpcomingRun, counted: PromptTokens) -> Finding:
    if len(counted.refused) == counted.rows:
        return fault(
            f"{counted.path}: the chat template refuses every prompt ({counted.refusal}); take an instruction-tuned "
            f"model, whose template knows system, user, assistant and tool messages"
        )
    percentiles = ", ".join(f"p{rank} {length}" for rank, length in counted.percentiles.items())
    measured = f"prompt tokens {percentiles}, longest {counted.longest} of {counted.limit}"
    if not counted.dropped:
        return ok(f"{counted.path}: {counted.rows} rows, {measured}")
    if counted.too_long and not run.config.data.filter_overlong_prompts and run.config.data.truncation == "error":
        return fault(
            f"{counted.path}: {len(counted.too_long)} of {counted.rows} prompts too long ({measured}), and the first "
            f"would stop the run; set data.filter_overlong_prompts=true or raise data.max_prompt_length"
        )
    if counted.dropped > _MANY_DROPPED * counted.rows:
        return warning(f"{counted.note}; {measured}; raise data.max_prompt_length or shorten the prompts")
    return ok(f"{counted.note}; {measured}")
