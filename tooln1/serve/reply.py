"""Reads a reply piece by piece, as a server streams it, and knows no server.

A reply is read in two halves, each with a reader of its own: `ReasoningReader` takes the reasoning out, `CallsReader`
the calls. The strict grammar of `tooln1.reward_score.toolcall` decides what is well-formed. Whatever else the model
wrote is content, word for word: the pieces that a reader returns, put together, depend on the reply alone and not on
where it was cut. Reasoning is passed on as it comes. A call block is held back until the reply ends, since only then is
it known that nothing follows that would make it malformed.
"""

import re
from dataclasses import dataclass

from tooln1.analysis.explain import members, value_end
from tooln1.prompt import TAGS
from tooln1.reward_score import toolcall
from tooln1.reward_score.toolcall import CALL, END_THINK, SPACE, THINK

_TAG = re.compile("|".join(map(re.escape, TAGS)))


class NoCalls(str):
    """Content of a reply whose reasoning part is not well-formed: whatever it looks like, no calls are read from it.

    A type of text, because text is all that a server hands on from its reasoning parser to its tool parser.
    """


@dataclass(frozen=True)
class Call:
    """One call: the tool's name, and the arguments as the JSON text that the model wrote."""

    name: str
    arguments: str


def read_calls(text: str) -> list[Call] | None:
    """Read a call block, white space around it allowed: the calls, or None if the strict grammar does not accept it."""
    text = text.strip(SPACE)
    if not text.startswith(CALL):
        return None
    text = toolcall.split_response(text)[1]
    try:
        checked = toolcall.decode_calls(text)
        calls = []
        for position, start in members(text):
            name, place = checked[position]["name"], dict(members(text, start))["arguments"]
            name.encode()  # half a surrogate pair, "\ud800", is JSON, but no response can carry it
            calls.append(Call(name, text[place : value_end(text, place)]))
        return calls
    except (ValueError, RecursionError):
        return None


class ReasoningReader:
    """Splits a reply into its reasoning and what follows it.

    Reasoning that breaks off without any tag is reasoning still. Where another tag breaks it, the content starts with
    that tag. A reply that does not start with reasoning, or with blank reasoning, is content from its first character.

    Attributes:
        ended: Whether well-formed reasoning has come to its end, so that calls may follow.
    """

    def __init__(self) -> None:
        self.ended = False
        self._plain = False  # nothing of what comes is reasoning
        self._opening: str | None = None  # what stood up to and with <think>, while only blank text has followed
        self._inside = False
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Take the next piece: return the reasoning and the content that are certain now."""
        if self.ended or self._plain:
            return "", text
        self._held += text
        if not self._inside:
            start = self._held.lstrip(SPACE)
            if not start.startswith(THINK):
                return ("", "") if THINK.startswith(start) else self._give_up()
            self._inside = True
            self._opening, self._held = self._held[: -len(start)] + THINK, start[len(THINK) :]
        return self._reason()

    def finish(self) -> tuple[str, str]:
        """Return what was held back, now that the reply is over."""
        if self._opening is None and self._inside:
            held, self._held = self._held, ""
            return held, ""
        return self._give_up()

    def _reason(self) -> tuple[str, str]:
        tag = _TAG.search(self._held)
        end = tag.start() if tag else len(self._held) - _begun_tag(self._held)
        reasoning, rest = self._held[:end], self._held[end:]
        if self._opening is not None and not reasoning.strip(SPACE):
            return self._give_up() if tag else ("", "")
        self._opening, self._held = None, "" if tag else rest
        if tag is None:
            return reasoning, ""
        self.ended = tag[0] == END_THINK
        self._plain = not self.ended
        return reasoning, rest[len(END_THINK) :] if self.ended else rest

    def _give_up(self) -> tuple[str, str]:
        self._plain = True
        content = (self._opening or "") + self._held
        self._opening, self._held = None, ""
        return "", content


class CallsReader:
    """Takes the calls out of what follows the reasoning."""

    def __init__(self) -> None:
        self._plain = False
        self._block = False
        self._held: list[str] = []

    def feed(self, text: str) -> str:
        """Take the next piece: return the content that is certain now."""
        if self._plain:
            return text
        self._held.append(text)
        if self._block:
            return ""
        held = "".join(self._held)
        start = held.lstrip(SPACE)
        self._block = start.startswith(CALL)
        self._plain = not self._block and not CALL.startswith(start)
        self._held = [] if self._plain else [held]
        return held if self._plain else ""

    def finish(self) -> tuple[str, list[Call] | None]:
        """Return the rest of the content, and the calls: None where there was no well-formed call block."""
        held, self._held = "".join(self._held), []
        calls = read_calls(held)
        return (held, None) if calls is None else ("", calls)


def _begun_tag(text: str) -> int:
    """How many characters at the end of the text may be the start of a tag."""
    start = text.rfind("<")
    return len(text) - start if start >= 0 and any(tag.startswith(text[start:]) for tag in TAGS) else 0
