"""One dump of rollouts: what it holds is counted, and a few whole groups are kept to be shown.

A dump is read twice: once in a stream that keeps a number or two of each rollout, and once at the places of the
rollouts that are shown. A file of any size therefore takes the memory of its longest line.
"""

import math
import random
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tooln1.analysis.explain import explain
from tooln1.errors import UserError
from tooln1.files import decode_json, describe_damage, read_jsonl
from tooln1.report.diff import Pair, pair_calls
from tooln1.report.sources import SourceIndex
from tooln1.reward_score import reward_function

# What a rollout came to, in the order in which a reply can go wrong.
OUTCOMES = ("format wrong", "wrong tool", "wrong arguments", "right")
OTHER = "not a tool call"
# What the rollouts of a group came to together. Without a difference in score, GRPO's advantages are all 0.
SIGNALS = ("all wrong", "mixed", "all right")
_SHOWN_FIRST = ("mixed", "all wrong", "all right")

# A group that is larger is shown in part; so is a text that is longer: its beginning, its end, and what is around the
# first fault.
MOST_OF_A_GROUP = 16
LONGEST_TEXT, AROUND = 6000, 1500
# So many failures a step are asked for their reason, which takes some ten times as long as their score.
REASONED = 100
_EPSILON = 1e-6  # verl's, in compute_grpo_outcome_advantage


@dataclass(frozen=True)
class ScanSettings:
    """How a run's dumps are read: the reward (strict or paper), whether a score of 1 must mean a right reply, how
    advantages were computed, and how many groups of a step are shown.
    """

    reward: str = "strict"
    compares: bool = True
    grpo: bool = True
    by_std: bool = True
    groups: int = 16
    seed: int = 0


@dataclass(slots=True)
class _Row:
    """What the first reading keeps of a rollout."""

    offset: int
    number: int
    score: float | None
    outcome: str
    source: str | None


@dataclass(frozen=True)
class Rollout:
    """A rollout that is shown. ``fault`` is the index in ``reply`` where it first goes wrong."""

    number: int
    score: float | None
    advantage: float | None
    outcome: str
    reason: str
    detail: str
    reply: str
    fault: int | None
    pairs: list[Pair] | None


@dataclass(frozen=True)
class Group:
    """The rollouts of one prompt that are shown, and how many there were."""

    prompt: str
    reference: str
    source: str | None
    signal: str
    size: int
    rollouts: list[Rollout]


@dataclass
class StepScan:
    """What one dump holds; the counters are over all of its rollouts."""

    step: int
    rollouts: int = 0
    groups: Counter[str] = field(default_factory=Counter)
    group_sizes: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    by_source: dict[str, list[int]] = field(default_factory=dict)
    score_sum: float = 0.0
    scored: int = 0
    differing: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    reasoned: int = 0
    shown: list[Group] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        """The share of right replies, among those whose reference is a list of calls."""
        judged = sum(self.outcomes[outcome] for outcome in OUTCOMES)
        return self.outcomes["right"] / judged if judged else None


def scan_dump(path: Path, step: int, settings: ScanSettings, sources: SourceIndex) -> StepScan:
    """Read one dump. Damaged lines are left out and noted; no reply and no reference stops it."""
    scan, damage = StepScan(step), Counter()
    groups: dict[Any, list[_Row]] = {}
    try:
        for line in read_jsonl(path, damage):
            row = line.value
            if isinstance(row.get("output"), str):
                groups.setdefault(_group_key(row), []).append(_count(scan, line, settings, sources))
    except UserError as error:
        scan.notes.append(str(error))
    scan.notes += describe_damage(path, damage)
    if not scan.rollouts:
        scan.notes.append(f"{path.name}: holds no rollouts")
        return scan
    for rows in groups.values():
        scan.groups[_signal(rows)] += 1
        scan.group_sizes[len(rows)] += 1
    rng = random.Random(f"{settings.seed} {path.parent.name} {step}")
    with path.open("rb") as dump:
        _reason(scan, dump, groups, settings, rng)
        for rows in _choose(groups, settings, rng):
            scan.shown.append(_show(dump, rows, settings))
    return scan


def _group_key(row: dict[str, Any]) -> Any:
    """verl's uid is <prompt>_<rollout>_<output>; its older dumps have none, so there the prompt itself is the key."""
    parts = str(row.get("uid", "")).rsplit("_", 2)
    if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal():
        return parts[0]
    # A number instead of the prompt itself, which may be long.
    return hash(str(row["uid"]) if row.get("uid") else (str(row.get("input")), str(row.get("gts"))))


def _count(scan: StepScan, line: Any, settings: ScanSettings, sources: SourceIndex) -> _Row:
    row, reference = line.value, str(line.value.get("gts"))
    score = row.get("score")
    score = float(score) if isinstance(score, int | float) and math.isfinite(score) else None
    outcome, accuracy = _judge(row, reference, settings.reward)
    source = row.get("data_source") or sources.find(reference, str(row.get("input", "")))
    scan.rollouts += 1
    scan.outcomes[outcome] += 1
    if score is not None:
        scan.scored += 1
        scan.score_sum += score
        scan.differing += settings.compares and accuracy is not None and (score >= 1.0) != (accuracy >= 1.0)
    source = None if source is None else str(source)
    if source is not None and outcome != OTHER:
        counts = scan.by_source.setdefault(source, [0, 0])
        counts[0] += 1
        counts[1] += outcome == "right"
    return _Row(line.offset, line.number, score, outcome, source)


