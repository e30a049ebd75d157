"""A conversation with tools in one shape, and what the dialects of data sets share: keys, roles, texts."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tooln1.calls import CallReader
from tooln1.errors import UserError
from tooln1.tools import Rejected, shown

MESSAGE_KEYS = ("messages", "conversations", "conversation", "dialog", "dialogue", "dialogs", "turns")
# Some rows have the request and the response apart: TRL's and OpenAI's Responses.
SPLIT_KEYS = (("prompt", "completion"), ("input", "output"))
TOOL_KEYS = ("tools", "functions", "available_tools", "available_functions", "tool_list", "function_description")
_SYSTEM_KEYS = ("system", "system_prompt", "system_message", "instructions")
_ROLES = {
    "system": "system developer",
    "user": "user human",
    "assistant": "assistant gpt model bot ai chatbot",
    "tool": "tool observation tool_response tool_result function_response function_result function ipython "
    "environment function_call_output",
    "call": "function_call tool_call function_calls tool_calls",
    # A prompt holds no reasoning of the source: the model writes its own before each call.
    "reasoning": "reasoning",
}
ROLES = {name: role for role, names in _ROLES.items() for name in names.split()}

# An assistant's message may have calls under a key that no dialect reads.
_CALLS_KEY = re.compile(r"(?:call|tool|function|action)(?!.*_id$)", re.IGNORECASE)
_CONTENT_KEYS = ("value", "text", "output")
# With 0 or false there, the makers of fine-tuning files keep a message from being learned.
_WEIGHT_KEYS = ("weight", "loss", "train")
_PLAIN_KEYS = {"role", "content", "from", "value", *TOOL_KEYS}
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal", None)
_REASONING_PARTS = ("thinking", "redacted_thinking", "reasoning")
_REASONING = re.compile(r"<(/?)(think|thinking|scratch_pad|reasoning)>", re.IGNORECASE)


@dataclass
class Turn:
    """One turn; `position` is its place in the source, `ids` those of its calls, or of the call that a tool answers.

    `calls` are what `tooln1.calls.read_json_calls` takes while a dialect reads, and what it returns afterwards; None if
    the turn calls nothing. `rejected` says why the turn cannot be used, `is_context` that it is not to be learned.
    """

    role: str
    text: str
    position: int = 0
    calls: Any = None
    ids: Sequence[str] = ()
    rejected: Rejected | None = None
    is_context: bool = False


@dataclass
class Conversation:
    """A source's row in one shape: normalised tools, what the system says besides them, and the turns.

    `rejected` says why the tool list cannot be read.
    """

    turns: list[Turn]
    dialect: str
    tools: Sequence[Mapping[str, Any]] = ()
    context: str = ""
    rejected: Rejected | None = None


@dataclass
class Message:
    """A message as the source has it; `role` is one of _ROLES."""

    role: str
    content: Any
    fields: Mapping[str, Any]
    position: int

    def turn(self, **changes: Any) -> Turn:
        """Return the message as a turn; one with more than text in it is rejected."""
        turn = Turn("assistant" if self.role == "call" else self.role, "", self.position, **changes)
        try:
            turn.text = text_of(self.content, self.role == "tool")
            if turn.role == "assistant":
                turn.is_context = any(self.fields.get(key) in (0, False) for key in _WEIGHT_KEYS)
                if turn.calls is None:
                    self._refuse_unread_calls()
        except Rejected as error:
            turn.text, turn.rejected = shown(self.fields), error
        return turn

    def _refuse_unread_calls(self) -> None:
        for key in self.fields.keys() - _PLAIN_KEYS:
            if _CALLS_KEY.search(key) and is_filled(self.fields[key]):
                raise Rejected("other_writing", f"{key}: {shown(self.fields[key])}")


@dataclass
class Record:
    """A row of a source, read under any of the keys that data sets use.

    Raises UserError for a row, or a message in it, that is no object.
    """

    row: Any

    def __post_init__(self) -> None:
        if not isinstance(self.row, Mapping):
            raise UserError(f"expected an object, found {type(self.row).__name__}")

    def become(self, row: Mapping[str, Any]) -> None:
        """Take another row's place, for a dialect that wraps one."""
        self.row = row
        for name in ("messages", "texts"):
            self.__dict__.pop(name, None)

    def first(self, keys: Sequence[str]) -> Any:
        """Return the value under the first of these keys that holds anything; the first system message may hold it."""
        found = _first(self.row, keys)
        if found is None and self.messages and self.messages[0].role == "system":
            found = _first(self.messages[0].fields, keys)
        return found

    @property
    def system(self) -> str:
        """The system text that stands beside the messages. Raises Rejected for anything else than text."""
        return text_of(_first(self.row, _SYSTEM_KEYS))

    @cached_property
    def messages(self) -> list[Message]:
        """The messages; empty if there are none. Raises UserError."""
        found = next((rows for key in MESSAGE_KEYS if (rows := _message_list(self.row.get(key))) is not None), None)
        for keys in SPLIT_KEYS if found is None else ():
            parts = [_message_list(self.row.get(key)) for key in keys]
            if any(parts):
                found = [message for part, key in zip(parts, keys, strict=True) for message in part or self._said(key)]
        messages = (_message(number, message) for number, message in enumerate(found or []))
        return [message for message in messages if message.role != "reasoning"]

    def _said(self, key: str) -> list[dict[str, Any]]:
        text = self.row.get(key)
        role = "assistant" if key in ("completion", "output") else "user"
        return [{"role": role, "content": text}] if isinstance(text, str) and text else []

    @cached_property
    def texts(self) -> list[str]:
        """What the system says first, and what the assistant says without its reasoning."""
        texts = [message.content for message in self.messages if message.role in ("assistant", "call")]
        texts += [message.content for message in self.messages[:1] if message.role == "system"]
        return [without_reasoning(text) for text in (*texts, self.row.get("system")) if isinstance(text, str)]


