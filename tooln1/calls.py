"""Reading and writing of tool calls as data sets write them: ``[Tool Name(a=1, b='x'), Other()]``.

The names in such text may hold blanks, parentheses, commas, slashes, quotes and accents, so the text alone cannot say
where a name ends. It is therefore read against the row's own tool list: at each call the longest listed name that fits
wins. Values are Python literals plus JSON's true, false and null; nothing is ever evaluated. The reader goes over the
text once, so its time grows linearly with the text, and it stops at nesting and number sizes no real call has.

Not covered: whether the arguments suit the tool's schema. A data set's reference calls are taken as they are written.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

MAX_DEPTH = 64
# Far below the 4,300 digits at which Python itself refuses to turn text into an integer.
MAX_NUMBER_LENGTH = 1000

REASONS = {
    "not_calls": "the text does not start with a bracket",
    "prose": "the text starts with a bracket but is not a list of calls",
    "unknown_tool": "a call names a tool that is not in the row's list",
    "positional_argument": "an argument has no name",
    "repeated_argument": "an argument is given twice",
    "name_as_value": "a value is a bare name",
    "call_as_value": "a value is itself a call",
    "bad_value": "a value is not a literal",
    "bad_string": "a string has a broken escape or half a character",
    "bad_number": "a number is malformed, too long or infinite",
    "bad_key": "an object has a key that is not a string",
    "repeated_key": "an object has the same key twice",
    "too_deep": f"a value is nested more than {MAX_DEPTH} levels deep",
    "unfinished": "the text ends inside a call",
    "trailing_text": "something follows the list of calls",
    "malformed": "a comma or bracket is missing between calls",
    "tools_not_json": "the tool list is not JSON",
    "tools_not_list": "the tool list is neither a list nor an object",
    "bad_tool": "a tool is not an object with a name",
    "bad_parameters": "a tool's parameters are not an object",
}


class Rejected(ValueError):
    """A piece of source text cannot be used; `reason` is a key of `REASONS`, `detail` says what was found."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(f"{reason}: {detail or REASONS[reason]}")
        self.reason = reason
        self.detail = detail


class CallError(Rejected):
    """Raised when written calls cannot be read; `position` is the offset in the text at which reading stopped."""

    def __init__(self, reason: str, position: int, detail: str = ""):
        super().__init__(reason, f"{detail or REASONS[reason]}, at character {position}")
        self.position = position


class ToolListError(Rejected):
    """Raised when a tool list cannot be brought into the common shape."""


def normalize_tools(tools: Any) -> list[dict[str, Any]]:
    """Bring a tool list into one shape: {"name", "description", "parameters", further keys}.

    Understood are ToolACE's parameters ({"type": "dict", "properties": …}), xLAM's flat ones ({parameter: {…}}),
    OpenAI's {"type": "function", "function": {…}}, one tool instead of a list, and JSON text of any of these.
    `parameters` always becomes {"type", "properties", …}; the descriptions of single parameters stay as written, as a
    type such as "List[int], optional" says more than any JSON Schema type could. Normalising twice changes nothing.

    Raises:
        ToolListError: the list, or a tool in it, has none of these shapes.
    """
    if isinstance(tools, str):
        tools = _decode(tools)
    if isinstance(tools, Mapping):
        tools = [tools]
    if not isinstance(tools, list | tuple):
        raise ToolListError("tools_not_list", f"expected a list of tools, got {_short(tools)}")
    return [_normalize_tool(tool) for tool in tools]


def _normalize_tool(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, Mapping):
        raise ToolListError("bad_tool", f"expected an object with a name, got {_short(tool)}")
    if isinstance(tool.get("function"), Mapping):
        outer = {key: value for key, value in tool.items() if key not in ("type", "function")}
        tool = {**outer, **tool["function"]}
    name = tool.get("name")
    if not isinstance(name, str) or not name.strip():
        raise ToolListError("bad_tool", f"expected a tool with a name, got {_short(dict(tool))}")
    parameters = _normalize_parameters(name, tool.get("parameters"))
    rest = {key: value for key, value in tool.items() if key not in ("name", "description", "parameters")}
    # ToolACE has a second "required" beside the parameters, nearly always null.
    required = rest.get("required")
    if required is None:
        rest.pop("required", None)
    elif "required" not in parameters:
        parameters["required"] = rest.pop("required")
    return {"name": name, "description": tool.get("description") or "", "parameters": parameters, **rest}


