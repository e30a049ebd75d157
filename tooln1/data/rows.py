"""The row that every parquet file for reinforcement learning is made of (verl's prompt format)."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from tooln1.files import atomic_path
from tooln1.prompt import format_calls
from tooln1.reward_score.toolcall import compute_score

ABILITY = "toolcall"
STYLE = "rule"
# Under this key a prepared file holds the template of its prompts: taking a prompt apart needs it.
TEMPLATE_KEY = b"tooln1.template"

_ROW_GROUP = 10_000

MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
_EXTRA_INFO = {
    "split": pa.string(),
    "index": pa.int64(),
    "source_row": pa.int64(),
    "turn": pa.int64(),
    "num_tools": pa.int64(),
    "num_calls": pa.int64(),
}


def row_schema(extra_fields: Mapping[str, pa.DataType] | None = None, template: str | None = None) -> pa.Schema:
    """Return the Arrow schema of the rows.

    Args:
        extra_fields: further fields of extra_info.
        template: the text of the template that the prompts are written with, to be noted in the file.
    """
    return pa.schema(
        {
            "data_source": pa.string(),
            "prompt": MESSAGES,
            "ability": pa.string(),
            "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
            "extra_info": pa.struct({**_EXTRA_INFO, **(extra_fields or {})}),
        },
        metadata=None if template is None else {TEMPLATE_KEY: template.encode()},
    )


def make_row(
    *,
    data_source: str,
    messages: Sequence[Mapping[str, str]],
    calls: Iterable[Mapping[str, Any]],
    source_row: int,
    num_tools: int,
    turn: int = 0,
    split: str = "train",
    index: int = 0,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one row.

    Args:
        data_source: for instance "toolcall/xlam"; verl reports validation figures by it.
        messages: the prompt, as `tooln1.prompt.build_messages` returns it.
        calls: the ground truth, [{"name", "arguments"}, …].
        source_row: the position of the source's row in the input file.
        num_tools: how many tools the prompt lists.
        turn: the position of the target turn in the source's conversation.
        split, index: where the row ends up; `tooln1.data.script.write_data_set` sets both.
        extra: further fields of extra_info, declared to `row_schema`.

    Raises:
        ValueError: a value in the calls is not JSON.
    """
    calls = list(calls)
    return {
        "data_source": data_source,
        "prompt": list(messages),
        "ability": ABILITY,
        "reward_model": {"style": STYLE, "ground_truth": format_calls(calls)},
        "extra_info": {
            "split": split,
            "index": index,
            "source_row": source_row,
            "turn": turn,
            "num_tools": num_tools,
            "num_calls": len(calls),
            **(extra or {}),
        },
    }


def write_parquet(
    path: str | Path, rows: Iterable[Mapping[str, Any]], extra_fields: Mapping[str, pa.DataType] | None = None
) -> int:
    """Write rows of `make_row`, atomically, and return how many there were. Raises UserError."""
    rows = list(rows)
    with atomic_path(path) as temporary:
        write_table(temporary, rows, row_schema(extra_fields))
    return len(rows)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Write rows to a parquet file as they are."""
    # A dictionary of prompts would grow to its limit and be thrown away; zstd finds their repetitions.
    with pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=["data_source", "ability"]) as writer:
        for start in tqdm(range(0, len(rows), _ROW_GROUP), desc="writing", unit="group", leave=False, disable=None):
            writer.write_table(pa.Table.from_pylist(rows[start : start + _ROW_GROUP], schema))


def calls_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the ground truth calls of a row."""
    return json.loads(row["reward_model"]["ground_truth"])


def digest(messages: Sequence[Mapping[str, str]]) -> bytes:
    """Return 128 bits that two prompts share only if they are equal."""
    content = hashlib.blake2b(digest_size=16)
    for message in messages:
        # The length separates the messages: a text may look like the end of one.
        text = message["content"].encode()
        content.update(f"{message['role']} {len(text)} ".encode())
        content.update(text)
    return content.digest()


def conversation_key(prompt: Sequence[Mapping[str, str]]) -> int:
    """Return a number that rows of one conversation share: they have the messages up to the first request in common."""
    first = next((n for n, message in enumerate(prompt) if message["role"] == "user"), len(prompt) - 1)
    return int.from_bytes(digest(prompt[: first + 1])[:8], "little")


def earns_reward(row: Mapping[str, Any], response: str) -> bool:
    """Return whether a response to the row's prompt scores 1."""
    truth = row["reward_model"]["ground_truth"]
    return compute_score(row["data_source"], response, truth, row["extra_info"])["score"] == 1


def ground_truth_earns_reward(row: Mapping[str, Any]) -> bool:
    """Return whether the row's ground truth, written as a response, scores 1; otherwise no model can learn the row."""
    return earns_reward(row, f"<think>x</think>\n<tool_call>{row['reward_model']['ground_truth']}</tool_call>")


def why_not_row(row: Mapping[str, Any]) -> str | None:
    """Return the reason to drop a row, None if a model can be trained on it."""
    try:
        for text in (row["reward_model"]["ground_truth"], *(message["content"] for message in row["prompt"])):
            text.encode()
    except UnicodeEncodeError:  # half an emoji, as cut JSON escapes leave it
        return "bad_unicode"
    return None if ground_truth_earns_reward(row) else "ground_truth_not_rewarded"
