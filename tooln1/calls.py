"""Reading tool calls as data sets write them: ``[Tool Name(a=1, b='x'), Other()]``.

The names in such text may hold blanks, parentheses, commas, slashes, quotes and accents, so the text alone cannot say
where a name ends. It is therefore read against the row's own tool list: at each call the longest listed name that fits
wins. Values are Python literals plus JSON's true, false and null; nothing is ever evaluated. The reader goes over the
text once, so its time grows linearly with the text, and it stops at nesting and number sizes no real call has.

Not covered: whether the arguments fit the tool's schema. The calls of a data set are taken as they are written.
"""

import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from tooln1.literals import VALUE_REASONS, CallError, read_value, skip_blanks, step_over_comma
from tooln1.tool_schema import parameter_names
from tooln1.tools import TOOL_REASONS, normalize_tools, shown

REASONS = {
    "not_calls": "what stands in the place of the calls is not a list of calls",
    "prose": "the text starts with a bracket but is not a list of calls",
    "unknown_tool": "a call names a tool that is not in the row's list",
    "positional_argument": "an argument has no name",
    "repeated_argument": "an argument is given twice",
    "trailing_text": "something follows the list of calls",
    "malformed": "a comma or bracket is missing between calls",
    **VALUE_REASONS,
    **TOOL_REASONS,
}

ARGUMENT_KEYS = {"arguments", "parameters", "args", "input"}
_PLAIN_CALL = {"name", "arguments"}
# What may stand in a call besides its arguments.
_BESIDE_CALL = {"id", "type", "index", "call_id", "tool_call_id", "status", "cache_control"}
_EQUALS = re.compile(r"[ \t\r\n\f\v]*=(?!=)[ \t\r\n\f\v]*")
_OPEN = re.compile(r"[ \t\r\n\f\v]*\([ \t\r\n\f\v]*")
_ARGUMENT_NAME = re.compile(r"[^\W\d][\w$@.:/-]*")
_LOOKS_LIKE_CALL = re.compile(r"[^\[\](){}=\"'\n]{1,200}\(\s*(?:\)|[^\W\d][\w.-]*\s*=)")
# A value without a name counts right behind the tool's: "Weather (2023)" is prose.
_CALL_TAIL = re.compile(r"\s*\(\s*(?:\)|[^\W\d][\w.-]*\s*=)|\(\s*[\"'\d\[{]")


class CallReader:
    """Reads written calls against one tool list; make one per conversation and use it for every turn."""

    def __init__(self, tools: Iterable[Mapping[str, Any]]):
        """Take a list as `normalize_tools` returns it. Blanks around a listed name are not needed in a call."""
        self._by_letter: dict[str, list[tuple[str, str]]] = {}
        self._arguments: dict[str, list[str]] = {}
        for tool in tools:
            name = tool["name"]
            if name not in self._arguments:
                self._by_letter.setdefault(name.strip()[0], []).append((name.strip(), name))
            parameters = parameter_names(tool.get("parameters"))
            self._arguments[name] = sorted(filter(None, parameters), key=len, reverse=True)
        for entries in self._by_letter.values():
            entries.sort(key=lambda entry: len(entry[0]), reverse=True)
        self.names = frozenset(self._arguments)

    def read(self, text: str) -> list[dict[str, Any]]:
        """Return the calls as [{"name", "arguments"}, …]; "[]" gives an empty list.

        Raises:
            CallError: anything else than a finished list of calls to listed tools; never another exception.
        """
        start = skip_blanks(text, 0)
        if text[start : start + 1] != "[":
            raise CallError("not_calls", start)
        position = skip_blanks(text, start + 1)
        calls: list[dict[str, Any]] = []
        while text[position : position + 1] != "]":
            call, position = self._call(text, position, first=not calls)
            calls.append(call)
            position = step_over_comma(text, position, "]", "malformed")
        end = skip_blanks(text, position + 1)
        if end != len(text):
            raise CallError("trailing_text", end)
        return calls

    def mentions_call(self, text: str) -> bool:
        """Return whether a listed tool seems to be called somewhere in the text, for instance between sentences."""
        for entries in self._by_letter.values():
            for written, _ in entries:
                position = text.find(written)
                while position >= 0:
                    if _CALL_TAIL.match(text, position + len(written)):
                        return True
                    position = text.find(written, position + len(written))
        return False

    def _call(self, text: str, position: int, first: bool) -> tuple[dict[str, Any], int]:
        found = self._tool_at(text, position)
        if found is None:
            raise _no_tool(text, position, first)
        name, position = found
        arguments: dict[str, Any] = {}
        while text[position : position + 1] != ")":
            argument, position = self._argument_name(text, position, name)
            if argument in arguments:
                raise CallError("repeated_argument", position, f"argument {shown(argument)} is given twice")
            arguments[argument], position = read_value(text, position, self._tool_at)
            position = step_over_comma(text, position, ")", "bad_value")
        return {"name": name, "arguments": arguments}, position + 1

    def _tool_at(self, text: str, position: int) -> tuple[str, int] | None:
        """The longest listed name here that an opening parenthesis follows, and the place after that parenthesis."""
        for written, name in self._by_letter.get(text[position : position + 1], ()):
            if text.startswith(written, position) and (opened := _OPEN.match(text, position + len(written))):
                return name, opened.end()
        return None

    def _argument_name(self, text: str, position: int, tool: str) -> tuple[str, int]:
        for name in self._arguments[tool]:
            if text.startswith(name, position) and (equals := _EQUALS.match(text, position + len(name))):
                return name, equals.end()
        word = _ARGUMENT_NAME.match(text, position)
        equals = word and _EQUALS.match(text, word.end())
        if equals:
            return word.group(), equals.end()
        stopped = skip_blanks(text, word.end() if word else position)
        raise CallError("unfinished" if stopped == len(text) else "positional_argument", position)


