"""How a conversation becomes a request, and how calls are read from the response.

There are two forms. In the prompt form the tools stand in the system message, as in training, and the response is text.
In the native form the request has `tools`, and a parser of the server has read the response's `tool_calls`.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from tooln1.analysis.explain import explain
from tooln1.chat_template import load_model_template
from tooln1.errors import UserError
from tooln1.eval.benchmark import Calls, Case, Reading, Turns
from tooln1.files import read_text
from tooln1.prompt import build_messages, format_call_turn
from tooln1.reward_score import toolcall
from tooln1.tools import normalize_tools, with_known_type

READERS = ("strict", "paper")
# In a template, the place of tools as the paper's prompt shows them: {"type": "function", "function": …}, with the
# benchmark's own types. As there, the prompt leaves out what a case's own system message says.
FUNCTIONS_MARK = "{functions}"
PAPER_LIKE = Path(__file__).with_name("paper_like.txt")
# Deeper than any argument of a benchmark, and shallow enough for every checker's recursion.
_DEEPEST = 100
_MOST_DIGITS = 4300  # CPython's limit on the text of an integer
_BLOCK = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Form:
    """One way to ask and read; `template` is the text of a prompt template, `native` decides the form."""

    template: str
    reader: str = READERS[0]
    native: bool = False

    def request(self, case: Case, turns: Turns) -> dict[str, Any]:
        """Return a request's {"messages"} and, in the native form, its {"tools"}.

        Raises:
            UserError: the native form is not possible, because the case has no list of tools.
            KeyError, TypeError, ValueError: the turns or tools have an unknown shape.
        """
        if not self.native:
            return {"messages": self._messages(case, turns)}
        if case.tools is None:
            raise UserError(f"{case.id}: only its prompt is known, not its tools; --interface tools cannot ask it")
        tools = [*case.tools, *(tool for turn in turns for tool in turn.get("tools", ()))]
        names = _native_names(tools)
        system = [{"role": "system", "content": case.context}] if case.context else []
        messages = [*system, *_native_messages(turns, {own: name for name, own in names.items()})]
        return {"messages": messages, "tools": list(_native_tools(tools, names))}

    def read(self, case: Case, line: Mapping[str, Any]) -> Reading:
        """Read a line of the log of responses."""
        if self.native:
            names = _native_names(case.data.get("all_tools", case.tools))
            return _read_native(line["response"], line["tool_calls"], names)
        if self.reader == "paper":
            return read_paper(line["response"])
        prompt = case.turns[0]["content"] if case.tools is None else self.template
        return read_response(line["response"], toolcall.THINK in prompt)

    def _messages(self, case: Case, turns: Turns) -> list[dict[str, str]]:
        if case.tools is None:
            return [{"role": turn["role"], "content": turn["content"]} for turn in turns]
        texts = [turn["content"] for turn in turns if turn["role"] == "system"]
        told = [
            {**turn, "content": "\n".join([*self._lines(turn.get("tools", ())), turn.get("content") or ""])}
            for turn in turns
            if turn["role"] != "system"
        ]
        if FUNCTIONS_MARK not in self.template:
            return build_messages(case.tools, told, "\n\n".join(filter(None, [case.context, *texts])), self.template)
        filled = self.template.replace(FUNCTIONS_MARK, "\n".join(self._lines(case.tools)))
        system = {"role": "system", "content": "\n\n".join(filter(None, [case.context, filled]))}
        return [system, *build_messages([], told)[1:]]

    def _lines(self, tools: Sequence[Mapping[str, Any]]) -> list[str]:
        if FUNCTIONS_MARK in self.template:
            return [json.dumps({"type": "function", "function": tool}) for tool in tools]
        return [json.dumps(tool, ensure_ascii=False) for tool in normalize_tools(tools)]


def load_form_template(model: str, template: str | None = None) -> str:
    """Return a prompt template as `load_model_template` does, or the one that is like the paper's.

    Raises:
        TemplateError: the file cannot be read, or has not one place for the tools.
    """
    path = PAPER_LIKE if template == "paper-like" else Path(template or "")
    if path.is_file() and (text := read_text(path)).count(FUNCTIONS_MARK) == 1:
        return text
    return load_model_template(model, template)


def read_response(response: str, reasoning: bool = True) -> Reading:
    """Read the calls of a response, any text at all, with the grammar of the reward (`tooln1.reward_score.toolcall`).

    Args:
        reasoning: whether the response must reason first. If not, a placeholder replaces all before the calls.
    """
    whole = response if reasoning else f"<think>-</think>{response[max(0, response.find(toolcall.CALL)) :]}"
    reasoned, text = toolcall.split_response(whole)
    try:
        if not reasoned:
            raise ValueError("no reasoning")
        toolcall.decode_calls(text)  # refuses what is not JSON
        return _checked(response, toolcall.decode_calls(text, _PLAIN))
    except (ValueError, RecursionError):
        found = explain(whole, "[]")
        return Reading(response, None, f"{found.reason}: {found.detail}" if found.detail else found.reason)


def read_paper(response: str) -> Reading:
    """Read the first block of calls wherever it stands, as the paper's released handler for BFCL does."""
    block = _BLOCK.search(response)
    if not block:
        return Reading(response, None, "no <tool_call> block")
    try:
        calls = _PLAIN.decode(block[1].strip())
        found = [{"name": call["name"], "arguments": call["arguments"]} for call in calls]
    except (ValueError, RecursionError, TypeError, KeyError):
        found = [{}]
    if not all(isinstance(one.get("name"), str) and isinstance(one.get("arguments"), dict) for one in found):
        return Reading(response, None, "the first <tool_call> block is no JSON list of calls")
    return _checked(response, found)


