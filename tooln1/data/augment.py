"""Two ways of making a row harder, as Hammer does (https://arxiv.org/abs/2410.04587).

Irrelevance: the tools that the ground truth calls leave the list, so that the right response calls nothing. Masking:
functions and parameters get random names, so that only their descriptions say what they do.
"""

import json
import random
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from tooln1.prompt import format_call_turn
from tooln1.tool_schema import parameter_names, rename_parameters

Message = Mapping[str, str]

_CALL_TURN = re.compile(r"(?:(.*)\n)?<tool_call>(\[.*\])</tool_call>", re.DOTALL)
_LETTERS = string.ascii_letters
_CHARACTERS = string.ascii_letters + string.digits
# As long as the masked names in Hammer's data.
_SHORTEST, _LONGEST = 5, 12


def read_call_turn(content: str) -> tuple[str, list[dict[str, Any]]] | None:
    """Return the text and the calls of an assistant message, None if it calls nothing."""
    found = _CALL_TURN.fullmatch(content)
    if found is None:
        return None
    try:
        calls = json.loads(found[2])
    except ValueError:
        return None
    return found[1] or "", calls


def without_answer_tools(
    tools: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]], turns: Sequence[Message]
) -> list[Mapping[str, Any]] | None:
    """Return the tools that the ground truth does not call.

    None if no irrelevant row can be made: the ground truth calls nothing, no other tool is listed, or an earlier turn
    of the prompt calls one of the removed tools.
    """
    answer = {call["name"] for call in calls}
    left = [tool for tool in tools if tool["name"] not in answer]
    earlier = (read_call_turn(turn["content"]) for turn in turns if turn["role"] == "assistant")
    called = {call["name"] for found in earlier if found for call in found[1]}
    return left if left and answer and not answer & called else None


def mask(
    tools: Sequence[Mapping[str, Any]],
    calls: Sequence[Mapping[str, Any]],
    turns: Sequence[Message],
    rng: random.Random,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, str]]]:
    """Return tools, calls and turns with every function and parameter renamed at random; descriptions stay.

    A name is replaced in the list, in the calls of the ground truth and of earlier turns, and in tool results that
    quote it. Parameters keep their names where `rename_parameters` cannot rename them.
    """
    taken = {tool["name"] for tool in tools}
    names = {name: _random_name(rng, taken) for name in dict.fromkeys(tool["name"] for tool in tools)}
    parameters: dict[str, dict[str, str]] = {name: {} for name in names}
    # Two tools of one name share a map: nothing says which of them a call means.
    for tool in tools:
        new, schema = parameters[tool["name"]], tool["parameters"]
        if rename_parameters(schema, {}) is not None:
            new.update({key: _random_name(rng, taken) for key in parameter_names(schema) if key not in new})
    masked = [_mask_tool(tool, names[tool["name"]], parameters[tool["name"]]) for tool in tools]
    return masked, _mask_calls(calls, names, parameters), [_mask_turn(turn, names, parameters) for turn in turns]


def _random_name(rng: random.Random, taken: set[str]) -> str:
    while True:
        length = rng.randint(_SHORTEST, _LONGEST)
        name = rng.choice(_LETTERS) + "".join(rng.choices(_CHARACTERS, k=length - 1))
        if name not in taken:
            taken.add(name)
            return name


def _mask_tool(tool: Mapping[str, Any], name: str, new: Mapping[str, str]) -> dict[str, Any]:
    masked = {**tool, "name": name, "parameters": rename_parameters(tool["parameters"], new)}
    if masked["parameters"] is None:
        masked["parameters"] = tool["parameters"]
    if isinstance(masked.get("required"), list):
        masked["required"] = [new.get(key, key) if isinstance(key, str) else key for key in masked["required"]]
    return masked


def _mask_calls(
    calls: Sequence[Mapping[str, Any]], names: Mapping[str, str], parameters: Mapping[str, Mapping[str, str]]
) -> list[dict[str, Any]]:
    masked = []
    for call in calls:
        new = parameters.get(call["name"], {})
        arguments = {new.get(key, key): value for key, value in call["arguments"].items()}
        masked.append({"name": names.get(call["name"], call["name"]), "arguments": arguments})
    return masked


def _mask_turn(turn: Message, names: Mapping[str, str], parameters: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    content = turn["content"]
    if turn["role"] == "assistant" and (found := read_call_turn(content)):
        text, calls = found
        content = "\n".join(part for part in (text, format_call_turn(_mask_calls(calls, names, parameters))) if part)
    elif turn["role"] == "tool":
        for name, new in names.items():
            for quoted in {json.dumps(name), json.dumps(name, ensure_ascii=False)}:
                content = content.replace(quoted, f'"{new}"')
    return {"role": turn["role"], "content": content}
