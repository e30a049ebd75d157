"""From conversations to prepared files, the same for every dialect.

Each assistant turn that calls tools becomes a row: the turns before it are the prompt, its calls the ground truth. A
turn that cannot be read is dropped with its reason. So are the later turns of that conversation: their prompts would
show a call in a form that the model must not write, or lack what the user said.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tooln1.calls import REASONS as CALL_REASONS
from tooln1.data.conversation import Conversation, Turn
from tooln1.data.counts import Counts, format_report
from tooln1.data.dialects import REASONS as DIALECT_REASONS
from tooln1.data.dialects import read_conversation
from tooln1.data.rows import make_row, row_schema, why_not_row
from tooln1.data.script import choose_test, claimed, load_tokenizer, map_batches, split_rows, write_data_set
from tooln1.data.sources import decode_row, open_sources
from tooln1.errors import UserError
from tooln1.files import format_table
from tooln1.prompt import fill_template, format_call_turn, load_template
from tooln1.tools import Rejected, schema_fault

REASONS = {
    **CALL_REASONS,
    **DIALECT_REASONS,
    "no_call": "the turn answers without a call (--include-no-call keeps it)",
    "after_rejected_turn": "an earlier turn of the conversation cannot be read",
    "no_request": "no user has spoken before the turn",
    "follows_assistant": "the turn follows another turn of the assistant",
    "bad_unicode": "the text holds half a character, which no file can store",
    "ground_truth_not_rewarded": "the row's own ground truth does not earn the reward",
    "broken_row": "the source's row is no conversation in a known dialect (--on-error skip)",
    "schema_mismatch": "a call breaks the schema of its tool (--schema-mismatch keep or drop)",
    "no_rows": "nothing in the conversation could be used",
}


@dataclass(frozen=True)
class Choices:
    """What the user decides about the rows.

    Args:
        template: the text of a template, None for the thinking template.
        include_no_call: keep turns that answer without a call, as rows whose ground truth is the empty list.
        schema_mismatch: "keep" or "drop" the calls that break their tool's schema; None checks none.
        tools: the normalised tools of conversations that list none.
    """

    template: str | None = None
    include_no_call: bool = False
    schema_mismatch: str | None = None
    tools: Sequence[Mapping[str, Any]] = ()


def make_rows(
    conversation: Conversation,
    data_source: str,
    source_row: int,
    counts: Counts,
    place: str = "",
    choices: Choices = Choices(),
) -> list[dict[str, Any]]:
    """Return one row for each step (assistant turn) that can be used, and count what is kept and dropped.

    Args:
        data_source: the name of the rows.
        source_row: the position of the conversation among all of the input.
        place: where the conversation stands, for examples of what is dropped.
    """
    if conversation.rejected:
        text = f"{conversation.rejected.detail}\n{conversation.context}"
        steps = sum(turn.role == "assistant" for turn in conversation.turns)
        counts.drop(data_source, conversation.rejected.reason, place, text, steps)
        return []
    rows: list[dict[str, Any]] = []
    content = fill_template(conversation.tools, conversation.context, choices.template)
    messages = [{"role": "system", "content": content}]
    # Why the turns from here on cannot be used; the first step after it is dropped for this reason.
    spoilt: Rejected | None = None
    for turn in conversation.turns:
        spoilt = spoilt or turn.rejected
        if turn.role == "assistant":
            reason = spoilt.reason if spoilt else _why_not(turn, messages, choices.include_no_call)
            where = f"{place}, turn {turn.position}"
            if reason is None and _breaks_schema(turn, conversation.tools, choices, counts, where):
                reason = "schema_mismatch"
            if reason is None:
                row = make_row(
                    data_source=data_source,
                    messages=messages,
                    calls=turn.calls or [],
                    source_row=source_row,
                    num_tools=len(conversation.tools),
                    turn=turn.position,
                )
                reason = why_not_row(row)
            if reason is None:
                rows.append(row)
                counts.keep(data_source)
            else:
                found = f"{spoilt.detail}\n" if spoilt and spoilt.detail else ""
                counts.drop(data_source, reason, where, found + turn.text)
            spoilt = spoilt and Rejected("after_rejected_turn")
        written = [turn.text] if turn.calls is None else [turn.text, format_call_turn(turn.calls)]
        messages.append({"role": turn.role, "content": "\n".join(filter(None, written))})
    return rows


def _why_not(turn: Turn, before: Sequence[Mapping[str, str]], include_no_call: bool) -> str | None:
    """Return the reason to drop a step, judged by the turn and the messages before it; None if it may give a row."""
    if turn.is_context:
        return "context_only"
    if not turn.calls and not include_no_call:
        return "no_call"
    if turn.calls is None and not turn.text.strip():
        return "empty_turn"
    if not any(message["role"] == "user" and message["content"].strip() for message in before):
        return "no_request"
    return "follows_assistant" if before[-1]["role"] == "assistant" else None


def _breaks_schema(
    turn: Turn, tools: Sequence[Mapping[str, Any]], choices: Choices, counts: Counts, where: str
) -> bool:
    """Count a turn with a call that breaks its tool's schema; return whether to drop it."""
    if choices.schema_mismatch:
        if fault := next(filter(None, (schema_fault(call, tools) for call in turn.calls or ())), None):
            counts.mark("schema_mismatch", where, fault)
            return choices.schema_mismatch == "drop"
    return False


