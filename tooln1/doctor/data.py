"""The parquet files of a run: schema, prompt lengths against the limit, and how many steps they make."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from tooln1.data.validate import validate_parquet
from tooln1.doctor.findings import Findings
from tooln1.errors import UserError
from tooln1.preflight import PromptLengths, hub_is_offline, measure_prompt_lengths

# A file of which verl drops more than this share was hardly meant for this limit.
_MANY_DROPPED = 0.05


@dataclass(frozen=True)
class DataFacts:
    """What the files came to; None where it could not be found out."""

    rows: int | None = None  # training rows that verl keeps
    mean_prompt: float | None = None  # in tokens, of the training rows


def check_data(findings: Findings, config: DictConfig, *, model: str | None) -> DataFacts:
    """Report on the files of data.train_files and data.val_files.

    Args:
        model: whose tokenizer counts the prompts; None if there is none to be had.
    """
    train = _check_files(findings, config, "data.train_files")
    val = _check_files(findings, config, "data.val_files")
    if not train or not val:
        return DataFacts()
    if model is None:
        findings.warn("data", "prompt lengths are not counted without a whole model, whose tokenizer decides")
        return DataFacts(rows=sum(train.values()))
    limit = config.data.max_prompt_length
    options = OmegaConf.to_container(OmegaConf.select(config, "data.apply_chat_template_kwargs") or DictConfig({}))
    try:
        lengths = measure_prompt_lengths(
            model, [*train, *val], max_prompt_length=limit, chat_template_kwargs=options, offline=hub_is_offline()
        )
    except UserError as error:
        findings.fault("data", str(error), here=True)
        return DataFacts(rows=sum(train.values()))
    for one in lengths:
        _report_lengths(findings, one, config)
    kept = lengths[: len(train)]
    rows = sum(one.kept for one in kept)
    _check_batch(findings, "data.train_files", rows, config.data.train_batch_size)
    if not sum(one.kept for one in lengths[len(train) :]):
        findings.fault("data", "data.val_files: no prompt is left to validate with; raise data.max_prompt_length")
    return DataFacts(rows, sum(one.mean * one.rows for one in kept) / max(sum(one.rows for one in kept), 1))


def check_conversations(findings: Findings, config: DictConfig) -> DataFacts:
    """Report on the files of supervised fine-tuning: that they are there, and have the column of messages."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, column = 0, config.data.messages_key
    for path in data_paths(config, "data.train_files") + data_paths(config, "data.val_files"):
        try:
            with pq.ParquetFile(path) as file:
                names, count = file.schema_arrow.names, file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            findings.fault("data", f"{path}: not a readable parquet file ({error}); check the path", here=True)
            return DataFacts()
        if column not in names:
            findings.fault(
                "data",
                f"{path}: column {column}: missing; expected data.messages_key={column}, found {', '.join(names)}; "
                f"write it with data_prep/sft.py",
                here=True,
            )
        elif str(path) in map(str, data_paths(config, "data.train_files")):
            rows += count
    if rows:
        _check_batch(findings, "data.train_files", rows, config.data.train_batch_size)
    return DataFacts(rows=rows or None)


def data_paths(config: DictConfig, key: str) -> list[Path]:
    """The files of data.train_files or data.val_files, which may be one or several."""
    value = None if OmegaConf.is_missing(config.data, key.split(".")[1]) else OmegaConf.select(config, key)
    values = value if isinstance(value, (list, ListConfig)) else [value]
    return [Path(str(one)).expanduser() for one in values if one]


def _check_files(findings: Findings, config: DictConfig, key: str) -> dict[Path, int]:
    """{path: rows} of the files of one setting; empty, and reported, unless all of them are right."""
    rows, paths = {}, data_paths(config, key)
    for path in paths:
        try:
            rows[path] = validate_parquet(path)
        except UserError as error:
            findings.fault("data", f"{key}: {error}", here=True)
    return rows if len(rows) == len(paths) else {}


def _check_batch(findings: Findings, key: str, rows: int, batch: int) -> None:
    if rows < batch:
        findings.fault(
            "data",
            f"{key}: {rows} rows that fit, fewer than the data.train_batch_size={batch} of one batch; "
            f"prepare more rows, lower it, or raise data.max_prompt_length",
            here=True,
        )


def _report_lengths(findings: Findings, lengths: PromptLengths, config: DictConfig) -> None:
    if len(lengths.refused) == lengths.rows:
        findings.fault(
            "data",
            f"{lengths.path}: the chat template refuses every prompt ({lengths.refusal}); take an instruction-tuned "
            f"model, whose template knows system, user, assistant and tool messages",
            here=True,
        )
        return
    shares = ", ".join(f"p{rank} {length}" for rank, length in lengths.percentiles.items())
    measured = f"prompt tokens {shares}, longest {lengths.longest} of {lengths.limit}"
    if not lengths.dropped:
        findings.ok("data", f"{lengths.path}: {lengths.rows} rows, {measured}")
    elif lengths.too_long and not config.data.get("filter_overlong_prompts") and config.data.truncation == "error":
        findings.fault(
            "data",
            f"{lengths.path}: {len(lengths.too_long)} of {lengths.rows} prompts too long ({measured}), and the first "
            f"would stop the run; set data.filter_overlong_prompts=true or raise data.max_prompt_length",
            here=True,
        )
    elif lengths.dropped > _MANY_DROPPED * lengths.rows:
        findings.warn("data", f"{lengths.note}; {measured}; raise data.max_prompt_length or shorten the prompts")
    else:
        findings.ok("data", f"{lengths.note}; {measured}")
