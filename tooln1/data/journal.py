"""The replies of an endpoint on disk, one JSON line each, written as they come: a killed run goes on where it was."""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tooln1.data.errors import DataError

_TOKENS = ("input_tokens", "output_tokens")


class Journal:
    """A file of replies, open for adding to it; use it in a with block.

    The first line holds the settings that replies depend on. What a kill has left of a last line is cut off.
    `asked` counts the replies to each prompt, `rewarded` holds the prompts with one that earned the reward.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        """Open the file, or make it.

        Raises:
            DataError: it cannot be used, another process writes it, or its replies were made with other settings.
        """
        self.path = Path(path)
        self.asked: Counter[str] = Counter()
        self.rewarded: set[str] = set()
        self.tokens: Counter[str] = Counter(dict.fromkeys(_TOKENS, 0))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = open(self.path, "a+b")
            self._lock()
            self._resume(dict(settings))
        except OSError as error:
            raise DataError(f"{path}: cannot be used ({error.strerror or error})") from None

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def add(self, line: Mapping[str, Any]) -> None:
        """Write one reply: {"prompt", "reply", "reward", "input_tokens", "output_tokens", …}.

        Raises:
            DataError: it cannot be written.
        """
        self._count(line)
        self._write(line)

    def _lock(self) -> None:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataError(f"{self.path}: another process writes it; wait for it, or choose another folder") from None

    def _resume(self, settings: dict[str, Any]) -> None:
        self._file.seek(0)
        whole = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            whole += len(line)
            found = self._decode(number, line)
            if number > 1:
                self._count(found)
            elif found.get("settings") != settings:
                raise DataError(
                    f"{self.path}: its replies were made with {json.dumps(found.get('settings'))}, this run asks with "
                    f"{json.dumps(settings)}; choose another --output"
                )
        os.ftruncate(self._file.fileno(), whole)
        if not whole:
            self._write({"settings": settings})

    def _decode(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
            if "settings" in found or {"prompt", "reply", "reward"} <= found.keys():
                return found
        except (ValueError, TypeError, AttributeError):
            pass
        raise DataError(f"{self.path}: line {number}: not a reply; mend or remove the line, or choose another --output")

    def _count(self, line: Mapping[str, Any]) -> None:
        self.asked[line["prompt"]] += 1
        if line["reward"] == 1:
            self.rewarded.add(line["prompt"])
        for name in _TOKENS:
            self.tokens[name] += line.get(name) or 0

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written ({error.strerror or error})") from None
