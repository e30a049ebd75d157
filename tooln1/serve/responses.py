"""Reads a response, whole or as it is streamed, by the grammar of the strict reward. It knows no server.

A response is split in two steps, as servers do it: first the reasoning, then the calls in what follows. Text that the
grammar does not accept is content, unchanged. Reasoning is streamed as it comes. A call block is held back until the
response ends, because text after the block would make it malformed.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from tooln1.analysis.explain import members, value_end
from tooln1.reward_score import toolcall
from tooln1.reward_score.toolcall import CALL, END_THINK, SPACE, TAGS, THINK

_TAG = re.compile("|".join(map(re.escape, TAGS)))


class NoCalls(str):
    """Content after malformed reasoning, in which no calls are read.

    It is a kind of text because servers hand nothing but text from the reasoning parser to the tool parser.
    """


class Call(NamedTuple):
    """One call: the tool's name, and the arguments as the JSON text that the model wrote."""

    name: str
    arguments: str


def split_reasoning(text: str, done: bool = True, opened: bool = False) -> tuple[str, str, bool]:
    """Return the reasoning, the content after it, and whether well-formed reasoning has ended.

    Reasoning that breaks off is still reasoning. If a tag other than </think> breaks it, the content starts with that
    tag. A response that does not start with reasoning, or starts with blank reasoning, is all content.

    Args:
        text: the response so far.
        done: False leaves out what further text may still decide.
        opened: whether the prompt ends with an open <think>, so that the response begins inside the reasoning.
    """
    start = THINK + text if opened else text.lstrip(SPACE)
    if not start.startswith(THINK):
        undecided = not done and THINK.startswith(start)
        return "", "" if undecided else text, False
    inside = start[len(THINK) :]
    tag = _TAG.search(inside)
    end = tag.start() if tag else len(inside) if done else len(inside) - _begun_tag(inside)
    reasoning, rest = inside[:end], inside[end:]
    if not reasoning.strip(SPACE):
        return "", text if tag or done else "", False
    if tag is None:
        return reasoning, "", False
    has_ended = tag[0] == END_THINK
    return reasoning, rest[len(END_THINK) :] if has_ended else rest, has_ended


def split_calls(text: str, done: bool = True) -> tuple[str, list[Call] | None]:
    """Return the content, and the calls or None if there is no well-formed call block.

    Args:
        text: what follows well-formed reasoning, so far.
        done: False leaves out what further text may still decide; all calls are among that.
    """
    start = text.lstrip(SPACE)
    if not start.startswith(CALL) and not CALL.startswith(start):
        return text, None
    calls = read_calls(text) if done else None
    return text if done and calls is None else "", calls


class Stream:
    """Gives a response piece by piece to one of the two functions above and returns what each piece adds."""

    def __init__(self, split: Callable[[str, bool], tuple]):
        self._split = split
        self._text = ""
        self._sizes = [0, 0]

    def feed(self, piece: str, done: bool = False) -> tuple[Any, ...]:
        """Return the same tuple as the function does, with only the new part of each text."""
        self._text += piece
        *texts, last = self._split(self._text, done)
        added = [text[size:] for text, size in zip(texts, self._sizes, strict=False)]
        self._sizes = [len(text) for text in texts]
        return *added, last


def read_calls(text: str) -> list[Call] | None:
    """Return the calls of a call block, or None if the strict grammar does not accept the block."""
    text = text.strip(SPACE)
    if not text.startswith(CALL):
        return None
    text = toolcall.split_response(text)[1]
    try:
        checked = toolcall.decode_calls(text)
        calls = []
        for position, start in members(text):
            name, place = checked[position]["name"], dict(members(text, start))["arguments"]
            name.encode()  # half a surrogate pair, "\ud800", is JSON, but no server can send it
            calls.append(Call(name, text[place : value_end(text, place)]))
        return calls
    except (ValueError, RecursionError):
        return None


def _begun_tag(text: str) -> int:
    """Return how many characters at the end of the text may be the start of a tag."""
    start = text.rfind("<")
    return len(text) - start if start >= 0 and any(tag.startswith(text[start:]) for tag in TAGS) else 0
