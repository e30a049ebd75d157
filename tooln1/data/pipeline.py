"""The way from source rows to prepared files, the same for every source."""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tqdm import tqdm

from tooln1.data.cli import prompt_lengths, report_path
from tooln1.data.lengths import table_rows
from tooln1.data.parquet import PreparedFiles, pack
from tooln1.data.pool import map_in_order
from tooln1.data.rows import row_schema, rows_batch, with_template
from tooln1.data.sources import Source
from tooln1.data.split import parse_test_size
from tooln1.data.stats import Example, Examples, Tally, format_dropped, format_report, total_of
from tooln1.errors import UserError
from tooln1.files import format_table, write_text

COMMON_REASONS = {
    "bad_unicode": "the text holds half a character, which no file can store",
    "reference_not_rewarded": "the row's own reference does not earn the reward",
    "broken_row": "the source's row is not what the source promises (--on-error skip)",
    "no_rows": "nothing in the conversation could be used",
}

# Source rows that go to a worker together: thousands, and their progress would come in jumps.
_BATCH = 250
_SHOWN = 400


@dataclass
class Outcome:
    """What became of one source row: the rows made of it, and why its other steps (assistant turns) were dropped."""

    data_source: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[tuple[str, Example]] = field(default_factory=list)

    def drop(self, reason: str, place: str, text: str, steps: int = 1) -> None:
        """Count steps that are not used, and keep the text as an example of the reason."""
        self.dropped[reason] += steps
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        self.examples.append((reason, Example(place, shown)))


@dataclass
class Summary:
    """Counts over a whole source: its conversations (source rows), and the steps of these by data source."""

    conversations: Tally = field(default_factory=Tally)
    conversations_of: Counter[str] = field(default_factory=Counter)
    steps: dict[str, Tally] = field(default_factory=dict)
    examples: Examples = field(default_factory=Examples)

    def add(self, outcome: Outcome) -> None:
        if outcome.rows:
            self.conversations.keep()
        else:
            self.conversations.drop("no_rows")
        self.conversations_of[outcome.data_source] += 1
        steps = self.steps.setdefault(outcome.data_source, Tally())
        steps.keep(len(outcome.rows))
        steps.dropped.update(outcome.dropped)
        for reason, example in outcome.examples:
            self.examples.add(reason, example)

    def add_broken(self, place: str, error: UserError) -> None:
        self.conversations.drop("broken_row")
        self.examples.add("broken_row", Example(place, str(error)))

    def update(self, other: "Summary") -> None:
        """Add the counts of another, whose source rows come later."""
        self.conversations.update(other.conversations)
        self.conversations_of.update(other.conversations_of)
        for name, tally in other.steps.items():
            self.steps.setdefault(name, Tally()).update(tally)
        self.examples.update(other.examples)

    def as_dict(self) -> dict[str, Any]:
        """Return what stats.json says; in every part, "read" is "kept" plus all of "dropped"."""
        return {
            "conversations": self.conversations.as_dict(),
            "steps": total_of(self.steps).as_dict(),
            "data_sources": {
                name: {"conversations": self.conversations_of[name], "steps": tally.as_dict()}
                for name, tally in sorted(self.steps.items())
            },
        }

    def table(self) -> str:
        """Return the table for the screen: for each data source what was raw, and what was kept and dropped of it."""
        total = total_of(self.steps)
        lines = [
            (name, self.conversations_of[name], tally.read, tally.kept, tally.read - tally.kept)
            for name, tally in sorted(self.steps.items())
        ]
        # A broken row belongs to no data source, so only the total has it.
        lines.append(("total", self.conversations.read, total.read, total.kept, total.read - total.kept))
        return format_table(("data source", "raw", "steps", "kept", "dropped"), lines)

    def dropped(self) -> dict[str, int]:
        """Return how many steps and raw rows were dropped, by reason."""
        return {**total_of(self.steps).as_dict()["dropped"], **self.conversations.as_dict()["dropped"]}

    def as_text(self, meanings: Mapping[str, str]) -> str:
        """Return the table, and below it how often each reason dropped something and what it means."""
        parts = [self.table()]
        for title, tallies in (("dropped steps", self.steps), ("dropped raw rows", {"": self.conversations})):
            if total_of(tallies).dropped:
                parts.append(format_dropped(title, tallies, meanings))
        return "\n\n".join(parts)


