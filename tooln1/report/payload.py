"""The rollouts and metrics that the page carries: compressed JSON, in pieces that the page unpacks when it needs them.

One index holds a row for every rollout that is shown; the texts lie in one piece for each dump. What a model wrote
never becomes markup: it is Base64 here, and text nodes on the page.
"""

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from tooln1.report.build import RunData
from tooln1.report.charts import MOST_POINTS
from tooln1.report.scan import Group, StepScan

KINDS = {"rollouts": "training", "validation": "validation"}
# So many bytes of the page go to rollouts and metrics at most; the library for the charts takes two million.
BUDGET = 8_000_000
_SHRINK = 0.8
_SNIPPET = 90


@dataclass(frozen=True)
class Payload:
    """Pieces by their name on the page, as Base64 text, and how many rollouts they hold."""

    pieces: dict[str, str]
    shown: int
    read: int


def pack(runs: list[RunData], budget: int = BUDGET) -> Payload:
    """Pack what the runs show. Where that is more than the budget, every dump gives up the same share of its groups."""
    keep = 1.0
    while True:
        payload = _pack(runs, keep)
        size = sum(map(len, payload.pieces.values()))
        if size <= budget:
            return payload
        keep *= min(_SHRINK, budget / size)


def _pack(runs: list[RunData], keep: float) -> Payload:
    pieces: dict[str, str] = {}
    index: list[list[Any]] = []
    words: dict[str, int] = {}
    read = 0
    for number, kind, scan in _scans(runs):
        read += scan.rollouts
        groups = sorted(scan.shown[: int(len(scan.shown) * keep)], key=lambda group: group.rollouts[0].number)
        if groups:
            name = f"{number}-{kind}-{scan.step}"
            pieces[name] = compress([asdict(group) for group in groups])
            index += _rows(number, kind, scan.step, groups, words)
    pieces["index"] = compress({"words": list(words), "rows": index})
    pieces["metrics"] = compress([_metrics(run) for run in runs])
    return Payload(pieces, len(index), read)


def _scans(runs: list[RunData]) -> Iterator[tuple[int, str, StepScan]]:
    for number, run in enumerate(runs):
        for kind in KINDS:
            for scan in getattr(run, kind).values():
                yield number, kind, scan


def _rows(run: int, kind: str, step: int, groups: list[Group], words: dict[str, int]) -> Iterator[list[Any]]:
    """One row for each rollout. Repeated texts are numbers: places in ``words``."""

    def word(text: str | None) -> int:
        return words.setdefault(text or "unknown", len(words))

    for place, group in enumerate(groups):
        shared = [word(group.source), word(group.signal), asked(group.prompt)]
        for position, one in enumerate(group.rollouts):
            own = [position, one.score, word(one.outcome), word(one.reason)]
            yield [run, word(kind), step, place, *own, *shared]


def asked(prompt: str) -> str:
    """The beginning of the last turn in a prompt as verl dumps it: the chat template's text without special tokens."""
    text = prompt.rstrip()
    text = text.removesuffix("assistant").rstrip()
    # Qwen's template writes a role's name on a line of its own; without one, the end of the prompt is the request.
    for role in ("\nuser\n", "\ntool\n"):
        if role in text:
            text = text[text.rindex(role) + len(role) :]
            break
    else:
        text = text[-_SNIPPET:]
    text = " ".join(text.split())
    return text if len(text) <= _SNIPPET else text[:_SNIPPET] + "…"


def _metrics(run: RunData) -> dict[str, list[list[float]]]:
    thinned = {}
    for name, steps in run.scalars.items():
        every = max(1, -(-len(steps) // MOST_POINTS))
        thinned[name] = [list(steps)[::every], [float(f"{value:.6g}") for value in list(steps.values())[::every]]]
    return thinned


def compress(value: Any) -> str:
    """A value as JSON, gzip and Base64: the same value gives the same text."""
    # ensure_ascii: half of a surrogate pair passes as its escape.
    return compress_text(json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False))


def compress_text(text: str) -> str:
    """A text in UTF-8, gzip and Base64."""
    return base64.b64encode(gzip.compress(text.encode("utf-8"), 6, mtime=0)).decode("ascii")
