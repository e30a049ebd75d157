"""One dump of rollouts: counts over all of its rollouts, and a few whole groups to show.

A dump is read twice: the first pass keeps a few numbers of each rollout, the second reads only the rollouts that are
shown. A file of any size therefore needs the memory of its longest line.
"""

import math
import random
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from tooln1.analysis.explain import Explanation, explain
from tooln1.errors import UserError
from tooln1.files import Line, decode_json, describe_damage, read_jsonl
from tooln1.prompt import whole_response
from tooln1.report.data_sources import DataSources
from tooln1.report.pairs import pair_calls
from tooln1.reward_score import reward_function

# The outcome of a rollout, in the order in which a response can go wrong.
RIGHT, OTHER = "right", "not a tool call"
OUTCOMES = ("format wrong", "wrong tool", "wrong arguments", RIGHT)
# The outcomes of a group together. Without a difference in score, GRPO's advantages are all 0.
SIGNALS = ("all wrong", "mixed", "all right")
_SHOWN_FIRST = ("mixed", "all wrong", "all right")

# Of a larger group, this many rollouts are shown.
MOST_OF_A_GROUP = 16
# Of a longer text, the beginning, the end and the surroundings of the first mistake are shown.
LONGEST_TEXT, AROUND = 6000, 1500
# So many failures of a step are explained: an explanation takes ten times as long as a score.
EXPLAINED = 100
_EPSILON = 1e-6  # verl's, in compute_grpo_outcome_advantage


@dataclass(frozen=True)
class DumpSettings:
    """How the dumps of a run are read: by which reward, how GRPO computed advantages, and how many groups are shown."""

    reward: str = "strict"  # or "paper"
    grpo: bool = True
    by_std: bool = True  # whether advantages are divided by the standard deviation
    groups: int = 16
    seed: int = 0


@dataclass(slots=True)
class _Row:
    """What the first pass keeps of a rollout."""

    offset: int
    number: int
    score: float | None
    outcome: str
    source: str | None


@dataclass
class Dump:
    """The content of one dump. Its counters are over all rollouts, but only some failures are explained by `reasons`.

    `by_source` holds the number of rollouts and of right ones; `differing` counts scores that differ from the reward's;
    `shown` holds groups as the page reads them.
    """

    rollouts: int = 0
    mean_score: float | None = None
    outcomes: Counter[str] = field(default_factory=Counter)
    groups: Counter[str] = field(default_factory=Counter)
    by_source: dict[str, list[int]] = field(default_factory=dict)
    differing: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    shown: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        """The fraction of right responses, among those whose ground truth is a list of calls."""
        judged = sum(self.outcomes[outcome] for outcome in OUTCOMES)
        return self.outcomes[RIGHT] / judged if judged else None


def read_dump(path: Path, settings: DumpSettings, sources: DataSources) -> Dump:
    """Read one dump. Damaged lines are left out and noted; no response and no ground truth raises."""
    dump, damage = Dump(), Counter()
    groups: dict[Hashable, list[_Row]] = defaultdict(list)
    try:
        for line in read_jsonl(path, damage):
            if isinstance(line.value.get("output"), str):
                _complete(line.value)
                groups[_group_key(line.value)].append(_judge(line, settings, sources))
    except UserError as error:
        dump.notes.append(str(error))
    dump.notes += describe_damage(path, damage)
    if not groups:
        dump.notes.append(f"{path.name}: holds no rollouts")
        return dump
    _count(dump, list(groups.values()))
    rng = random.Random(f"{settings.seed} {path.parent.name} {path.stem}")
    with path.open("rb") as file:
        _explain_some(dump, file, groups.values(), settings, rng)
        dump.shown = [_show(file, rows, settings) for rows in _choose(groups.values(), settings.groups, rng)]
    return dump


def _group_key(row: dict[str, Any]) -> Hashable:
    """verl's uid is <prompt>_<rollout>_<output>. Without a uid, the hash of prompt and ground truth is the key."""
    return str(row.get("uid") or "").rsplit("_", 2)[0] or hash((str(row.get("input")), str(row.get("gts"))))


def _judge(line: Line, settings: DumpSettings, sources: DataSources) -> _Row:
    row, ground_truth, score = line.value, str(line.value.get("gts")), line.value.get("score")
    try:
        keys = reward_function(settings.reward)("", row["output"], ground_truth)
    except ValueError:
        outcome = OTHER
    else:
        mistake = "format wrong" if keys["format"] < 1 else "wrong tool" if keys["tool_name"] < 1 else "wrong arguments"
        outcome = RIGHT if keys["acc"] >= 1 else mistake
    source = row.get("data_source") or sources.find(ground_truth, str(row.get("input", "")))
    return _Row(
        offset=line.offset,
        number=line.number,
        score=float(score) if isinstance(score, int | float) and math.isfinite(score) else None,
        outcome=outcome,
        source=None if source is None else str(source),
    )


