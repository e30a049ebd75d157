"""Reading a benchmark's files, with errors that say where they are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tooln1.errors import UserError


def read_text(path: Path) -> str:
    """Return a file's text.

    Raises:
        UserError: it cannot be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text ({error.reason})") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for the lines of a file, blank ones left out.

    Raises:
        UserError: the file cannot be read, or a line is not a JSON object.
    """
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield number, _object(line, f"{path}: line {number}")


def read_json_list(path: Path) -> list[Any]:
    """Return the list a JSON file holds.

    Raises:
        UserError: the file cannot be read, or holds no list.
    """
    try:
        found = json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error})") from None
    if not isinstance(found, list):
        raise UserError(f"{path}: expected a JSON list")
    return found


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise UserError(f"{where}: expected a JSON object")
    return found
