"""The row every parquet file for reinforcement learning is made of (verl's prompt format)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tooln1.prompt import format_calls, load_template

ABILITY = "toolcall"
STYLE = "rule"
# Where a prepared file says which template its prompts were written with: taking them apart needs it.
TEMPLATE_KEY = b"tooln1.template"

_MESSAGE = pa.struct({"role": pa.string(), "content": pa.string()})

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
    return pa.schema(
        {
            "data_source": pa.string(),
            "prompt": pa.list_(_MESSAGE),
            "ability": pa.string(),
            "reward_model": pa.struct({"style": pa.string(), "ground_truth": pa.string()}),
            "extra_info": pa.struct({**_EXTRA_INFO, **(extra_fields or {})}),
        }
    )


def with_template(schema: pa.Schema, template: str | None) -> pa.Schema:
    """Return the schema with the template's text noted in it; None is the thinking template."""
    return schema.with_metadata({TEMPLATE_KEY: (load_template() if template is None else template).encode()})


def messages_array(prompts: Iterable[Sequence[Mapping[str, str]]]) -> pa.ListArray:
    """Return lists of {"role", "content"} messages as an Arrow column.

    Raises:
        UnicodeEncodeError: a text holds half a character.
    """
    roles: list[str] = []
    contents: list[str] = []
    offsets = [0]
    for messages in prompts:
        for message in messages:
            roles.append(message["role"])
            contents.append(message["content"])
        offsets.append(len(roles))
    flat = pa.StructArray.from_arrays(
        [pa.array(roles, pa.string()), pa.array(contents, pa.string())], fields=list(_MESSAGE)
    )
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def structs_array(values: Sequence[Mapping[str, Any]], kind: pa.StructType) -> pa.StructArray:
    """Return objects as an Arrow column; each must have every field."""
    fields = list(kind)
    columns = [pa.array([value[field.name] for value in values], field.type) for field in fields]
    return pa.StructArray.from_arrays(columns, fields=fields)


def rows_batch(
    rows: Sequence[Mapping[str, Any]], extra_fields: Mapping[str, pa.DataType] | None = None
) -> pa.RecordBatch:
    """Return rows of `make_row` as an Arrow batch: what RecordBatch.from_pylist does, in half the time."""
    schema = row_schema(extra_fields)
    count = len(rows)
    truths = pa.array([row["reward_model"]["ground_truth"] for row in rows], pa.string())
    columns = [
        pa.array([row["data_source"] for row in rows], pa.string()),
        messages_array(row["prompt"] for row in rows),
        pa.array([ABILITY] * count, pa.string()),
        pa.StructArray.from_arrays(
            [pa.array([STYLE] * count, pa.string()), truths], fields=list(schema.field("reward_model").type)
        ),
        structs_array([row["extra_info"] for row in rows], schema.field("extra_info").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


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


def reference_earns_reward(row: Mapping[str, Any]) -> bool:
    """Whether the row's own reference, written as a reply, scores 1: a row for which it does not cannot be learned."""
    # Imported here because validating and reading files must not need the reward.
    from tooln1.reward_score.toolcall import compute_score

    ground_truth = row["reward_model"]["ground_truth"]
    reply = f"<think>x</think>\n<tool_call>{ground_truth}</tool_call>"
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


def why_not_row(row: Mapping[str, Any]) -> str | None:
    """Return the reason not to write a row, None if it can be trained on."""
    if not is_unicode(row):
        return "bad_unicode"
    return None if reference_earns_reward(row) else "reference_not_rewarded"
