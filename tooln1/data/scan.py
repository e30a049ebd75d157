"""The first reading of files to be mixed: a digest of each row's prompt and of its conversation, and what rules it out.

That is some sixty bytes a row, enough to choose from a million rows without holding one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from tooln1.data.augment import without_answer_tools
from tooln1.data.decontaminate import Evaluation
from tooln1.data.prepared import Unit, calls_of, each_row, naming, take_apart
from tooln1.data.stats import Example, Examples
from tooln1.errors import UserError
from tooln1.prompt import fill_template

_SHOWN = 200


@dataclass(frozen=True)
class Rules:
    """What the command line decides about single rows; `template` is another one to write the prompts with."""

    seed: int = 0
    template: str | None = None
    irrelevance: float = 0.0
    mask: float = 0.0
    evaluation: Evaluation | None = None
    skip_broken: bool = False


@dataclass
class Scan:
    """What the first reading finds out about rows, in the order of the input; `alternatives` are irrelevant prompts.

    `reasons` are positions in `names`, as `sources` are; -1 is no reason. A prompt that has no alternative has zeros.
    """

    digests: np.ndarray
    alternatives: np.ndarray
    conversations: np.ndarray
    truths: np.ndarray
    sources: np.ndarray
    reasons: np.ndarray
    offsets: np.ndarray
    single_turn: np.ndarray
    names: list[str]
    examples: Examples = field(default_factory=Examples)
    broken: int = 0


_ARRAYS = [field.name for field in fields(Scan) if field.type is np.ndarray]


def scan_unit(unit: Unit, rules: Rules) -> Scan:
    """Read the rows of a unit for the first time."""
    names: list[str] = []
    columns: list[list[Any]] = [[] for _ in _ARRAYS]
    scan = Scan(*(np.empty(0) for _ in columns), names)

    def broken(error: UserError) -> None:
        scan.broken += 1
        scan.examples.add("broken_row", Example(unit.path, str(error)))

    for position, row in each_row(unit, rules.skip_broken, broken):
        prompt = row["prompt"]
        with naming(unit, position):
            reason, alternative = _examine(row, unit, rules)
        if reason:
            scan.examples.add(reason, _example(unit, position, prompt))
        for column, value in zip(
            columns,
            (
                digest(prompt),
                alternative,
                digest(_opening(prompt))[:8],
                hashlib.blake2b(row["reward_model"]["ground_truth"].encode(), digest_size=8).digest(),
                code_of(names, row["data_source"]),
                code_of(names, reason) if reason else -1,
                position - unit.first,
                [message["role"] for message in prompt] == ["system", "user"],
            ),
            strict=True,
        ):
            column.append(value)
    digests, alternatives, conversations, truths, *numbers = columns
    scan.digests, scan.alternatives = (_words(column).reshape(-1, 2) for column in (digests, alternatives))
    scan.conversations, scan.truths = _words(conversations), _words(truths)
    scan.sources, scan.reasons, scan.offsets, scan.single_turn = (np.array(column, np.int32) for column in numbers)
    return scan


def _examine(row: dict[str, Any], unit: Unit, rules: Rules) -> tuple[str | None, bytes]:
    """Return why the row must go, if it must, and the digest of its irrelevant form, if it has one and may need it."""
    nothing = bytes(16)
    if not rules.irrelevance and not rules.evaluation:
        return None, nothing
    system, *turns = row["prompt"]
    context, tools, template = take_apart(system["content"], unit.template)
    if rules.evaluation:
        queries = [turn["content"] for turn in turns if turn["role"] == "user"]
        if reason := rules.evaluation.why_not(queries, tools):
            return reason, nothing
    left = without_answer_tools(tools, calls_of(row), turns) if rules.irrelevance else None
    if left is None:
        return None, nothing
    content = fill_template(left, context, rules.template or template)
    return None, digest([{"role": "system", "content": content}, *turns])


def _opening(prompt: Sequence[Mapping[str, str]]) -> Sequence[Mapping[str, str]]:
    """The messages up to the user's first: every row of a conversation starts with them, whatever file it is in."""
    first = next((n for n, message in enumerate(prompt) if message["role"] == "user"), len(prompt) - 1)
    return prompt[: first + 1]


def digest(messages: Sequence[Mapping[str, str]]) -> bytes:
    """Return 128 bits that two prompts share only if they are the same."""
    content = hashlib.blake2b(digest_size=16)
    for message in messages:
        # The length keeps a text that looks like a message's end from passing for one.
        text = message["content"].encode()
        content.update(f"{message['role']} {len(text)} ".encode())
        content.update(text)
    return content.digest()


def _words(digests: Sequence[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), "<u8")


def code_of(names: list[str], name: str) -> int:
    """Return the name's position in the list, to whose end it is added if need be."""
    if name not in names:
        names.append(name)
    return names.index(name)


def _example(unit: Unit, position: int, prompt: Sequence[Mapping[str, str]]) -> Example:
    return Example(f"{unit.path}, row {position}", prompt[-1]["content"][:_SHOWN])


def join_scans(scans: Sequence[Scan]) -> Scan:
    """Return the scans of all units as one."""
    names: list[str] = []
    for scan in scans:
        codes = np.array([code_of(names, name) for name in scan.names] + [-1], np.int32)
        scan.sources, scan.reasons = codes[scan.sources], codes[scan.reasons]
    arrays = [np.concatenate([getattr(scan, name) for scan in scans]) for name in _ARRAYS]
    joined = Scan(*arrays, names)
    for scan in scans:
        joined.examples.update(scan.examples)
        joined.broken += scan.broken
    return joined