def _normalize_parameters(name: str, parameters: Any) -> dict[str, Any]:
    if isinstance(parameters, str):
        parameters = _decode(parameters)
    if parameters is None:
        parameters = {}
    if not isinstance(parameters, Mapping):
        raise ToolListError("bad_parameters", f"tool {name!r}: expected an object, got {_short(parameters)}")
    if not _is_schema(parameters):
        return {"type": "object", "properties": dict(parameters)}
    kind = "object" if parameters.get("type", "dict") == "dict" else parameters["type"]
    rest = {key: value for key, value in parameters.items() if key not in ("type", "properties")}
    if rest.get("required", ()) is None:
        del rest["required"]
    return {"type": kind, "properties": dict(parameters.get("properties") or {}), **rest}


def _is_schema(parameters: Mapping[str, Any]) -> bool:
    """Whether this describes an object, rather than being flat with parameters called "type" or "properties"."""
    properties = parameters.get("properties")
    if isinstance(parameters.get("type"), str):
        return isinstance(properties, Mapping | None)
    if "type" in parameters or not isinstance(properties, Mapping):
        return False
    return all(isinstance(value, Mapping) for value in properties.values())


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ToolListError("tools_not_json", f"not JSON: {error}") from None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


_BLANKS = re.compile(r"[ \t\r\n\f\v]*")
_EQUALS = re.compile(r"[ \t\r\n\f\v]*=(?!=)[ \t\r\n\f\v]*")
_OPEN = re.compile(r"[ \t\r\n\f\v]*\([ \t\r\n\f\v]*")
_ARGUMENT_NAME = re.compile(r"[^\W\d][\w$@.:/-]*")
_WORD = re.compile(r"[^\W\d]\w*")
# Everything that could belong to a number; whether it is one, int() and float() decide.
_NUMBER = re.compile(r"([+-]?)[ \t]*((?:[0-9]|\.[0-9])[0-9A-Za-z_.]*(?:(?<=[eE])[+-][0-9_]+)?)")
_STRING_BODY = {
    "'": re.compile(r"[^'\\]*(?:\\.[^'\\]*)*", re.DOTALL),
    '"': re.compile(r'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL),
    "'''": re.compile(r"[^'\\]*(?:(?:\\.|'(?!''))[^'\\]*)*", re.DOTALL),
    '"""': re.compile(r'[^"\\]*(?:(?:\\.|"(?!""))[^"\\]*)*', re.DOTALL),
}
_ESCAPE = re.compile(r"\\(\r\n|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)", re.DOTALL)
_SIMPLE_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "\n": "", "\r\n": "",
}  # fmt: skip
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONSTANTS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_LOOKS_LIKE_CALL = re.compile(r"[^\[\](){}=\"'\n]{1,200}\(\s*(?:\)|[^\W\d][\w.-]*\s*=)")
_CALL_TAIL = re.compile(r"\s*\(\s*(?:\)|[^\W\d][\w.-]*\s*=)")


