"""The responses of an endpoint on disk, one JSON line each, written as they arrive: a killed run resumes from there."""

import fcntl
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.files import read_jsonl, writing


class ResponseLog:
    """A file of responses to which one process at a time appends; use it in a with block.

    The first line holds the settings that the responses depend on. A last line that a kill cut short is removed on
    opening.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], keys: Collection[str]):
        """Open the file, or make it; `keys` are those that every line has.

        Raises UserError if the file cannot be used, another process writes it, or it belongs to other settings.
        """
        self.path = Path(path)
        self._keys = frozenset(keys)
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b")
        try:
            # flock, not lockf: a lockf lock ends as soon as this process closes any other handle of the file.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{self.path}: another process writes it; wait for it, or choose another folder") from None
        if self._remove_unfinished_line():
            self._check_settings(dict(settings))
        else:
            ResponseLog.add(self, {"settings": settings})  # a subclass counts what it adds

    def __enter__(self) -> "ResponseLog":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the responses. Raises UserError for a line that is none."""
        for line in read_jsonl(self.path):
            if line.number > 1:
                if not self._keys <= line.value.keys():
                    raise UserError(f"{self.path}: line {line.number}: not a response; remove the line")
                yield line.value

    def add(self, line: Mapping[str, Any]) -> None:
        """Append one response. Raises UserError if it cannot be written."""
        with writing(self.path):
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()

    def _remove_unfinished_line(self) -> int:
        self._file.seek(0)
        size = sum(len(line) for line in self._file if line.endswith(b"\n"))
        os.ftruncate(self._file.fileno(), size)
        return size

    def _check_settings(self, settings: dict[str, Any]) -> None:
        first = next(read_jsonl(self.path), None)
        found = first and first.value.get("settings")
        if not isinstance(found, dict):
            raise UserError(f"{self.path}: line 1: not the settings of a response log; choose another --output")
        if found != settings:
            raise UserError(
                f"{self.path}: its responses were made with {_difference(found, settings)}, "
                f"this run uses {_difference(settings, found)}; choose another --output"
            )


def _difference(settings: dict[str, Any], other: dict[str, Any]) -> str:
    """The settings that differ from the others, as JSON."""
    return json.dumps({key: value for key, value in settings.items() if key not in other or other[key] != value})
