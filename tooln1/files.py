"""Reading and writing files, and laying out text for messages: what every part of the package needs."""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tooln1.errors import UserError

_BARS = "▁▂▃▄▅▆▇█"
_BARS_WIDE = 64

# Kinds of damage that read_jsonl counts.
CUT = "unfinished at its end"
BROKEN = "not a JSON object, left out"
REPAIRED = "not UTF-8, shown with replacement characters"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error while writing ``path`` (no space, no permission, a file in the way) into a UserError."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path that replaces ``path`` if the block succeeds and is removed otherwise.

    Raises:
        UserError: the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically; a lone surrogate is written as its escape. Raises UserError."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(path: str | Path, value: Any) -> None:
    """Write a value as indented JSON, atomically. Raises UserError."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_text(path: Path) -> str:
    """Read UTF-8 text. Raises UserError."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason})") from None


def read_json(path: Path) -> Any:
    """Read a JSON file. Raises UserError."""
    try:
        return json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not JSON ({one_line(error)})") from None


@dataclass(frozen=True)
class Line:
    """One line of a JSON Lines file: its number from 1, its offset in bytes, and the object in it."""

    number: int
    offset: int
    value: dict[str, Any]


def read_jsonl(path: Path, damage: Counter[str] | None = None) -> Iterator[Line]:
    """Yield the objects of a JSON Lines file in the memory of its longest line; blank lines are skipped.

    Args:
        damage: counts unreadable lines by kind (CUT, BROKEN, REPAIRED) instead of raising, for a file that a process is
            still writing or never finished.

    Raises:
        UserError: the file cannot be read, or without ``damage`` a line is not a JSON object.
    """
    offset = 0
    try:
        lines = path.open("rb")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    with lines:
        for number, line in enumerate(lines, 1):
            start, offset = offset, offset + len(line)
            if not line.strip():
                continue
            value, repaired = _decode_object(line)
            if damage is None and (value is None or repaired):
                raise UserError(f"{path}: line {number}: expected a JSON object in UTF-8")
            if value is None:
                damage[BROKEN if line.endswith(b"\n") else CUT] += 1
                continue
            if repaired:
                damage[REPAIRED] += 1
            yield Line(number, start, value)


def _decode_object(line: bytes) -> tuple[dict[str, Any] | None, bool]:
    try:
        value, repaired = decode_json(line)
    except ValueError:
        return None, False
    return (value, repaired) if isinstance(value, dict) else (None, False)


def decode_json(line: bytes) -> tuple[Any, bool]:
    """Decode one line of JSON, and say whether its bytes were repaired because they are not UTF-8.

    Raises:
        ValueError: the line is not JSON, or nested too deeply.
    """
    try:
        return orjson.loads(line), False
    except ValueError:
        pass
    # orjson refuses NaN, lone surrogates and bytes that are not UTF-8; verl's dumps may hold all three.
    text = line.decode("utf-8", "replace")
    try:
        return json.loads(text), "\ufffd" in text
    except RecursionError:
        raise ValueError("nested too deeply") from None


def describe_damage(path: Path, damage: Counter[str]) -> list[str]:
    """Return one sentence for each kind of damage that read_jsonl counted."""
    return [
        f"{path.name}: the last line is {what} and was left out"
        if what == CUT
        else f"{path.name}: {count:,} {'line is' if count == 1 else 'lines are'} {what}"
        for what, count in damage.items()
    ]


def one_line(value: object, width: int = 200) -> str:
    """Return a text, or an error's message (its class if it has none), on one line of at most ``width`` characters."""
    text = " ".join(str(value).split())
    return shorten(text or type(value).__name__, width)


def shorten(text: str, width: int) -> str:
    """Cut a text to ``width`` characters, the last of which is then an ellipsis."""
    return text if len(text) <= width else text[: width - 1] + "…"


def visible(text: str) -> str:
    """Write line breaks, and other characters that a terminal does not show as they are, as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def format_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a text table: the first column aligned left, the others, which hold numbers, aligned right."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def sparkline(values: Sequence[float]) -> str:
    """Draw values from 0 to 1 as a line of at most 64 bars; each bar is the mean of its values."""
    size = -(-len(values) // _BARS_WIDE)
    means = [sum(part) / len(part) for part in (values[at : at + size] for at in range(0, len(values), size or 1))]
    return "".join(_BARS[max(0, min(len(_BARS) - 1, int(mean * len(_BARS))))] for mean in means)


def show(text: str) -> None:
    """Print a text that may hold what the terminal's encoding cannot show, such as a model's response."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding))