class CallReader:
    """Reads written calls against one tool list; make one per conversation and use it for every turn."""

    def __init__(self, tools: Iterable[Mapping[str, Any]]):
        """Take a list as `normalize_tools` returns it. Blanks around a listed name are not needed in a call."""
        self._names: dict[str, list[tuple[str, str]]] = {}
        self._arguments: dict[str, list[str]] = {}
        for tool in tools:
            name = tool["name"]
            if name not in self._arguments:
                self._names.setdefault(name.strip()[0], []).append((name.strip(), name))
            properties = tool.get("parameters", {}).get("properties", {})
            self._arguments[name] = sorted((key for key in properties if key), key=len, reverse=True)
        for entries in self._names.values():
            entries.sort(key=lambda entry: len(entry[0]), reverse=True)

    def read(self, text: str) -> list[dict[str, Any]]:
        """Return the calls as [{"name", "arguments"}, …]; "[]" gives an empty list.

        Raises:
            CallError: anything else than a finished list of calls to listed tools; never another exception.
        """
        start = _skip(text, 0)
        if text[start : start + 1] != "[":
            raise CallError("not_calls", start)
        position = _skip(text, start + 1)
        calls: list[dict[str, Any]] = []
        while text[position : position + 1] != "]":
            call, position = self._call(text, position, first=not calls)
            calls.append(call)
            position = _separator(text, position, "]", "malformed")
        end = _skip(text, position + 1)
        if end != len(text):
            raise CallError("trailing_text", end)
        return calls

    def read_json(self, value: Any) -> list[dict[str, Any]]:
        """Return calls that a source writes as JSON objects: one {"name", "arguments"}, or a list of them.

        `value` is JSON text or the decoded value; arguments may be JSON text once more.

        Raises:
            CallError: the value is no such list, or it names a tool that is not listed.
        """
        value = _json_value(value)
        calls = []
        for item in value if isinstance(value, list) else [value]:
            if not isinstance(item, Mapping) or set(item) != {"name", "arguments"}:
                raise CallError("not_calls", 0, "expected objects with name and arguments")
            arguments = _json_value(item["arguments"]) if isinstance(item["arguments"], str) else item["arguments"]
            if not isinstance(arguments, Mapping):
                raise CallError("bad_value", 0, f"expected an object of arguments, got {_short(arguments)}")
            if not isinstance(item["name"], str) or item["name"] not in self._arguments:
                raise CallError("unknown_tool", 0, f"{_short(item['name'])} is not in the tool list")
            calls.append({"name": item["name"], "arguments": dict(arguments)})
        try:
            json.dumps(calls, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, TypeError, RecursionError) as error:
            raise CallError("bad_value", 0, f"not a JSON value: {error}") from None
        return calls

    def mentions_call(self, text: str) -> bool:
        """Whether a listed tool seems to be called somewhere in the text, for instance between sentences."""
        for entries in self._names.values():
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
                raise CallError("repeated_argument", position, f"argument {_short(argument)} is given twice")
            arguments[argument], position = self._value(text, position, 0)
            position = _separator(text, position, ")", "bad_value")
        return {"name": name, "arguments": arguments}, position + 1

    def _tool_at(self, text: str, position: int) -> tuple[str, int] | None:
        """The longest listed name here that an opening parenthesis follows, and the place after that parenthesis."""
        for written, name in self._names.get(text[position : position + 1], ()):
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
        stopped = _skip(text, word.end() if word else position)
        raise CallError("unfinished" if stopped == len(text) else "positional_argument", position)

    def _value(self, text: str, position: int, depth: int) -> tuple[Any, int]:
        if depth > MAX_DEPTH:
            raise CallError("too_deep", position)
        character = text[position : position + 1]
        if character in ("'", '"'):
            return _string(text, position, position)
        if character == "[":
            return self._items(text, position, "]", depth)
        if character == "(":
            return self._tuple(text, position, depth)
        if character == "{":
            return self._object(text, position, depth)
        if number := _NUMBER.match(text, position):
            return _number(number), number.end()
        return self._name(text, position)

    def _name(self, text: str, position: int) -> tuple[Any, int]:
        if position == len(text):
            raise CallError("unfinished", position)
        if self._tool_at(text, position):
            raise CallError("call_as_value", position)
        word = _WORD.match(text, position)
        if word is None:
            raise CallError("bad_value", position)
        if word.group() in _CONSTANTS:
            return _CONSTANTS[word.group()], word.end()
        if text[word.end() : word.end() + 1] in ("'", '"') and word.group() in ("r", "R", "u", "U"):
            return _string(text, position, word.end(), raw=word.group() in ("r", "R"))
        raise CallError("call_as_value" if _OPEN.match(text, word.end()) else "name_as_value", position)

    def _items(self, text: str, position: int, close: str, depth: int) -> tuple[list[Any], int]:
        items = []
        position = _skip(text, position + 1)
        while text[position : position + 1] != close:
            item, position = self._value(text, position, depth + 1)
            items.append(item)
            position = _separator(text, position, close, "bad_value")
        return items, position + 1

    def _tuple(self, text: str, position: int, depth: int) -> tuple[Any, int]:
        """A tuple becomes a list, JSON having no other; parentheses around one value without a comma mean nothing."""
        items, end = self._items(text, position, ")", depth)
        bare = len(items) == 1 and not text[position : end - 1].rstrip().endswith(",")
        return (items[0] if bare else items), end

    def _object(self, text: str, position: int, depth: int) -> tuple[dict[str, Any], int]:
        members: dict[str, Any] = {}
        position = _skip(text, position + 1)
        while text[position : position + 1] != "}":
            start = position
            key, position = self._value(text, position, depth + 1)
            if not isinstance(key, str):
                raise CallError("bad_key", start)
            if key in members:
                raise CallError("repeated_key", start)
            position = _skip(text, position)
            if text[position : position + 1] != ":":
                raise CallError("unfinished" if position == len(text) else "bad_value", position)
            members[key], position = self._value(text, _skip(text, position + 1), depth + 1)
            position = _separator(text, position, "}", "bad_value")
        return members, position + 1


