"""Prepared rows as conversations for verl's SFT trainer: the prompt, and the reply to be learned as its last message.

The reply is the reference calls alone, or with reasoning: a reply of another model that earns the reward.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from tooln1.data.parquet import SPLITS
from tooln1.data.prepared import Unit, calls_of, each_row, naming, take_apart
from tooln1.data.rows import messages_array, row_schema, structs_array
from tooln1.data.scan import digest
from tooln1.data.stats import Example, Examples, Tally
from tooln1.errors import UserError
from tooln1.prompt import fill_template, format_call_turn
from tooln1.reward_score.toolcall import compute_score

BROKEN = "broken"

REASONS = {
    "no_reply": "no reply to the prompt is at hand",
    "not_rewarded": "no reply to the prompt earns the reward",
    "broken_row": "the row is not a prepared one (--on-error skip)",
}

_SHOWN = 400


class Replies:
    """The responses of a JSON Lines file, {"prompt": digest, "response": text, …}; memory holds only their places.

    `tooln1.data.distill` writes such files; a digest is that of `tooln1.data.scan.digest`, in hexadecimal digits.
    """

    def __init__(self, path: str | Path):
        """Index the file.

        Raises:
            UserError: it cannot be read, or a line is no such object.
        """
        self._path = Path(path)
        self._places: dict[bytes, list[int]] = {}
        self._file: BinaryIO | None = None
        try:
            with open(self._path, "rb") as lines:
                place = 0
                for number, line in enumerate(lines, 1):
                    if prompt := self._prompt_of(number, line):
                        self._places.setdefault(prompt, []).append(place)
                    place += len(line)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None

    def __getstate__(self) -> dict[str, Any]:
        # A worker process opens the file for itself.
        return {**self.__dict__, "_file": None}

    def to(self, prompt: bytes) -> list[str]:
        """Return the replies to a prompt, given by its digest."""
        if self._file is None:
            self._file = open(self._path, "rb")
        replies = []
        for place in self._places.get(prompt, ()):
            self._file.seek(place)
            replies.append(json.loads(self._file.readline())["response"])
        return replies

    def _prompt_of(self, number: int, line: bytes) -> bytes | None:
        try:
            found = json.loads(line)
            if "settings" in found:
                return None
            if isinstance(found["response"], str):
                return bytes.fromhex(found["prompt"])
        except (ValueError, TypeError, KeyError):
            pass
        raise UserError(f'{self._path}: line {number}: expected {{"prompt": digest, "response": text}}')


@dataclass(frozen=True)
class Options:
    """How rows become conversations: with another template, with `replies` or else the reference calls alone."""

    template: str | None = None
    replies: Replies | None = None
    skip_broken: bool = False


@dataclass
class Converted:
    """What became of a unit: a batch for each split, and for each data source what was kept and why not the rest."""

    batches: dict[str, pa.RecordBatch] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)
    examples: Examples = field(default_factory=Examples)

    def drop(self, data_source: str, reason: str, example: Example) -> None:
        self.tallies.setdefault(data_source, Tally()).drop(reason)
        self.examples.add(reason, example)


def sft_schema() -> pa.Schema:
    """Return the Arrow schema: the messages, and where they come from."""
    rows = row_schema()
    messages = pa.field("messages", rows.field("prompt").type)
    return pa.schema([messages, rows.field("data_source"), rows.field("extra_info")])


def convert_unit(task: tuple[Unit, Sequence[bool] | None], options: Options) -> Converted:
    """Make conversations of a unit's rows; the flags say which rows are for testing, None: as the rows say themselves.

    Raises:
        UserError: a row is broken (unless `skip_broken`), or its system message cannot be taken apart.
    """
    unit, flags = task
    converted = Converted()
    rows: dict[str, list[tuple[list[dict[str, str]], dict[str, Any]]]] = {split: [] for split in SPLITS}
    broken: list[UserError] = []
    for number, (position, row) in enumerate(each_row(unit, options.skip_broken, broken.append)):
        with naming(unit, position):
            prompt = with_template(row["prompt"], unit.template, options.template)
        reply, reason = find_reply(row, prompt, options.replies)
        if reply is None:
            converted.drop(
                row["data_source"], reason, Example(f"{unit.path}, row {position}", prompt[-1]["content"][:_SHOWN])
            )
            continue
        converted.tallies.setdefault(row["data_source"], Tally()).keep()
        test = row["extra_info"]["split"] == "test" if flags is None else flags[number]
        rows["test" if test else "train"].append(([*prompt, {"role": "assistant", "content": reply}], row))
    for error in broken:
        converted.drop(BROKEN, "broken_row", Example(unit.path, str(error)))
    converted.batches = {split: _batch(pairs) for split, pairs in rows.items()}
    return converted


def with_template(
    prompt: Sequence[dict[str, str]], written_with: str | None, template: str | None
) -> list[dict[str, str]]:
    """Return a prepared row's prompt, its system message written with another template unless that is None.

    Raises:
        UserError: the system message cannot be taken apart.
    """
    system, *turns = prompt
    if template is not None and template != written_with:
        context, tools, _ = take_apart(system["content"], written_with)
        system = {"role": "system", "content": fill_template(tools, context, template)}
    return [system, *turns]


def find_reply(
    row: dict[str, Any], prompt: Sequence[dict[str, str]], replies: Replies | None
) -> tuple[str | None, str]:
    """Return the reply to be learned; if there is none, None and the reason."""
    if replies is None:
        return format_call_turn(calls_of(row)), ""
    # The replies may be to the prompt as the row has it, or to the one it gets with another template.
    found = replies.to(digest(row["prompt"])) or replies.to(digest(prompt))
    for reply in found:
        if earns_reward(row, reply):
            return reply.strip(), ""
    return None, "not_rewarded" if found else "no_reply"


def earns_reward(row: dict[str, Any], reply: str) -> bool:
    """Whether a reply to a prepared row's prompt scores 1."""
    truth = row["reward_model"]["ground_truth"]
    return compute_score(row["data_source"], reply, truth, row["extra_info"])["score"] == 1


def _batch(pairs: Sequence[tuple[list[dict[str, str]], dict[str, Any]]]) -> pa.RecordBatch:
    schema = sft_schema()
    infos = [{**dict.fromkeys(_info_names()), **row["extra_info"]} for _, row in pairs]
    columns = [
        messages_array(messages for messages, _ in pairs),
        pa.array([row["data_source"] for _, row in pairs], pa.string()),
        structs_array(infos, schema.field("extra_info").type),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _info_names() -> list[str]:
    return [field.name for field in row_schema().field("extra_info").type]