def _count(dump: Dump, groups: list[list[_Row]]) -> None:
    rows = [row for group in groups for row in group]
    scores = [row.score for row in rows if row.score is not None]
    dump.rollouts = len(rows)
    dump.mean_score = statistics.fmean(scores) if scores else None
    dump.outcomes = Counter(row.outcome for row in rows)
    dump.groups = Counter(map(_signal, groups))
    for row in rows:
        if row.outcome == OTHER:
            continue
        if row.source is not None:
            counts = dump.by_source.setdefault(row.source, [0, 0])
            counts[0] += 1
            counts[1] += row.outcome == RIGHT
        if row.score is not None:
            dump.differing += (row.score >= 1) != (row.outcome == RIGHT)


def _signal(rows: list[_Row]) -> str:
    scores = {row.score if row.score is not None else float(row.outcome == RIGHT) for row in rows}
    if len(scores) > 1:
        return "mixed"
    return "all right" if rows[0].outcome == RIGHT or scores == {1.0} else "all wrong"


def _choose(groups, most: int, rng: random.Random) -> list[list[_Row]]:
    """Return the groups to show: those that disagree first, then those that fail; at random among equals."""
    drawn = list(groups)
    rng.shuffle(drawn)
    return sorted(drawn, key=lambda rows: _SHOWN_FIRST.index(_signal(rows)))[:most]


def _explain_some(dump: Dump, file: BinaryIO, groups, settings: DumpSettings, rng: random.Random) -> None:
    """Count the reasons of some failures, drawn at random."""
    failures = [row for rows in groups for row in rows if row.outcome not in (RIGHT, OTHER)]
    for row in sorted(rng.sample(failures, min(EXPLAINED, len(failures))), key=lambda row: row.offset):
        value = _read(file, row)
        dump.reasons[explain(value["output"], str(value.get("gts")), settings.reward).reason] += 1


def _read(file: BinaryIO, row: _Row) -> dict[str, Any]:
    file.seek(row.offset)
    return _complete(decode_json(file.readline())[0])


def _complete(value: dict[str, Any]) -> dict[str, Any]:
    """Add the <think> that the prompt has opened to the response."""
    value["output"] = whole_response(str(value.get("input", "")), value["output"])
    return value


def _show(file: BinaryIO, rows: list[_Row], settings: DumpSettings) -> dict[str, Any]:
    advantages = _advantages([row.score for row in rows], settings)
    # Of a group that is too large, failures come first.
    order = sorted(range(len(rows)), key=lambda index: (rows[index].outcome == RIGHT, index))[:MOST_OF_A_GROUP]
    values = {index: _read(file, rows[index]) for index in sorted(order)}
    last = values[max(values)]
    return {
        "prompt": clip(str(last.get("input", "")))[0],
        "ground_truth": clip(str(last.get("gts")))[0],
        "source": rows[0].source,
        "signal": _signal(rows),
        "size": len(rows),
        "rollouts": [_show_rollout(rows[index], advantages[index], value, settings) for index, value in values.items()],
    }


def _show_rollout(row: _Row, advantage: float | None, value: dict[str, Any], settings: DumpSettings) -> dict[str, Any]:
    why, pairs, ground_truth = Explanation(row.outcome), None, str(value.get("gts"))
    if row.outcome != OTHER:
        why = explain(value["output"], ground_truth, settings.reward)
        pairs = pair_calls(value["output"], ground_truth, settings.reward)
    response, mistake = clip(value["output"], why.position)
    return {
        "number": row.number,
        "score": row.score,
        "advantage": advantage,
        "outcome": row.outcome,
        "reason": why.reason,
        "detail": why.detail,
        "response": response,
        "mistake": mistake,  # the index of the first one in the response
        "pairs": pairs,
    }


def _advantages(scores: list[float | None], settings: DumpSettings) -> list[float | None]:
    """Return the advantages as verl's GRPO computes them; None for other estimators and unknown scores."""
    if not settings.grpo or None in scores:
        return [None] * len(scores)
    mean, deviation = (statistics.fmean(scores), statistics.stdev(scores)) if len(scores) > 1 else (0.0, 1.0)
    scale = deviation + _EPSILON if settings.by_std else 1.0
    return [(score - mean) / scale for score in scores]


def clip(text: str, mistake: int | None = None) -> tuple[str, int | None]:
    """Cut a text to about `LONGEST_TEXT` characters around `mistake`, and return it with the mistake's new index."""
    if len(text) <= LONGEST_TEXT:
        return text, mistake
    middle = LONGEST_TEXT // 2 if mistake is None else mistake
    kept = sorted([(0, AROUND), (max(0, middle - AROUND), middle + AROUND), (len(text) - AROUND, len(text))])
    parts, end, place = [], 0, None
    for start, stop in kept:
        start, stop = max(start, end), min(stop, len(text))
        if stop <= start:
            continue
        if start > end:
            parts.append(f"\n[… {start - end:,} characters are not shown …]\n")
        if mistake is not None and start <= mistake <= stop and place is None:
            place = sum(map(len, parts)) + mistake - start
        parts.append(text[start:stop])
        end = stop
    return "".join(parts), place
