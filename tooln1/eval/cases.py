"""What the three benchmarks have in common: a case, the verdict on a reply, and the interface of a benchmark."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tooln1.eval.reply import Reading

FORMAT, WRONG_TOOL, MISSING, EXTRA, TYPE, VALUE = (
    "format",
    "wrong_tool",
    "missing_argument",
    "extra_argument",
    "wrong_type",
    "wrong_value",
)
ERRORS = {
    FORMAT: "the reply is not of the grammar",
    WRONG_TOOL: "another tool, a call too many, or one too few",
    MISSING: "an argument is missing",
    EXTRA: "an argument is not in the reference or the tool",
    TYPE: "an argument has the wrong type",
    VALUE: "an argument has the wrong value",
}


@dataclass(frozen=True)
class Case:
    """One question. `id` is unique in its benchmark; `data` is what the benchmark's rules need besides."""

    id: str
    category: str
    messages: list[dict[str, str]]
    reference: list[dict[str, Any]]
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Whether a reply is right; if not, a kind of `ERRORS` and a line about this reply."""

    correct: bool
    error: str = ""
    detail: str = ""


CORRECT = Verdict(True)


def wrong(error: str, detail: str) -> Verdict:
    return Verdict(False, error, detail)


class Benchmark(ABC):
    """A benchmark with its cases loaded. `version` says which data or package decides; it is among the settings."""

    name: str
    version: str
    cases: Sequence[Case]

    @abstractmethod
    def judge(self, readings: Mapping[str, Reading]) -> dict[str, Verdict]:
        """Return {case id: verdict} for what was read from the replies, {case id: reading}."""

    @abstractmethod
    def groups(self, accuracy: Mapping[str, float | None]) -> dict[str, float | None]:
        """Return the averages the benchmark reports, from {category: accuracy}; "accuracy" is the headline one."""

    def impossible(self) -> dict[str, str]:
        """Return {case id: reason} of the cases in which the reference itself is not right by the benchmark's rules."""
        verdicts = self.judge({case.id: Reading(calls=case.reference) for case in self.cases})
        return {name: verdict.detail for name, verdict in verdicts.items() if not verdict.correct}


def contradictions(cases: Sequence[Case]) -> dict[str, str]:
    """Return {case id: reason} of the cases whose prompt another case has too, one with calls and one without."""
    same: dict[str, list[Case]] = {}
    for case in cases:
        same.setdefault(json.dumps(case.messages), []).append(case)
    return {
        case.id: f"has the prompt of {other.id}, which expects {'calls' if other.reference else 'none'}"
        for group in same.values()
        for case in group
        for other in group
        if bool(case.reference) != bool(other.reference)
    }


def mean(values: Sequence[float | None]) -> float | None:
    """Return the average, None if a value is missing or there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def shorten(value: Any, width: int = 120) -> str:
    """Return a value's text on one line, cut to a width."""
    text = " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"