@dataclass
class Prepared:
    """The rows made of some source rows, with counts of the steps and of the source rows (conversations)."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    steps: Counts = field(default_factory=Counts)
    conversations: Counts = field(default_factory=Counts)
    dialects: Counter[str] = field(default_factory=Counter)

    def update(self, other: "Prepared") -> None:
        """Add what was made of later source rows."""
        self.rows += other.rows
        self.steps.update(other.steps)
        self.conversations.update(other.conversations)
        self.dialects.update(other.dialects)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for stats.json."""
        sources = {
            name: {"conversations": self.conversations.of(name)["read"], "steps": self.steps.of(name)}
            for name in self.steps.sources()
        }
        counts = {"conversations": self.conversations.of(), "steps": self.steps.of()}
        counts |= {reason: number for reason, number in self.steps.marked.items()}
        return {**counts, "dialects": dict(self.dialects.most_common()), "data_sources": sources}

    def table(self) -> str:
        """Return the table for the screen: source rows and steps of each data source."""
        found = [(name, self.conversations.of(name)["read"], self.steps.of(name)) for name in self.steps.sources()]
        # Broken rows belong to no data source: only the total has them.
        found.append(("total", self.conversations.of()["read"], self.steps.of()))
        rows = [(name, raw, of["read"], of["kept"], of["read"] - of["kept"]) for name, raw, of in found]
        return format_table(("data source", "raw", "steps", "kept", "dropped"), rows)


def _prepare_batch(
    records: Sequence[tuple[int, tuple[str, Any]]],
    dialect: str | None,
    name: Callable[[Conversation], str],
    choices: Choices,
    skip_broken: bool,
) -> Prepared:
    done = Prepared()
    for position, (place, record) in records:
        try:
            conversation = read_conversation(decode_row(record), dialect, choices.tools)
        except UserError as error:
            if not skip_broken:
                raise UserError(f"{place}: {error}") from None
            done.conversations.drop("", "broken_row", place, str(error))
            continue
        done.dialects[conversation.dialect] += 1
        source = name(conversation)
        rows = make_rows(conversation, source, position, done.steps, place, choices)
        if rows:
            done.conversations.keep(source)
        else:
            done.conversations.drop(source, "no_rows")
        done.rows += rows
    return done


def prepare_files(
    arguments: argparse.Namespace,
    dialect: str | None,
    name: Callable[[Conversation], str] | None = None,
    schema_mismatch: str | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Prepare every row of the input, write train.parquet, test.parquet and stats.json, and print the counts.

    Args:
        arguments: as parsed with `tooln1.data.script.add_source_arguments`.
        dialect: the dialect of all rows; None recognises it row by row.
        name: the data source of a conversation's rows if --name does not say it. It must be picklable.
        schema_mismatch, tools: as in `Choices`.

    Raises:
        UserError: a broken row (unless --on-error skip), too few rows, or a file that cannot be read or written.
    """
    choices = Choices(load_template(arguments.template), arguments.include_no_call, schema_mismatch, tools)
    tokenizer = load_tokenizer(arguments.tokenizer)
    source = open_sources(arguments.input)
    work = partial(
        _prepare_batch,
        dialect=dialect,
        name=name if arguments.name is None else partial(_name, f"toolcall/{arguments.name}"),
        choices=choices,
        skip_broken=arguments.on_error == "skip",
    )
    total = Prepared()
    with claimed(arguments.output):
        for done in map_batches(work, enumerate(source.rows), arguments.workers, source.total, source.name):
            total.update(done)
        print(total.table())
        for title, counts in (("dropped steps", total.steps), ("dropped raw rows", total.conversations)):
            if text := counts.reasons_table(title, REASONS):
                print("\n" + text)
        if not total.rows:
            reasons = ", ".join({**total.steps.of()["dropped"], **total.conversations.of("")["dropped"]}) or "no rows"
            hint = "; if the rows are in another dialect, data_prep/messages.py recognises it" if dialect else ""
            raise UserError(f"{source.name}: nothing to train on ({reasons}){hint}")
        conversations = [row["extra_info"]["source_row"] for row in total.rows]
        splits = split_rows(total.rows, choose_test(conversations, arguments.test_size, arguments.seed))
        settings = {"source": source.name, "seed": arguments.seed, "test_size": arguments.test_size}
        chosen = {"template": arguments.template or "thinking", "include_no_call": arguments.include_no_call}
        report = format_report(source.name, total.table(), [total.steps, total.conversations], REASONS)
        stats = {**settings, **chosen, **total.as_dict()}
        write_data_set(arguments, splits, row_schema(template=choices.template), stats, report, tokenizer)


def _name(name: str, conversation: Conversation) -> str:
    return name
