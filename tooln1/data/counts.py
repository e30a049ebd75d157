"""Counting what is kept, and why the rest is dropped, so that nothing is lost unseen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tooln1.files import format_table, shorten

_KEPT = ""
_EXAMPLES = 3
_SHOWN = 400


class Counts:
    """How many things of each data source were kept and dropped, with a few examples of each reason to drop."""

    def __init__(self) -> None:
        self._numbers: Counter[tuple[str, str]] = Counter()
        self.marked: Counter[str] = Counter()
        self.examples: dict[str, list[tuple[str, str]]] = {}

    def keep(self, source: str, number: int = 1) -> None:
        """Count things that are kept."""
        self._numbers[source, _KEPT] += number

    def drop(self, source: str, reason: str, place: str = "", text: str = "", number: int = 1) -> None:
        """Count things that are dropped; with a place in the input, the text serves as an example of the reason."""
        self._numbers[source, reason] += number
        if place:
            self._add_example(reason, place, text)

    def mark(self, reason: str, place: str, text: str) -> None:
        """Count what is remarkable about a thing, whether it is kept or not."""
        self.marked[reason] += 1
        self._add_example(reason, place, text)

    def _add_example(self, reason: str, place: str, text: str) -> None:
        examples = self.examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append((place, shorten(text, _SHOWN)))

    def update(self, other: "Counts") -> None:
        """Add the counts of another, whose things come later in the input."""
        self._numbers.update(other._numbers)
        self.marked.update(other.marked)
        for reason, examples in other.examples.items():
            for place, text in examples:
                self._add_example(reason, place, text)

    def sources(self) -> list[str]:
        """Return the names of the data sources, in order."""
        return sorted({source for source, _ in self._numbers})

    def of(self, *sources: str) -> dict[str, Any]:
        """Return {"read", "kept", "dropped": {reason: number}} of these sources, of all without any.

        The most frequent reason comes first; read is always kept plus all of dropped.
        """
        total: Counter[str] = Counter()
        for (source, reason), number in self._numbers.items():
            if source in sources or not sources:
                total[reason] += number
        read, kept = total.total(), total.pop(_KEPT, 0)
        dropped = {reason: number for reason, number in total.items() if number}
        return {
            "read": read,
            "kept": kept,
            "dropped": dict(sorted(dropped.items(), key=lambda item: (-item[1], item[0]))),
        }

    def by_source(self) -> dict[str, dict[str, Any]]:
        """Return the counts of each source."""
        return {source: self.of(source) for source in self.sources()}

    def text(self, meanings: Mapping[str, str]) -> str:
        """Return the table, and the reasons if anything was dropped, for the screen."""
        return "\n\n".join(filter(None, (self.table(), self.reasons_table("dropped rows", meanings))))

    def table(self) -> str:
        """Return a table of what was read, kept and dropped of each data source."""
        lines = [(name, self.of(name)) for name in self.sources()] + [("total", self.of())]
        rows = [(name, found["read"], found["kept"], found["read"] - found["kept"]) for name, found in lines]
        return format_table(("data source", "raw", "kept", "dropped"), rows)

    def reasons_table(self, title: str, meanings: Mapping[str, str]) -> str:
        """Return a table of the reasons by data source, and what each reason means; "" if nothing was dropped."""
        total, by_source = self.of()["dropped"], self.by_source()
        if not total:
            return ""
        columns = by_source if len(by_source) > 1 else {}
        rows = [
            [reason, *(found["dropped"].get(reason, 0) for found in columns.values()), number]
            for reason, number in total.items()
        ]
        table = format_table([title, *(name.rpartition("/")[2] for name in columns), "total"], rows)
        return "\n".join([table, "", *(f"{reason}: {meanings.get(reason, '')}" for reason in total)])


def format_report(title: str, table: str, all_counts: Sequence[Counts], meanings: Mapping[str, str]) -> str:
    """Return a Markdown page: the table, then for each reason its count, its meaning and a few examples."""
    parts = [f"# {title}", f"```text\n{table}\n```"]
    for counts in all_counts:
        for reason, number in {**counts.marked, **counts.of()["dropped"]}.items():
            parts.append(f"## {reason}: {number:,}\n\n{meanings.get(reason, '')}")
            for place, text in counts.examples.get(reason, ()):
                # Indented, as a code block: what the source holds may be Markdown itself.
                parts.append(f"{place}:\n\n" + "\n".join("    " + line for line in text.splitlines()))
    return "\n\n".join(parts) + "\n"