def read_calls(text: str, tools: Any) -> list[dict[str, Any]]:
    """Read one text against a tool list in any shape that `normalize_tools` takes; see `CallReader.read`.

    Raises:
        CallError: the text is not a finished list of calls to listed tools.
        ToolListError: the tool list has no known shape.
    """
    return CallReader(normalize_tools(tools)).read(text)


def write_calls(calls: Iterable[Mapping[str, Any]]) -> str:
    """Write calls the way ToolACE does, so that `read_calls` gives them back.

    Raises:
        ValueError: a value is not JSON.
    """
    return "[" + ", ".join(f"{call['name']}({_write_arguments(call['arguments'])})" for call in calls) + "]"


def _write_arguments(arguments: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={json.dumps(value, ensure_ascii=False, allow_nan=False)}" for name, value in arguments.items()
    )


def _json_value(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise CallError("not_calls", 0, f"not JSON: {error}") from None


def _skip(text: str, position: int) -> int:
    return _BLANKS.match(text, position).end()


def _separator(text: str, position: int, close: str, otherwise: str) -> int:
    """Step over a comma, or stay at the closing bracket; a comma before the bracket is allowed, as in Python."""
    position = _skip(text, position)
    if text.startswith(",", position):
        return _skip(text, position + 1)
    if text.startswith(close, position):
        return position
    raise CallError("unfinished" if position == len(text) else otherwise, position)


def _no_tool(text: str, position: int, first: bool) -> CallError:
    """Tell a call to an unlisted tool from a sentence in brackets, and both from text that just stops."""
    if position == len(text):
        return CallError("unfinished", position)
    found = f"no listed tool fits {_short(text[position : position + 60])}"
    closing = text.rstrip()
    ends_like_calls = closing.endswith("]") and closing[:-1].rstrip().endswith(")")
    if not first or ends_like_calls or _LOOKS_LIKE_CALL.match(text, position):
        return CallError("unknown_tool", position, found)
    return CallError("prose", position, found)


def _string(text: str, start: int, quote_at: int, raw: bool = False) -> tuple[str, int]:
    quote = text[quote_at]
    if text.startswith(quote * 3, quote_at):
        quote *= 3
    # A line break may stand in an ordinary string too: data sets write it there, although Python would not.
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
        # Base 0 means: as in Python source, so 0x1F is read and 007 is not.
        value: int | float = int(body, 0)
    except ValueError:
        value = _float(body, token)
    return -value if sign == "-" else value


def _float(body: str, token: re.Match[str]) -> float:
    try:
        # Without this test 007 would come back as 7.0.
        value = float(body) if re.search("[.eE]", body) else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise CallError("bad_number", token.start(), f"not a number JSON can hold: {_short(body)}")
    return value
