"""Prepared rows as conversations for verl's SFT trainer: the prompt, and the response to learn as its last message.

The response is the ground truth calls alone, or one with reasoning: a response of another model that earns the reward.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from tooln1.data.counts import Counts, format_report
from tooln1.data.prepared import BROKEN_REASONS, PreparedRow, with_template
from tooln1.data.rows import MESSAGES, calls_of, conversation_key, digest, earns_reward, row_schema
from tooln1.data.script import choose_test, load_tokenizer, map_items, split_rows, write_data_set
from tooln1.errors import UserError
from tooln1.files import read_jsonl
from tooln1.prompt import format_call_turn, load_template

REASONS = {
    "no_response": "there is no response to the prompt",
    "not_rewarded": "no response to the prompt earns the reward",
    **BROKEN_REASONS,
}


def read_responses(path: str | Path) -> dict[str, list[str]]:
    """Read a file of JSON lines {"prompt": digest, "response": text, …}, as distillation writes them.

    Returns:
        The responses to each prompt, by `tooln1.data.rows.digest` in hexadecimal digits.

    Raises:
        UserError: the file cannot be read, or a line is no such object.
    """
    responses: dict[str, list[str]] = defaultdict(list)
    for line in read_jsonl(Path(path)):
        if "settings" in line.value:
            continue
        prompt, response = line.value.get("prompt"), line.value.get("response")
        if not isinstance(prompt, str) or not isinstance(response, str):
            raise UserError(f'{path}: line {line.number}: expected {{"prompt": digest, "response": text}}')
        responses[prompt].append(response)
    return responses


def write_sft_files(
    arguments: argparse.Namespace,
    prepared: Sequence[PreparedRow],
    counts: Counts,
    responses: Mapping[str, Sequence[str]] | None,
    settings: Mapping[str, Any],
) -> None:
    """Write prepared rows as conversations, and print the counts.

    Args:
        arguments: as parsed with `tooln1.data.script.add_prepared_arguments`.
        counts: of the rows that were dropped on reading.
        responses: as `read_responses` returns them; None: the ground truth calls alone.
        settings: what stats.json records besides the counts.

    Raises:
        UserError: there are too few rows to split, or a file cannot be written.
    """
    tokenizer = load_tokenizer(arguments.tokenizer)
    template = load_template(arguments.template) if arguments.template else None
    if arguments.test_size is None:
        test = [one.row["extra_info"].get("split") == "test" for one in prepared]
    else:
        keys = [conversation_key(one.row["prompt"]) for one in prepared]
        test = choose_test(keys, arguments.test_size, arguments.seed).tolist()
    write = partial(with_template, template=template)
    prompts = map_items(write, prepared, arguments.workers, len(prepared), "writing prompts")
    rows, sides = [], []
    for one, prompt, is_test in zip(prepared, prompts, test, strict=True):
        response, reason = _find_response(one.row, prompt, responses)
        if response is None:
            counts.drop(one.row["data_source"], reason, one.place, prompt[-1]["content"])
            continue
        counts.keep(one.row["data_source"])
        sides.append(is_test)
        rows.append({**one.row, "messages": [*prompt, {"role": "assistant", "content": response}]})
    print(counts.text(REASONS))
    templates = {template or one.template for one in prepared}
    schema = sft_schema(templates.pop() if len(templates) == 1 else None)
    stats = {**settings, "data_sources": counts.by_source()}
    report = format_report("SFT", counts.table(), [counts], REASONS)
    write_data_set(arguments, split_rows(rows, sides), schema, stats, report, tokenizer)


def sft_schema(template: str | None) -> pa.Schema:
    """Return the Arrow schema: the messages, and where they come from. The file notes the template, if there is one."""
    rows = row_schema(template=template)
    fields = [pa.field("messages", MESSAGES), rows.field("data_source"), rows.field("extra_info")]
    return pa.schema(fields, metadata=rows.metadata)


def _find_response(
    row: dict[str, Any], prompt: Sequence[dict[str, str]], responses: Mapping[str, Sequence[str]] | None
) -> tuple[str | None, str]:
    """Return the response to learn; if there is none, None and the reason."""
    if responses is None:
        return format_call_turn(calls_of(row)), ""
    # A model was asked with the row's own prompt, or with the one that another template gives.
    found = responses.get(digest(row["prompt"]).hex()) or responses.get(digest(prompt).hex()) or ()
    for response in found:
        if earns_reward(row, response):
            return response.strip(), ""
    return None, "not_rewarded" if found else "no_response"
