"""What all benchmarks share: cases, the kinds of mistakes, and the interface."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tooln1.files import one_line

MISTAKES = {
    "format": "the response breaks the grammar",
    "wrong_tool": "another tool, a call too many, or one too few",
    "missing_argument": "an argument is missing",
    "extra_argument": "an argument is not in the ground truth or the tool",
    "wrong_type": "an argument has the wrong type",
    "wrong_value": "an argument has the wrong value",
    "wrong_outcome": "after a turn's calls, states or results are not as they should be",
}
FORMAT, WRONG_TOOL, MISSING, EXTRA, TYPE, VALUE, OUTCOME = MISTAKES

Calls = list[dict[str, Any]]
# {"role", "content"}; an assistant's may have "calls", a user's may bring new "tools".
Turns = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One question. `id` is unique in its benchmark; `data` is what the benchmark's rules need besides.

    `turns` is the conversation so far, as `tooln1.prompt.build_messages` takes it with tools and context; it may start
    with a system message of the case's own. `context` is what the benchmark tells in every case. Without tools (None)
    the turns are the whole prompt. With several turns, the ground truth is a list of calls for each.
    """

    id: str
    category: str
    ground_truth: Calls | list[Calls]
    turns: Turns
    tools: Any = None
    context: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """A response and its calls; `calls` is None, and `problem` says why, if the response breaks the format.

    `earlier` are the readings of the responses before it, if the case has more than one.
    """

    response: str
    calls: Calls | None
    problem: str = ""
    earlier: tuple["Reading", ...] = ()

    @property
    def all(self) -> tuple["Reading", ...]:
        """All readings of the case, in order."""
        return (*self.earlier, self)


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

    def next_turns(self, case: Case, readings: Sequence[Reading]) -> Turns | None:
        """Return the conversation to which the next response is wanted, None after the last one.

        Args:
            readings: of the responses so far.
        """
        return None if readings else case.turns

    @abstractmethod
    def groups(self, categories: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
        """Return the averages that the benchmark reports; "accuracy" is the headline one.

        Args:
            categories: as in summary.json; their "accuracy" is None where no case got a response.
        """

    def transcript(self, case: Case, reading: Reading) -> Turns | None:
        """Return the whole conversation if the case has several turns."""
        return None

    def oracle(self, case: Case) -> Reading | None:
        """Return what is read from perfect responses; None if they cannot be written."""
        return Reading("", case.ground_truth)

    def impossible(self) -> dict[str, str]:
        """Return {case id: reason} of the cases that no model can have right, by the benchmark's own data and rules."""
        readings = {case.id: reading for case in self.cases if (reading := self.oracle(case))}
        mistakes = self.judge_all(readings)
        return _contradictions(self.cases) | {name: found.detail for name, found in mistakes.items() if found}


def _contradictions(cases: Sequence[Case]) -> dict[str, str]:
    """Find cases with the same prompt, one of which expects calls and the other none."""
    same: dict[str, list[Case]] = {}
    for case in cases:
        same.setdefault(json.dumps([case.tools, case.context, case.turns]), []).append(case)
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
