"""Reading the values of written calls: Python literals plus JSON's true, false and null. Nothing is ever evaluated.

The reader goes over the text once, so its time grows linearly with the text, and it stops at nesting and number sizes
no real value has.
"""

import math
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from tooln1.tools import Rejected, shown

MAX_DEPTH = 64
# Far below the 4,300 digits at which Python itself refuses to turn text into an integer.
MAX_NUMBER_LENGTH = 1000

VALUE_REASONS = {
    "name_as_value": "a value is a bare name",
    "call_as_value": "a value is itself a call",
    "bad_value": "a value is not a literal",
    "bad_string": "a string has a broken escape or half a character",
    "bad_number": "a number is malformed, too long or infinite",
    "bad_key": "an object has a key that is not a string",
    "repeated_key": "an object has the same key twice",
    "too_deep": f"a value is nested more than {MAX_DEPTH} levels deep",
    "unfinished": "the text ends inside a call",
}

_BLANKS = re.compile(r"[ \t\r\n\f\v]*")
_CALL_OPENS = re.compile(r"[ \t\r\n\f\v]*\(")
_WORD = re.compile(r"[^\W\d]\w*")
# Everything that could belong to a number; whether it is one, int() and float() decide.
_NUMBER = re.compile(r"([+-]?)[ \t]*((?:[0-9]|\.[0-9])[0-9A-Za-z_.]*(?:(?<=[eE])[+-][0-9_]+)?)")
_FLOAT = re.compile(r"[0-9_]*\.[0-9_]*(?:[eE][+-]?[0-9_]+)?|[0-9_]+[eE][+-]?[0-9_]+")
_STRING_BODY = {
    "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*", re.DOTALL),
    '"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL),
    "'''": re.compile(r"[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*", re.DOTALL),
    '"""': re.compile(r'[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*', re.DOTALL),
}
_ESCAPE = re.compile(
    r"\\(\r\n|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^{}]{1,100}\}|[0-7]{1,3}|.)", re.DOTALL
)
_SIMPLE_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "\n": "", "\r\n": "",
}  # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONSTANTS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}


class CallError(Rejected):
    """Raised when written calls cannot be read.

    `reason` is a key of `tooln1.calls.REASONS`, `position` the offset in the text at which reading stopped.
    """

    def __init__(self, reason: str, position: int, detail: str = ""):
        super().__init__(reason, f"{detail}, at character {position}" if detail else f"at character {position}")
        self.position = position


def skip_blanks(text: str, position: int) -> int:
    """Return the place of the next character that is not a blank."""
    return _BLANKS.match(text, position).end()


def step_over_comma(text: str, position: int, close: str, otherwise: str) -> int:
    """Step over a comma, or stay at the closing bracket; a comma before the bracket is allowed, as in Python.

    Raises:
        CallError: neither is here; the reason is `otherwise`, or "unfinished" at the end of the text.
    """
    position = skip_blanks(text, position)
    if text.startswith(",", position):
        return skip_blanks(text, position + 1)
    if text.startswith(close, position):
        return position
    raise CallError("unfinished" if position == len(text) else otherwise, position)


def read_value(text: str, position: int, is_call: Callable[[str, int], Any], depth: int = 0) -> tuple[Any, int]:
    """Return the value that starts at `position`, and the place behind it.

    `is_call` tells whether a call starts at a place of the text, for a precise reason: names may hold any character.

    Raises:
        CallError: there is no value here, or not all of one.
    """
    if depth > MAX_DEPTH:
        raise CallError("too_deep", position)
    character = text[position : position + 1]
    if character in ("'", '"'):
        return _string(text, position, position)
    if character == "[":
        return _items(text, position, "]", is_call, depth)
    if character == "(":
        return _tuple(text, position, is_call, depth)
    if character == "{":
        return _object(text, position, is_call, depth)
    if number := _NUMBER.match(text, position):
        return _number(number), number.end()
    return _name(text, position, is_call)