def _judge(row: dict[str, Any], reference: str, reward: str) -> tuple[str, float | None]:
    """The outcome, and the accuracy by the rule where it was computed here: not all dumps hold the reward's keys."""
    keys, accuracy = row, None
    if not all(isinstance(row.get(key), int | float) for key in ("acc", "format", "tool_name")):
        try:
            keys = reward_function(reward)("", row["output"], reference)
        except ValueError:
            return OTHER, None
        accuracy = keys["acc"]
    if keys["acc"] >= 1.0:
        return "right", accuracy
    if keys["format"] < 1.0:
        return "format wrong", accuracy
    return ("wrong arguments" if keys["tool_name"] >= 1.0 else "wrong tool"), accuracy


def _signal(rows: list[_Row]) -> str:
    scores = {row.score if row.score is not None else float(row.outcome == "right") for row in rows}
    if len(scores) > 1:
        return "mixed"
    return "all right" if rows[0].outcome == "right" or scores == {1.0} else "all wrong"


def _choose(groups: dict[Any, list[_Row]], settings: ScanSettings, rng: random.Random) -> list[list[_Row]]:
    """The groups to show, most wanted first: those that disagree, those that fail, the rest; at random among equals."""
    drawn = list(groups.values())
    rng.shuffle(drawn)
    drawn.sort(key=lambda rows: _SHOWN_FIRST.index(_signal(rows)))
    return drawn[: settings.groups]


def _reason(scan: StepScan, dump: Any, groups: dict[Any, list[_Row]], settings: ScanSettings, rng) -> None:
    """Count the reasons of some failures, drawn at random."""
    failures = [row for rows in groups.values() for row in rows if row.outcome not in ("right", OTHER)]
    for row in sorted(rng.sample(failures, min(REASONED, len(failures))), key=lambda row: row.offset):
        value = _read(dump, row)
        scan.reasons[explain(value["output"], str(value.get("gts")), settings.reward).reason] += 1
        scan.reasoned += 1


def _read(dump: Any, row: _Row) -> dict[str, Any]:
    dump.seek(row.offset)
    return decode_json(dump.readline())[0]


def _show(dump: Any, rows: list[_Row], settings: ScanSettings) -> Group:
    advantages = _advantages([row.score for row in rows], settings)
    # Failures first here too, where a group is too large.
    order = sorted(range(len(rows)), key=lambda index: (rows[index].outcome == "right", index))[:MOST_OF_A_GROUP]
    rollouts, prompt, reference = [], "", ""
    for index in sorted(order):
        value = _read(dump, rows[index])
        prompt, reference = str(value.get("input", "")), str(value.get("gts"))
        rollouts.append(_rollout(rows[index], advantages[index], value["output"], reference, settings))
    return Group(
        prompt=clip(prompt, None)[0],
        reference=clip(reference, None)[0],
        source=rows[0].source,
        signal=_signal(rows),
        size=len(rows),
        rollouts=rollouts,
    )


def _rollout(row: _Row, advantage: float | None, output: str, reference: str, settings: ScanSettings) -> Rollout:
    reason, detail, fault, pairs = row.outcome, "", None, None
    if row.outcome != OTHER:
        why = explain(output, reference, settings.reward)
        reason, detail, fault = why.reason, why.detail, why.position
        pairs = pair_calls(output, reference, settings.reward)
    reply, fault = clip(output, fault)
    return Rollout(row.number, row.score, advantage, row.outcome, reason, detail, reply, fault, pairs)


def _advantages(scores: list[float | None], settings: ScanSettings) -> list[float | None]:
    """The advantages as verl's GRPO computes them; unknown for other estimators, and where a score is not known."""
    if not settings.grpo or None in scores:
        return [None] * len(scores)
    if len(scores) == 1:
        return [scores[0] / (1.0 + _EPSILON) if settings.by_std else scores[0]]
    mean = statistics.fmean(scores)
    scale = statistics.stdev(scores) + _EPSILON if settings.by_std else 1.0
    return [(score - mean) / scale for score in scores]


def clip(text: str, fault: int | None) -> tuple[str, int | None]:
    """A text of at most ``LONGEST_TEXT`` characters with what is around ``fault``, and where the fault stands in it."""
    if len(text) <= LONGEST_TEXT:
        return text, fault
    middle = LONGEST_TEXT // 2 if fault is None else fault
    kept = sorted({(0, AROUND), (max(0, middle - AROUND), middle + AROUND), (len(text) - AROUND, len(text))})
    parts, end = [], 0
    place = None
    for start, stop in kept:
        start, stop = max(start, end), min(stop, len(text))
        if stop <= start:
            continue
        if start > end:
            parts.append(f"\n[… {start - end:,} characters are not shown …]\n")
        if fault is not None and start <= fault <= stop and place is None:
            place = sum(map(len, parts)) + fault - start
        parts.append(text[start:stop])
        end = stop
    return "".join(parts), place
