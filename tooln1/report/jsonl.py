"""Reading JSON Lines that a run is still writing, or did not finish: what can be read is read, the rest is counted."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

# Counted under these words, which stand in the report behind a number of lines.
CUT = "unfinished at its end"
BROKEN = "not JSON, left out"
REPAIRED = "not UTF-8, shown with replacement characters"


@dataclass(frozen=True)
class Line:
    """One line of a file: its number from 1, where it starts in bytes, and the object in it."""

    number: int
    offset: int
    value: Any


def decode(line: bytes) -> tuple[Any, bool]:
    """The value of a line, and whether its text had to be repaired.

    Raises:
        ValueError: it is not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(line), False
    except ValueError:
        pass
    # What orjson refuses and verl's dumps may hold: NaN, half of a surrogate pair, bytes that are not UTF-8.
    text = line.decode("utf-8", "replace")
    try:
        return json.loads(text), "\ufffd" in text
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_objects(path: Path, damage: dict[str, int]) -> Iterator[Line]:
    """Yield the objects of a file one by one; what cannot be read is counted in ``damage`` under the words above."""
    offset = 0
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            try:
                value, repaired = decode(line)
            except ValueError:
                value, repaired = None, False
            if isinstance(value, dict):
                if repaired:
                    damage[REPAIRED] = damage.get(REPAIRED, 0) + 1
                yield Line(number, start, value)
            else:
                what = BROKEN if line.endswith(b"\n") else CUT
                damage[what] = damage.get(what, 0) + 1


def describe(path: Path, damage: dict[str, int]) -> list[str]:
    """One note for each kind of damage to a file."""
    return [
        f"{path.name}: the last line is {what} and was left out"
        if what == CUT
        else f"{path.name}: {count:,} {'line is' if count == 1 else 'lines are'} {what}"
        for what, count in damage.items()
    ]
