"""The replies of an endpoint on disk, one JSON line each, written as they come: a killed run goes on where it was."""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tooln1.errors import UserError

_TOKENS = ("input_tokens", "output_tokens")
_File = TypeVar("_File", bound="ReplyFile")


class ReplyFile:
    """A file of replies, open for adding to it by one process at a time; use it in a with block.

    The first line holds the settings that replies depend on. What a kill has left of a last line is cut off. A subclass
    names the keys of a reply's line in `_keys`, and `_count` sees each line that is read or added.
    """

    _keys: frozenset[str]

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        """Open the file, or make it.

        Raises:
            UserError: it cannot be used, another process writes it, or its replies were made with other settings.
        """
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = open(self.path, "a+b")
            self._lock()
            self._resume(dict(settings))
        except OSError as error:
            raise UserError(f"{path}: cannot be used ({error.strerror or error})") from None

    def __enter__(self: "_File") -> "_File":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def add(self, line: Mapping[str, Any]) -> None:
        """Write one reply, an object with `_keys` and more.

        Raises:
            UserError: it cannot be written.
        """
        self._count(line)
        self._write(line)

    def _lock(self) -> None:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{self.path}: another process writes it; wait for it, or choose another folder") from None

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
                raise UserError(
                    f"{self.path}: its replies were made with {_different(found.get('settings'), settings)}, this run "
                    f"asks with {_different(settings, found.get('settings'))}; choose another --output"
                )
        os.ftruncate(self._file.fileno(), whole)
        if not whole:
            self._write({"settings": settings})

    def _decode(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
            if "settings" in found or self._keys <= found.keys():
                return found
        except (ValueError, TypeError, AttributeError):
            pass
        raise UserError(f"{self.path}: line {number}: not a reply; mend or remove the line, or choose another --output")

    def _count(self, line: Mapping[str, Any]) -> None:
        raise NotImplementedError

    def _write(self, line: Mapping[str, Any]) -> None:
        try:
            self._file.write(json.dumps(line).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written ({error.strerror or error})") from None


class Journal(ReplyFile):
    """Replies to prompts, {"prompt", "reply", "reward", "input_tokens", "output_tokens", …}.

    `asked` counts the replies to each prompt, `rewarded` holds the prompts with one that earned the reward.
    """

    _keys = frozenset({"prompt", "reply", "reward"})

    def __init__(self, path: str | Path, settings: Mapping[str, Any]):
        """As for `ReplyFile`."""
        self.asked: Counter[str] = Counter()
        self.rewarded: set[str] = set()
        self.tokens: Counter[str] = Counter(dict.fromkeys(_TOKENS, 0))
        super().__init__(path, settings)

    def _count(self, line: Mapping[str, Any]) -> None:
        self.asked[line["prompt"]] += 1
        if line["reward"] == 1:
            self.rewarded.add(line["prompt"])
        for name in _TOKENS:
            self.tokens[name] += line.get(name) or 0


def _different(settings: Any, other: Any) -> str:
    """The settings in which the first differ from the others, as JSON."""
    if not isinstance(settings, dict) or not isinstance(other, dict):
        return json.dumps(settings)
    return json.dumps({key: value for key, value in settings.items() if key not in other or other[key] != value})
