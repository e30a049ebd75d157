"""The row every parquet file for reinforcement learning is made of (verl's prompt format)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tooln1.prompt import format_calls, format_reply

ABILITY = "toolcall"

_EXTRA_INFO = {
    "split": pa.string(),
    "index": pa.int64(),
    "source_row": pa.int64(),
    "turn": pa.int64(),
    "num_tools": pa.int64(),
    "num_calls": pa.int64(),
}


def row_schema(extra_fields: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Return the Arrow schema of the rows; `extra_fields` are added to extra_info."""
    message = pa.struct({"role": pa.string(), "content": pa.string()})
    return pa.schema(
        {
            "data_source": pa.string(),
            "prompt": pa.list_(message),
            "ability": pa.string(),
            "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
            "extra_info": pa.struct({**_EXTRA_INFO, **(extra_fields or {})}),
        }
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
        calls: the reference calls, [{"name", "arguments"}, …].
        source_row: the position of the source's row in the input file.
        num_tools: how many tools the prompt lists.
        turn: the position of the target turn in the source's conversation.
        split, index: where the row ends up; `PreparedFiles.finish` sets both anew.
        extra: further fields of extra_info, to be declared to `row_schema`.

    Raises:
        ValueError: a value in the calls is not JSON.
    """
    calls = list(calls)
    return {
        "data_source": data_source,
        "prompt": [{"role": message["role"], "content": message["content"]} for message in messages],
        "ability": ABILITY,
        "reward_model": {"style": "rule", "ground_truth": format_calls(calls)},
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


def reference_earns_reward(row: Mapping[str, Any]) -> bool:
    """Whether the row's own reference, written as a reply, scores 1: a row for which it does not cannot be learned."""
    # Imported here because validating and reading files must not need the reward.
    from tooln1.reward_score.toolcall import compute_score

    ground_truth = row["reward_model"]["ground_truth"]
    reply = format_reply(json.loads(ground_truth), "x")
    return compute_score(row["data_source"], reply, ground_truth, row["extra_info"])["score"] == 1


def is_unicode(row: Mapping[str, Any]) -> bool:
    """Whether every text of the row can be written as UTF-8; half an emoji, as cut JSON escapes leave it, cannot."""
    texts = [row["reward_model"]["ground_truth"], *(message["content"] for message in row["prompt"])]
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        return False
    return True
