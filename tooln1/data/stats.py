"""Counting what is kept and why the rest is not, so that nothing is lost unseen."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tooln1.files import format_table

_EXAMPLES = 3


class Tally:
    """Counts of one kind of thing; `read` is always `kept` plus everything dropped."""

    def __init__(self) -> None:
        self.kept = 0
        self.dropped: Counter[str] = Counter()

    @property
    def read(self) -> int:
        return self.kept + sum(self.dropped.values())

    def keep(self, number: int = 1) -> None:
        self.kept += number

    def drop(self, reason: str, number: int = 1) -> None:
        self.dropped[reason] += number

    def update(self, other: "Tally") -> None:
        """Add the counts of another."""
        self.kept += other.kept
        self.dropped.update(other.dropped)

    @classmethod
    def from_dict(cls, counts: Mapping[str, Any]) -> "Tally":
        """Return the tally that `as_dict` made this of."""
        tally = cls()
        tally.keep(counts["kept"])
        tally.dropped.update(counts["dropped"])
        return tally

    def as_dict(self) -> dict[str, Any]:
        """Return {"read", "kept", "dropped": {reason: count}}, the most frequent reason first."""
        by_count = sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        return {"read": self.read, "kept": self.kept, "dropped": dict(by_count)}


@dataclass(frozen=True)
class Example:
    """Something that was dropped: `place` says where it stands in the input, `text` what stands there."""

    place: str
    text: str


class Examples:
    """The first few examples of each reason."""

    def __init__(self) -> None:
        self.by_reason: dict[str, list[Example]] = {}

    def add(self, reason: str, example: Example) -> None:
        found = self.by_reason.setdefault(reason, [])
        if len(found) < _EXAMPLES:
            found.append(example)

    def update(self, other: "Examples") -> None:
        """Add the examples of another, which come later in the input."""
        for reason, examples in other.by_reason.items():
            for example in examples:
                self.add(reason, example)


def total_of(tallies: Mapping[str, Tally]) -> Tally:
    """Return the sum of the tallies of several data sources."""
    total = Tally()
    for tally in tallies.values():
        total.update(tally)
    return total


def format_kept(tallies: Mapping[str, Tally]) -> str:
    """Return the table of what was raw, kept and dropped of each data source."""
    lines = [(name, tally.read, tally.kept, tally.read - tally.kept) for name, tally in sorted(tallies.items())]
    total = total_of(tallies)
    lines.append(("total", total.read, total.kept, total.read - total.kept))
    return format_table(("data source", "raw", "kept", "dropped"), lines)


def format_dropped(title: str, tallies: Mapping[str, Tally], meanings: Mapping[str, str]) -> str:
    """Return a table of reasons by data source, the most frequent first, and what each reason means."""
    total = total_of(tallies)
    names = sorted(tallies)
    columns = names if len(names) > 1 else []
    rows = [
        [reason, *(tallies[name].dropped[reason] for name in columns), count]
        for reason, count in total.as_dict()["dropped"].items()
    ]
    table = format_table([title, *(name.rpartition("/")[2] for name in columns), "total"], rows)
    return "\n".join([table, "", *(f"{row[0]}: {meanings.get(row[0], '')}" for row in rows)])


def format_report(
    title: str, table: str, dropped: Mapping[str, int], meanings: Mapping[str, str], examples: Examples
) -> str:
    """Return a Markdown page: the table, then for each reason its count, its meaning and a few examples."""
    parts = [f"# {title}", f"```text\n{table}\n```"]
    for reason, count in dropped.items():
        parts.append(f"## {reason}: {count:,}\n\n{meanings.get(reason, '')}")
        for example in examples.by_reason.get(reason, ()):
            # Indented, as a code block: what the source holds may be Markdown itself.
            text = "\n".join("    " + line for line in example.text.splitlines())
            parts.append(f"{example.place}:\n\n{text}")
    return "\n\n".join(parts) + "\n"
