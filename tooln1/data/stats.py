"""Counting what is kept and why the rest is not, so that nothing is lost unseen."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any


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

    def as_dict(self) -> dict[str, Any]:
        """Return {"read", "kept", "dropped": {reason: count}}, the most frequent reason first."""
        by_count = sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        return {"read": self.read, "kept": self.kept, "dropped": dict(by_count)}


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a text table: the first column to the left, the others, numbers, to the right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def format_reasons(dropped: Mapping[str, int], meanings: Mapping[str, str]) -> str:
    """Return one line a reason: how often, its code, what it means."""
    width = max((len(f"{count:,}") for count in dropped.values()), default=0)
    return "\n".join(f"  {count:>{width},}  {reason}: {meanings.get(reason, '')}" for reason, count in dropped.items())