def _read_native(text: str, tool_calls: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Reading:
    shown = "\n".join(part for part in (text, json.dumps(tool_calls) if tool_calls else "") if part)
    calls = []
    for call in tool_calls:
        try:
            arguments = call["arguments"] or {}
            arguments = _PLAIN.decode(arguments) if isinstance(arguments, str) else arguments
        except (ValueError, RecursionError):
            arguments = None
        if not isinstance(arguments, dict) or not isinstance(call["name"], str):
            return Reading(shown, None, "the arguments of a tool call are no JSON object")
        calls.append({"name": names.get(call["name"], call["name"]), "arguments": arguments})
    return _checked(shown, calls)


def _checked(response: str, calls: Calls) -> Reading:
    if _depth(calls) > _DEEPEST:
        return Reading(response, None, f"nested too deeply: more than {_DEEPEST} levels of brackets")
    # JSON can hold half a character as an escape, a UTF-8 file cannot.
    return Reading(response, json.loads(json.dumps(calls, ensure_ascii=False).encode("utf-8", "replace")))


def _int(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text


def _float(text: str) -> float | str:
    return float(text) if math.isfinite(float(text)) else text


# Numbers that Python or JSON cannot hold stay text.
_PLAIN = json.JSONDecoder(parse_int=_int, parse_float=_float, parse_constant=str)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for values in inner for item in values]
    return depth


def _native_names(tools: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return {name for the request: the tool's own name}; servers take letters, digits, _ and - in names."""
    names: dict[str, str] = {}
    for tool in normalize_tools(tools):
        name = _NOT_IN_NAMES.sub("_", tool["name"])[:_LONGEST_NAME]
        names[f"{name[: _LONGEST_NAME - 4]}_{len(names)}" if name in names else name] = tool["name"]
    return names


def _native_tools(tools: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, tool in zip(names, normalize_tools(tools), strict=True):
        schema = json.loads(json.dumps(tool["parameters"]), object_hook=_native_schema)
        function = {"name": name, "description": tool["description"], "parameters": schema}
        yield {"type": "function", "function": function}


def _native_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """Write one level of a schema as servers take it: no unknown type, and a list says something about its items."""
    known = with_known_type(schema)
    if known is not schema and isinstance(known["type"], list):
        return {key: value for key, value in schema.items() if key != "type"}
    return {**known, "items": known.get("items", {})} if known.get("type") == "array" else known


def _native_messages(turns: Turns, names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield OpenAI's messages; calls without a result for each stay text, because servers refuse such messages."""
    left = list(turns)
    while left:
        turn = left.pop(0)
        calls, text = turn.get("calls") or [], turn.get("content") or ""
        results = list(takewhile(lambda one: one["role"] == "tool", left))
        if not calls or len(results) != len(calls):
            role = "user" if turn["role"] == "tool" else turn["role"]
            yield {"role": role, "content": "\n".join(filter(None, [text, format_call_turn(calls) if calls else ""]))}
            continue
        del left[: len(results)]
        # Nine letters and digits, because some servers take no other ids.
        ids = [f"call{len(turns) - len(left):03d}{number:02d}" for number in range(len(calls))]
        functions = [
            {"name": names.get(call["name"], call["name"]), "arguments": json.dumps(call["arguments"])}
            for call in calls
        ]
        made = [{"id": id, "type": "function", "function": one} for id, one in zip(ids, functions, strict=True)]
        yield {"role": "assistant", "content": text, "tool_calls": made}
        for id, result in zip(ids, results, strict=True):
            yield {"role": "tool", "tool_call_id": id, "content": result["content"]}