def _first(holder: Mapping[str, Any], keys: Sequence[str]) -> Any:
    return next((holder[key] for key in keys if key in holder and is_filled(holder[key])), None)


def _message_list(value: Any) -> list[Any] | None:
    value = decoded(value)
    return value if isinstance(value, list) else None


def _message(number: int, message: Any) -> Message:
    named = isinstance(message, dict) and (message.get("role") or message.get("from") or message.get("type"))
    if not isinstance(named, str):
        expected = 'an object with "role" and "content", or "from" and "value"'
        raise UserError(f"turn {number}: expected {expected}, found {shown(message)}")
    role = ROLES.get(named) or _role(named.strip().lower().replace("-", "_"))
    if role is None:
        raise UserError(f"turn {number}: expected a role of {', '.join(ROLES)}, found {named!r}")
    content = message.get("content")
    if content is None:
        content = next((message[key] for key in _CONTENT_KEYS if message.get(key) is not None), None)
        if content is None and role in ("user", "tool") and not message.keys() & {"content", *_CONTENT_KEYS}:
            raise UserError(f'turn {number}: expected "content" or "value", found {shown(message)}')
    return Message(role, content, message, number)


def _role(name: str) -> str | None:
    # The Responses API names its items by what they are, for instance web_search_call.
    return ROLES.get(name) or ("call" if name.endswith("_call") else "tool" if name.endswith("_output") else None)


def decoded(value: Any) -> Any:
    """Return what JSON text of an object or a list holds, any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def is_filled(value: Any) -> bool:
    """Return whether a value holds anything; Arrow gives an absent struct as an object of nulls."""
    if isinstance(value, str):
        return value.strip() not in ("", "[]", "{}", "null", "None")
    return any(map(is_filled, value.values())) if isinstance(value, dict) else value is not None and value != []


def without_reasoning(text: str) -> str:
    """Return a text without <think>…</think> and the like, also if its opening tag stood in the prompt."""
    kept, position, opened = [], 0, None
    for tag in _REASONING.finditer(text) if "</" in text else ():
        if not tag[1]:
            opened = opened or tag
        elif opened is None or tag[2].lower() == opened[2].lower():
            kept.append(text[position : opened.start()] if opened else "")
            position, opened = tag.end(), None
    return "".join((*kept, text[position:])).strip() if kept else text


def text_of(content: Any, is_result: bool = False) -> str:
    """Return the text of a message: text, a list of text parts, or another JSON value, written as JSON.

    `is_result`: the content is a tool's, whose lists are seldom lists of parts.

    Raises:
        Rejected: there is more than text in it, for instance an image.
    """
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, list) and content and all(isinstance(part, Mapping | str) for part in content):
        kinds = [None if isinstance(part, str) else part.get("type") for part in content]
        texts = [part if isinstance(part, str) else part.get("text") or part.get("refusal") for part in content]
        pairs = [(kind, text) for kind, text in zip(kinds, texts, strict=True) if kind not in _REASONING_PARTS]
        other = next((kind for kind, text in pairs if kind not in _TEXT_PARTS or not isinstance(text, str)), "")
        if other == "":
            return "\n".join(text for _, text in pairs)
        if not is_result or re.search("image|audio|video|file|document", str(other)):
            raise Rejected("not_text", f"a part of type {other}")
    return json.dumps(content, ensure_ascii=False)


@dataclass(frozen=True)
class Dialect:
    """A way of writing conversations.

    Args:
        what: how to tell it, for help and messages.
        recognises: whether a row is written so.
        read: the turns of a row; calls that stand beside the text are set.
        written: an assistant's text without its calls, and the calls in it, None if there are none; raises CallError.
        instructions: match what a system text says about the writing.
    """

    what: str
    recognises: Callable[[Record], bool]
    read: Callable[[Record], list[Turn]]
    written: Callable[[str, CallReader], tuple[str, Any] | None] | None = None
    instructions: Sequence[re.Pattern[str]] = ()
