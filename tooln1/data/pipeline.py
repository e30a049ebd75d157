"""The way from source rows to prepared files, the same for every source."""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from tooln1.data.errors import DataError
from tooln1.data.parquet import PreparedFiles
from tooln1.data.sources import Source
from tooln1.data.split import parse_test_size
from tooln1.data.stats import Tally, format_reasons, format_table

COMMON_REASONS = {
    "bad_unicode": "the text holds half a character, which no file can store",
    "reference_not_rewarded": "the row's own reference does not earn the reward",
    "broken_row": "the source's row is not what the source promises (--on-error skip)",
    "no_rows": "nothing in the conversation could be used",
}


@dataclass
class Outcome:
    """What became of one source row: the rows made of it, and why its other steps (assistant turns) were dropped."""

    data_source: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass
class Summary:
    """Counts over a whole source: its conversations (source rows), and the steps of these by data source."""

    conversations: Tally = field(default_factory=Tally)
    conversations_of: Counter[str] = field(default_factory=Counter)
    steps: dict[str, Tally] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        if outcome.rows:
            self.conversations.keep()
        else:
            self.conversations.drop("no_rows")
        self.conversations_of[outcome.data_source] += 1
        steps = self.steps.setdefault(outcome.data_source, Tally())
        steps.keep(len(outcome.rows))
        steps.dropped.update(outcome.dropped)

    def all_steps(self) -> Tally:
        total = Tally()
        for tally in self.steps.values():
            total.keep(tally.kept)
            total.dropped.update(tally.dropped)
        return total

    def as_dict(self) -> dict[str, Any]:
        """Return what stats.json says; in every part, "read" is "kept" plus all of "dropped"."""
        return {
            "conversations": self.conversations.as_dict(),
            "steps": self.all_steps().as_dict(),
            "data_sources": {
                name: {"conversations": self.conversations_of[name], "steps": tally.as_dict()}
                for name, tally in sorted(self.steps.items())
            },
        }

    def as_text(self, meanings: Mapping[str, str]) -> str:
        """Return the table for the screen, and below it what each reason means."""
        total = self.all_steps()
        lines = [
            (name, self.conversations_of[name], tally.read, tally.kept, tally.read - tally.kept)
            for name, tally in sorted(self.steps.items())
        ]
        # A broken row belongs to no data source, so only the total has it.
        lines.append(("total", self.conversations.read, total.read, total.kept, total.read - total.kept))
        parts = [format_table(("data source", "raw", "steps", "kept", "dropped"), lines)]
        for title, tally in (("dropped steps", total), ("dropped raw rows", self.conversations)):
            if tally.dropped:
                parts.append(f"{title}:\n" + format_reasons(tally.as_dict()["dropped"], meanings))
        return "\n\n".join(parts)


def prepare_files(
    source: Source,
    prepare: Callable[[Any, int], Outcome],
    arguments: argparse.Namespace,
    meanings: Mapping[str, str],
    settings: Mapping[str, Any],
) -> Summary:
    """Prepare every row of a source, write train.parquet, test.parquet and stats.json, and print the table.

    Args:
        prepare: makes an `Outcome` of a source row and its position; raises `DataError` on one that is broken.
        arguments: as parsed with `tooln1.data.cli.add_common_arguments`.
        meanings: what each reason of the outcomes means.
        settings: what else stats.json should record.

    Raises:
        DataError: a broken row (unless --on-error skip), too few rows, or a file that cannot be written.
    """
    test_size = parse_test_size(arguments.test_size)
    summary = Summary()
    with PreparedFiles(arguments.output) as files:
        # disable=None: no bar where stderr is not a terminal.
        with tqdm(total=source.total, unit=source.unit, unit_scale=True, desc=source.name, disable=None) as bar:
            for position, record in enumerate(source.read(bar.update)):
                try:
                    if isinstance(record, DataError):
                        raise record
                    outcome = prepare(record, position)
                except DataError as error:
                    if arguments.on_error == "stop":
                        raise DataError(f"{source.name}: row {position}: {error}") from error
                    summary.conversations.drop("broken_row")
                    continue
                files.add(outcome.rows)
                summary.add(outcome)
        stats = {"source": source.name, "seed": arguments.seed, "test_size": test_size, **settings, **summary.as_dict()}
        print(summary.as_text({**COMMON_REASONS, **meanings}))
        rows = files.finish(test_size, arguments.seed, stats)
    print(f"\n{arguments.output}: train.parquet {rows['train']:,} rows, test.parquet {rows['test']:,} rows, stats.json")
    return summary