def read_calls(text: str, tools: Any) -> list[dict[str, Any]]:
    """Read one text against a tool list in any shape that `normalize_tools` takes; see `CallReader.read`.

    Raises:
        CallError: the text is not a finished list of calls to listed tools.
        ToolListError: the tool list has no known shape.
    """
    return CallReader(normalize_tools(tools)).read(text)


def read_json_calls(
    value: Any, names: Collection[str], tidy: Callable[[str, Mapping[str, Any]], dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Return calls that a source writes as objects: one {"name", "arguments"}, or a list of them.

    `value` is text, JSON or a Python literal, or the decoded value; arguments may be such text once more, or absent.
    They may stand under another of ARGUMENT_KEYS, the call under "function", and an id beside it. `names` are the
    listed tools'. `tidy` gets a tool's name and arguments that are no text, and returns them as they should be.

    Raises:
        CallError: the value is no such list, it repeats a key, or it names a tool that is not listed.
    """
    decoded = _json_value(value)
    calls, has_objects = [], False
    for item in decoded if isinstance(decoded, list) else [decoded]:
        name, given = _name_and_arguments(item)
        arguments = given
        if isinstance(arguments, str):
            arguments = _json_value(arguments) if arguments.strip() else None
        elif arguments is not None:
            has_objects = True
        if arguments is not None and not isinstance(arguments, Mapping):
            raise CallError("bad_value", 0, f"expected an object of arguments, got {shown(arguments)}")
        if not isinstance(name, str) or name not in names:
            raise CallError("unknown_tool", 0, f"{shown(name)} is not in the tool list")
        if tidy and decoded is value and arguments is given:
            arguments = tidy(name, arguments or {})
        calls.append({"name": name, "arguments": dict(arguments or {})})
    if has_objects and decoded is value:
        _check_json(calls)
    return calls


def _name_and_arguments(item: Any) -> tuple[Any, Any]:
    if isinstance(item, str):
        item = _json_value(item)
    if not isinstance(item, Mapping):
        raise CallError("not_calls", 0, f"expected objects with name and arguments, got {shown(item)}")
    if isinstance(item.get("function"), Mapping):
        outer = {key: value for key, value in item.items() if key not in _BESIDE_CALL and key != "function"}
        item = {**outer, **item["function"]}
    if item.keys() == _PLAIN_CALL:
        return item["name"], item["arguments"]
    filled = {key for key, value in item.items() if value is not None and key not in _BESIDE_CALL}
    given = filled & ARGUMENT_KEYS
    if filled - given != {"name"} or len(given) > 1 or not item.keys() & ARGUMENT_KEYS:
        raise CallError("not_calls", 0, f"expected objects with name and arguments, got {', '.join(map(str, item))}")
    return item["name"], item[given.pop()] if given else None


def _check_json(calls: list[dict[str, Any]]) -> None:
    """Refuse what another source than JSON text may hold: dates, bytes, NaN, half a character."""
    try:
        json.dumps(calls, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise CallError("bad_value", 0, f"not a JSON value: {error}") from None


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json keeps the last of two equal keys and says nothing: one of the two values would be lost unseen.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise CallError("repeated_key", 0)
    return members


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise CallError("bad_number", 0, f"not a number JSON can hold: {shown(text)}")
    return number


# Made once: json.loads would set up a new decoder for every row.
_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_float=_finite, parse_constant=_finite)


def _json_value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        decoded, end = decode_at(text, 0)
    except CallError as error:
        if error.reason in ("repeated_key", "bad_number"):
            raise
        raise CallError("not_calls", error.position, "neither JSON nor a Python literal") from None
    if end != len(text):
        raise CallError("not_calls", end, f"text follows the calls: {shown(text[end:])}")
    return decoded


def decode_at(text: str, position: int, decoder: json.JSONDecoder = _DECODER) -> tuple[Any, int]:
    """Return the JSON value or Python literal that starts at a place of a text, and the place behind it.

    The default decoder refuses repeated keys and numbers that are not finite.

    Raises:
        CallError: there is none.
    """
    try:
        return decoder.raw_decode(text, position)
    except CallError:
        raise
    except (ValueError, RecursionError):
        return read_value(text, position, lambda text, position: None)


def _no_tool(text: str, position: int, first: bool) -> CallError:
    """Tell a call to an unlisted tool from a sentence in brackets, and both from text that just stops."""
    if position == len(text):
        return CallError("unfinished", position)
    found = f"no listed tool fits {shown(text[position : position + 60])}"
    closing = text.rstrip()
    ends_like_calls = closing.endswith("]") and closing[:-1].rstrip().endswith(")")
    if not first or ends_like_calls or _LOOKS_LIKE_CALL.match(text, position):
        return CallError("unknown_tool", position, found)
    return CallError("prose", position, found)