def _name(text: str, position: int, is_call: Callable[[str, int], Any]) -> tuple[Any, int]:
    if position == len(text):
        raise CallError("unfinished", position)
    if is_call(text, position):
        raise CallError("call_as_value", position)
    word = _WORD.match(text, position)
    if word is None:
        raise CallError("bad_value", position)
    if word.group() in _CONSTANTS:
        return _CONSTANTS[word.group()], word.end()
    if text[word.end() : word.end() + 1] in ("'", '"') and word.group() in ("r", "R", "u", "U"):
        return _string(text, position, word.end(), raw=word.group() in ("r", "R"))
    raise CallError("call_as_value" if _CALL_OPENS.match(text, word.end()) else "name_as_value", position)


def _items(
    text: str, position: int, close: str, is_call: Callable[[str, int], Any], depth: int
) -> tuple[list[Any], int]:
    items = []
    position = skip_blanks(text, position + 1)
    while text[position : position + 1] != close:
        item, position = read_value(text, position, is_call, depth + 1)
        items.append(item)
        position = step_over_comma(text, position, close, "bad_value")
    return items, position + 1


def _tuple(text: str, position: int, is_call: Callable[[str, int], Any], depth: int) -> tuple[Any, int]:
    """A tuple becomes a list, JSON having no other; parentheses around one value without a comma mean nothing."""
    items, end = _items(text, position, ")", is_call, depth)
    bare = len(items) == 1 and not text[position : end - 1].rstrip().endswith(",")
    return (items[0] if bare else items), end


def _object(text: str, position: int, is_call: Callable[[str, int], Any], depth: int) -> tuple[dict[str, Any], int]:
    members: dict[str, Any] = {}
    position = skip_blanks(text, position + 1)
    while text[position : position + 1] != "}":
        start = position
        key, position = read_value(text, position, is_call, depth + 1)
        if not isinstance(key, str):
            raise CallError("bad_key", start)
        if key in members:
            raise CallError("repeated_key", start)
        position = skip_blanks(text, position)
        if text[position : position + 1] != ":":
            raise CallError("unfinished" if position == len(text) else "bad_value", position)
        members[key], position = read_value(text, skip_blanks(text, position + 1), is_call, depth + 1)
        position = step_over_comma(text, position, "}", "bad_value")
    return members, position + 1


def _string(text: str, start: int, quote_at: int, raw: bool = False) -> tuple[str, int]:
    quote = text[quote_at]
    if text.startswith(quote * 3, quote_at):
        quote *= 3
    # An ordinary string may hold a line break: data sets write it so, although Python does not allow it.
    body = _STRING_BODY[quote].match(text, quote_at + len(quote))
    end = body.end() + len(quote)
    if not text.startswith(quote, body.end()):
        raise CallError("unfinished", start)
    value = body.group()
    if "\\" in value and not raw:
        value = _ESCAPE.sub(lambda escape: _unescape(escape, start), value)
    if _SURROGATE.search(value):
        try:
            # JSON-minded sources write an emoji as two \u escapes, which belong together.
            value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise CallError("bad_string", start, "a string holds half a character") from None
    return value, end


def _unescape(escape: re.Match[str], start: int) -> str:
    code = escape.group(1)
    if code in _SIMPLE_ESCAPES:
        return _SIMPLE_ESCAPES[code]
    if code.startswith("N{"):
        try:
            return unicodedata.lookup(code[2:-1])
        except KeyError:
            raise CallError("bad_string", start, f"no character has the name {code[2:-1]}") from None
    if len(code) > 1 and code[0] in "xuU":
        number = int(code[1:], 16)
        if number > 0x10FFFF:
            raise CallError("bad_string", start, f"no character has the number {code}")
        return chr(number)
    if code[0] in "01234567":
        return chr(int(code, 8))
    if code in ("x", "u", "U", "N"):
        raise CallError("bad_string", start, f"broken escape \\{code}")
    return escape.group()


def _number(token: re.Match[str]) -> int | float:
    sign, body = token.groups()
    if len(body) > MAX_NUMBER_LENGTH:
        raise CallError("bad_number", token.start(), f"a number of {len(body)} characters")
    try:
        # Base 0: as in Python source, where 0x1F is a number and 007 is none.
        value = float(body) if _FLOAT.fullmatch(body) else int(body, 0)
    except ValueError:
        value = math.nan
    if isinstance(value, float) and not math.isfinite(value):
        raise CallError("bad_number", token.start(), f"not a number JSON can hold: {shown(body)}")
    return -value if sign == "-" else value
