"""Reading the rows of one big JSON array piece by piece, so that memory stays flat however long the file is.

json.loads would hold the whole file; ijson decodes one token at a time and takes several times as long. Here the C
decoder of the standard library reads one row after another out of a window on the file.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tooln1.errors import UserError

_WINDOW = 1 << 20
# Far more than any row has. A quote that is never closed would otherwise pull the whole file into memory.
_LONGEST_ROW = 64 << 20
_SPACE = re.compile(r"[ \t\r\n]*")
_UNDECODED = re.compile("[\udc80-\udcff]")
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_ROW_ENDS = re.compile(r"[ \t\r\n]*[,\]]")
_CUT = "; is the file cut?"


def read_json_array(path: Path, progress: Callable[[int], Any]) -> Iterator[Any]:
    """Yield each row of the array in the file, or a `UserError` in the place of one that cannot be decoded.

    Where a broken row ends is found by its brackets; when they do not match either, its error is the last item.
    `progress` is called with the number of bytes read.
    """
    with _Window(path, progress) as window:
        if window.peek() != "[":
            yield window.problem(f"starts with {window.peek()!r}; expected a JSON array of rows, or one object a line")
            return
        window.take()
        if window.peek() == "]":
            window.take()
        else:
            whole = yield from _rows(window)
            if not whole:
                return
        if window.peek():
            yield UserError("text follows the array of rows; expected nothing after its ']'")


def _rows(window: "_Window") -> Iterator[Any]:
    """Yield the rows up to the closing bracket; return whether it was reached."""
    while True:
        row = window.value()
        yield row
        if isinstance(row, UserError) and not window.skip_value():
            return False
        mark = window.peek()
        if mark not in (",", "]"):
            found = f"found {mark!r}" if mark else f"the file ends{_CUT}"
            yield window.problem(f"expected a comma before it, or ']' after the last row, but {found}")
            return False
        window.take()
        if mark == "]":
            return True


class _Window:
    """A piece of a text file that moves on as values are taken from its start."""

    def __init__(self, path: Path, progress: Callable[[int], Any]):
        self._file = open(path, "rb")  # closed by __exit__
        self._progress = progress
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._json = json.JSONDecoder()
        self._buffer = ""
        self._at = 0
        self._ended = False
        self._undecoded = False

    def __enter__(self) -> "_Window":
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def peek(self) -> str:
        """The next character that is not white space, "" at the end of the file."""
        while True:
            self._at = _SPACE.match(self._buffer, self._at).end()
            if self._at < len(self._buffer) or not self._more(_WINDOW):
                return self._buffer[self._at : self._at + 1]

    def take(self) -> None:
        self._at += 1

    def value(self) -> Any:
        """Decode the value here and move behind it; on a `UserError`, which is returned, stay."""
        self.peek()
        size = _WINDOW
        while True:
            try:
                value, end = self._json.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # An error near the window's edge may only mean that the value goes on beyond it.
                edge = error.pos > len(self._buffer) - 16 or error.msg.startswith("Unterminated string")
                if edge and len(self._buffer) - self._at < _LONGEST_ROW and self._more(size):
                    size *= 2
                    continue
                return self.problem(f"broken JSON ({error.msg}){_CUT if edge else ''}", error.pos)
            except (ValueError, RecursionError) as error:
                return self.problem(f"JSON that cannot be read ({error})")
            if self._undecoded and _UNDECODED.search(self._buffer, self._at, end):
                return self.problem("", end)
            self._at = end
            return value

    def problem(self, text: str, end: int | None = None) -> UserError:
        """What is wrong with the text from here to `end`: that it is not even UTF-8, or else `text`."""
        stop = self._at if end is None else end
        if self._undecoded and _UNDECODED.search(self._buffer, self._at, stop + 1):
            text = "not UTF-8 text; convert the file to UTF-8"
        return UserError(text)

    def skip_value(self) -> bool:
        """Move behind the object or array here, judging by its brackets alone; return whether one ends here."""
        depth, position = 0, self._at
        while len(self._buffer) - self._at < _LONGEST_ROW:
            for mark in _STRUCTURE.finditer(self._buffer, position):
                position = mark.end()
                depth += (mark.group() in "[{") - (mark.group() in "]}")
                if depth <= 0 and mark.group() in "]}":
                    return self._row_ended_at(position)
            consumed = self._at
            if not self._more(_WINDOW):
                return False
            position -= consumed
        return False

    def _row_ended_at(self, position: int) -> bool:
        self._at = position
        self.peek()
        return bool(_ROW_ENDS.match(self._buffer, self._at))

    def _more(self, size: int) -> bool:
        """Add to the window at its end what follows in the file, and drop what has been taken; False at the end."""
        if self._ended:
            return False
        data = self._file.read(size)
        self._progress(len(data))
        self._ended = not data
        self._buffer = self._buffer[self._at :] + self._decode(data)
        self._at = 0
        return True

    def _decode(self, data: bytes) -> str:
        state = self._decoder.getstate()
        try:
            return self._decoder.decode(data, self._ended)
        except UnicodeDecodeError:
            # From here on, what is not UTF-8 becomes single surrogates, so that the row that holds it can be named.
            self._undecoded = True
            self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
            self._decoder.setstate(state)
            return self._decoder.decode(data, self._ended)
