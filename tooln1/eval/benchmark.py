"""What all benchmarks share: cases, what is read from a response, the kinds of mistakes, and the interface."""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tooln1.analysis.explain import explain
from tooln1.files import one_line
from tooln1.prompt import format_response
from tooln1.reward_score import toolcall

MISTAKES = {
    "format": "the response breaks the grammar",
    "wrong_tool": "another tool, a call too many, or one too few",
    "missing_argument": "an argument is missing",
    "extra_argument": "an argument is not in the ground truth or the tool",
    "wrong_type": "an argument has the wrong type",
    "wrong_value": "an argument has the wrong value",
}
FORMAT, WRONG_TOOL, MISSING, EXTRA, TYPE, VALUE = MISTAKES
# Deeper than any argument of a benchmark, and shallow enough for every checker's recursion.
_DEEPEST = 100
_MOST_DIGITS = 4300  # CPython's limit on the text of an integer

Calls = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One question. `id` is unique in its benchmark; `data` is what the benchmark's rules need besides."""

    id: str
    category: str
    messages: list[dict[str, str]]
    ground_truth: Calls
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wants_reasoning(self) -> bool:
        """Whether the prompt asks the model to reason before it calls: there are templates that do not."""
        return toolcall.THINK in self.messages[0]["content"]


@dataclass(frozen=True)
class Reading:
    """A response and its calls; `calls` is None, and `problem` says why, if the response breaks the grammar."""

    response: str
    calls: Calls | None
    problem: str = ""


def read_response(response: str, reasoning: bool = True) -> Reading:
    """Read the calls of a response, any text at all, with the grammar of the reward (`tooln1.reward_score.toolcall`).

    Args:
        reasoning: whether the response must reason first. If not, a placeholder replaces all before the calls.
    """
    if not reasoning:
        response = f"<think>-</think>{response[max(0, response.find(toolcall.CALL)) :]}"
    reasoned, text = toolcall.split_response(response)
    try:
        if not reasoned:
            raise ValueError("no reasoning")
        toolcall.decode_calls(text)  # refuses what is not JSON
        calls = toolcall.decode_calls(text, _PLAIN)
    except (ValueError, RecursionError):
        found = explain(response, "[]")
        return Reading(response, None, f"{found.reason}: {found.detail}" if found.detail else found.reason)
    if _depth(calls) > _DEEPEST:
        return Reading(response, None, f"nested too deeply: more than {_DEEPEST} levels of brackets")
    # JSON can hold half a character as an escape, a UTF-8 file cannot.
    return Reading(response, json.loads(json.dumps(calls, ensure_ascii=False).encode("utf-8", "replace")))


def _int(text: str) -> int | str:
    return int(text) if len(text) <= _MOST_DIGITS else text


def _float(text: str) -> float | str:
    return float(text) if math.isfinite(float(text)) else text


# Numbers that Python cannot hold stay text.
_PLAIN = json.JSONDecoder(parse_int=_int, parse_float=_float)


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [item for values in inner for item in values]
    return depth


@dataclass(frozen=True)
class Mistake:
    """The first mistake in a response: its kind, one of `MISTAKES`, and one line about it."""

    kind: str
    detail: str


def as_json(value: Any) -> str:
    """Return a value as JSON on one short line, for a mistake's detail."""
    return one_line(json.dumps(value, ensure_ascii=False), 120)


class Benchmark(ABC):
    """A benchmark with its cases loaded. `version` names the data or the package that decides; settings include it."""

    name: str
    version: str
    cases: Sequence[Case]

    @abstractmethod
    def judge(self, case: Case, reading: Reading) -> Mistake | None:
        """Return the first mistake in a response that follows the grammar; None if the response is correct."""

    def judge_all(self, readings: Mapping[str, Reading]) -> dict[str, Mistake | None]:
        """Return {case id: first mistake or None} for {case id: reading}."""
        return {
            case.id: self.judge(case, reading) if reading.calls is not None else Mistake(FORMAT, reading.problem)
            for case in self.cases
            if (reading := readings.get(case.id))
        }

    @abstractmethod
    def groups(self, categories: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
        """Return the averages that the benchmark reports; "accuracy" is the headline one.

        Args:
            categories: as in summary.json; their "accuracy" is None where no case got a response.
        """

    def impossible(self) -> dict[str, str]:
        """Return {case id: reason} of the cases that no model can have right, by the benchmark's own data and rules."""
        readings = {case.id: read_response(format_response(case.ground_truth, "-")) for case in self.cases}
        mistakes = self.judge_all(readings)
        return _contradictions(self.cases) | {name: found.detail for name, found in mistakes.items() if found}


def _contradictions(cases: Sequence[Case]) -> dict[str, str]:
    """Find cases with the same prompt, one of which expects calls and the other none."""
    same: dict[str, list[Case]] = {}
    for case in cases:
        same.setdefault(json.dumps(case.messages), []).append(case)
    return {
        case.id: f"has the prompt of {other.id}, which expects {'calls' if other.ground_truth else 'none'}"
        for group in same.values()
        for case in group
        for other in group
        if bool(case.ground_truth) != bool(other.ground_truth)
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Return the average; None if a value is missing or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
