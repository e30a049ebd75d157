"""From conversations to prepared files, the same for every source format.

A format, such as tooln1/data/toolace.py, reads a record of its source into a `Conversation`. Here, each assistant turn
that calls tools becomes a row: the turns before it are the prompt, its calls the ground truth. A turn whose calls
cannot be read is dropped with its reason. So are the later turns of that conversation: their prompts would show a call
in a form that the model must not write.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tooln1.calls import REASONS as CALL_REASONS
from tooln1.data.counts import Counts, format_report
from tooln1.data.rows import make_row, row_schema, why_not_row
from tooln1.data.script import (
    choose_test,
    load_tokenizer,
    map_batches,
    split_rows,
    write_data_set,
)
from tooln1.data.sources import open_source
from tooln1.errors import UserError
from tooln1.files import format_table
from tooln1.prompt import fill_template, format_call_turn, load_template
from tooln1.tools import Rejected

REASONS = {
    **CALL_REASONS,
    "no_call": "the turn answers without a call (--include-no-call keeps it)",
    "call_in_prose": "a listed tool is called in the middle of other text",
    "after_rejected_turn": "an earlier turn of the conversation holds calls that cannot be read",
    "no_request": "no user has spoken before the turn",
    "follows_assistant": "the turn follows another turn of the assistant",
    "no_tools": "the system text holds no tool list",
    "bad_unicode": "the text holds half a character, which no file can store",
    "ground_truth_not_rewarded": "the row's own ground truth does not earn the reward",
    "broken_row": "the source's row does not have the promised form (--on-error skip)",
    "no_rows": "nothing in the conversation could be used",
}


@dataclass
class Turn:
    """One turn of a conversation; `position` is its place in the source.

    A turn of the assistant has `calls` if it made any; `rejected` says why they cannot be read.
    """

    role: str
    text: str
    position: int = 0
    calls: list[dict[str, Any]] | None = None
    rejected: Rejected | None = None


@dataclass
class Conversation:
    """A source's record in one shape; `tools` are normalised, `context` is what the system says besides the tools.

    `rejected` says why the tool list cannot be read.
    """

    data_source: str
    turns: list[Turn]
    tools: Sequence[Mapping[str, Any]] = ()
    context: str = ""
    rejected: Rejected | None = None


def make_rows(
    conversation: Conversation,
    source_row: int,
    counts: Counts,
    template: str | None = None,
    include_no_call: bool = False,
) -> list[dict[str, Any]]:
    """Return one row for each step (assistant turn) that can be used, and count what is kept and dropped.

    Args:
        template: the text of a template, None for the thinking template.
        include_no_call: keep turns that answer without a call, as rows whose ground truth is the empty list.
    """
    source, place = conversation.data_source, f"row {source_row}"
    if conversation.rejected:
        steps = sum(turn.role == "assistant" for turn in conversation.turns)
        text = f"{conversation.rejected.detail}\n{conversation.context}"
        counts.drop(source, conversation.rejected.reason, place, text, steps)
        return []
    rows: list[dict[str, Any]] = []
    content = fill_template(conversation.tools, conversation.context, template)
    messages = [{"role": "system", "content": content}]
    readable = True
    for turn in conversation.turns:
        if turn.role == "assistant":
            reason = _why_not(turn, messages, include_no_call) if readable else "after_rejected_turn"
            if reason is None:
                row = make_row(
                    data_source=source,
                    messages=messages,
                    calls=turn.calls or [],
                    source_row=source_row,
                    num_tools=len(conversation.tools),
                    turn=turn.position,
                )
                reason = why_not_row(row)
            if reason is None:
                rows.append(row)
                counts.keep(source)
            else:
                found = f"{turn.rejected.detail}\n" if turn.rejected and readable else ""
                counts.drop(source, reason, f"{place}, turn {turn.position}", found + turn.text)
            readable = readable and turn.rejected is None
        written = turn.text if turn.calls is None else format_call_turn(turn.calls)
        messages.append({"role": turn.role, "content": written})
    return rows


def _why_not(turn: Turn, before: Sequence[Mapping[str, str]], include_no_call: bool) -> str | None:
    """Return the reason to drop a step, judged by the turn and the messages before it; None if it may give a row."""
    if turn.rejected is not None:
        return turn.rejected.reason
    if not turn.calls and not include_no_call:
        return "no_call"
    if not any(message["role"] == "user" and message["content"].strip() for message in before):
        return "no_request"
    return "follows_assistant" if before[-1]["role"] == "assistant" else None


@dataclass
class Prepared:
    """The rows made of some source rows, with counts of the steps and of the source rows (conversations)."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    steps: Counts = field(default_factory=Counts)
    conversations: Counts = field(default_factory=Counts)

    def update(self, other: "Prepared") -> None:
        """Add what was made of later source rows."""
        self.rows += other.rows
        self.steps.update(other.steps)
        self.conversations.update(other.conversations)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for stats.json."""
        sources = {
            name: {"conversations": self.conversations.of(name)["read"], "steps": self.steps.of(name)}
            for name in self.steps.sources()
        }
        return {"conversations": self.conversations.of(), "steps": self.steps.of(), "data_sources": sources}

    def table(self) -> str:
        """Return the table for the screen: source rows and steps of each data source."""
        found = [(name, self.conversations.of(name)["read"], self.steps.of(name)) for name in self.steps.sources()]
        # Broken rows belong to no data source: only the total has them.
        found.append(("total", self.conversations.of()["read"], self.steps.of()))
        rows = [(name, raw, of["read"], of["kept"], of["read"] - of["kept"]) for name, raw, of in found]
        return format_table(("data source", "raw", "steps", "kept", "dropped"), rows)


def _prepare_batch(
    records: Sequence[tuple[int, Any]],
    read: Callable[[Any], Conversation],
    template: str,
    include_no_call: bool,
    skip_broken: bool,
) -> Prepared:
    done = Prepared()
    for position, record in records:
        try:
            if isinstance(record, UserError):
                raise record
            conversation = read(record)
        except UserError as error:
            if not skip_broken:
                raise UserError(f"row {position}: {error}") from None
            done.conversations.drop("", "broken_row", f"row {position}", str(error))
            continue
        rows = make_rows(conversation, position, done.steps, template, include_no_call)
        if rows:
            done.conversations.keep(conversation.data_source)
        else:
            done.conversations.drop(conversation.data_source, "no_rows")
        done.rows += rows
    return done


def prepare_files(arguments: argparse.Namespace, hub_name: str, read: Callable[[Any], Conversation]) -> None:
    """Prepare every row of a source, write train.parquet, test.parquet and stats.json, and print the counts.

    Args:
        arguments: as parsed with `tooln1.data.script.add_source_arguments`.
        read: reads a record; raises `UserError` for one that does not have the format's form. It must be picklable.

    Raises:
        UserError: a broken row (unless --on-error skip), too few rows, or a file that cannot be read or written.
    """
    template = load_template(arguments.template)
    tokenizer = load_tokenizer(arguments.tokenizer)
    source = open_source(arguments.input, hub_name)
    work = partial(
        _prepare_batch,
        read=read,
        template=template,
        include_no_call=arguments.include_no_call,
        skip_broken=arguments.on_error == "skip",
    )
    total = Prepared()
    try:
        for done in map_batches(work, enumerate(source.rows), arguments.workers, source.total, source.name):
            total.update(done)
    except UserError as error:
        raise UserError(f"{source.name}: {error}") from None
    print(total.table())
    for title, counts in (("dropped steps", total.steps), ("dropped raw rows", total.conversations)):
        if text := counts.reasons_table(title, REASONS):
            print("\n" + text)
    conversations = [row["extra_info"]["source_row"] for row in total.rows]
    splits = split_rows(total.rows, choose_test(conversations, arguments.test_size, arguments.seed))
    settings = {"source": source.name, "seed": arguments.seed, "test_size": arguments.test_size}
    choices = {"template": arguments.template or "thinking", "include_no_call": arguments.include_no_call}
    report = format_report(source.name, total.table(), [total.steps, total.conversations], REASONS)
    stats = {**settings, **choices, **total.as_dict()}
    write_data_set(arguments, splits, row_schema(template=template), stats, report, tokenizer)