@dataclass
class Prepared:
    """What a worker makes of source rows: rows, packed, and counts; `broken` is what must stop everything, if any."""

    packed: bytes
    sizes: list[int]
    summary: Summary
    broken: str | None = None


def prepare_batch(
    prepare: Callable[[Any, int], Outcome], skip_broken: bool, records: Sequence[tuple[int, Any]]
) -> Prepared:
    """Prepare source rows, given with their positions."""
    rows: list[dict[str, Any]] = []
    sizes = []
    summary = Summary()
    broken = None
    for position, record in records:
        try:
            if isinstance(record, UserError):
                raise record
            outcome = prepare(record, position)
        except UserError as error:
            if not skip_broken:
                broken = f"row {position}: {error}"
                break
            summary.add_broken(f"row {position}", error)
            continue
        if outcome.rows:
            rows += outcome.rows
            sizes.append(len(outcome.rows))
        summary.add(outcome)
    return Prepared(pack(rows_batch(rows)), sizes, summary, broken)


def prepare_files(
    source: Source,
    prepare: Callable[[Any, int], Outcome],
    arguments: argparse.Namespace,
    meanings: Mapping[str, str],
    template: str,
) -> Summary:
    """Prepare every row of a source, write train.parquet, test.parquet and stats.json, and print the table.

    Args:
        prepare: makes an `Outcome` of a source row and its position; raises `UserError` on one that is broken. It must
            be picklable for --workers.
        arguments: as parsed with `tooln1.data.cli.add_source_arguments`.
        meanings: what each reason of the outcomes means.
        template: the text of the template that `prepare` writes prompts with.

    Raises:
        UserError: a broken row (unless --on-error skip), too few rows, or a file that cannot be written.
    """
    test_size = parse_test_size(arguments.test_size)
    meanings = {**COMMON_REASONS, **meanings}
    measure = prompt_lengths(arguments)
    summary = Summary()
    with PreparedFiles(arguments.output, schema=with_template(row_schema(), template)) as files:
        work = partial(prepare_batch, prepare, arguments.on_error == "skip")
        # disable=None: no bar where stderr is not a terminal.
        with tqdm(total=source.total, unit=source.unit, unit_scale=True, desc=source.name, disable=None) as bar:
            batches = _batches(source.read(bar.update))
            for done in map_in_order(work, batches, arguments.workers):
                if done.broken:
                    raise UserError(f"{source.name}: {done.broken}")
                files.add_packed(done.packed, done.sizes)
                summary.update(done.summary)
        print(summary.as_text(meanings))
        stats = {"source": source.name, "seed": arguments.seed, "test_size": test_size}
        settings = {"template": arguments.template or "thinking", "include_no_call": arguments.include_no_call}
        rows = files.finish(test_size, arguments.seed, {**stats, **settings, **summary.as_dict()}, measure)
    show_end(arguments, rows, measure, source.name, summary.table(), summary.dropped(), meanings, summary.examples)
    return summary


def show_end(
    arguments: argparse.Namespace,
    rows: Mapping[str, int],
    measure: Any,
    title: str,
    table: str,
    dropped: Mapping[str, int],
    meanings: Mapping[str, str],
    examples: Examples,
) -> None:
    """Print what was written, with the prompt lengths if they were measured, and write --report's page.

    Raises:
        UserError: the page cannot be written.
    """
    if measure:
        print("\n" + format_table(*table_rows(measure.as_dict())))
    page = report_path(arguments)
    if page:
        write_text(page, format_report(title, table, dropped, meanings, examples))
    written = f"train.parquet {rows['train']:,} rows, test.parquet {rows['test']:,} rows, stats.json"
    print(f"\n{arguments.output}: {written}" + (f"; {page}" if page else ""))


def _batches(records: Iterable[Any]) -> Iterator[list[tuple[int, Any]]]:
    batch: list[tuple[int, Any]] = []
    for numbered in enumerate(records):
        batch.append(numbered)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
