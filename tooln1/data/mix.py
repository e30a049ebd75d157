"""One training set out of prepared files: choose rows, split and shuffle them, and make some of them harder.

A part of a mixture is named by the end of its rows' data_source ("xlam" for toolcall/xlam); "toolace" names both of
ToolACE's.
"""

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from tooln1.data.augment import mask, without_answer_tools
from tooln1.data.counts import Counts, format_report
from tooln1.data.decontaminate import REASONS as EVALUATION_REASONS
from tooln1.data.decontaminate import Evaluation, read_evaluation
from tooln1.data.prepared import BROKEN_REASONS, PreparedRow, read_prepared, take_apart
from tooln1.data.rows import calls_of, conversation_key, digest, make_row, row_schema
from tooln1.data.script import choose_test, load_tokenizer, map_items, split_rows, write_data_set
from tooln1.errors import UserError
from tooln1.prompt import fill_template, load_template

REASONS = {
    "duplicate": "another row has the same prompt and the same ground truth",
    "duplicate_other_ground_truth": "another row has the same prompt with another ground truth; the first one stays",
    "not_in_mixture": "the mixture takes no row of this data source, or has enough of them",
    **BROKEN_REASONS,
    **EVALUATION_REASONS,
}

# The paper's curves end near step 145, with 1,024 prompts a step and 7 epochs over the data.
ABOUT_21K = 145 * 1024 // 7
SINGLE_TURN_ROWS = 5518


@dataclass(frozen=True)
class Mixture:
    """What to take: `counts` rows of each part (None: all of it); every row of the input without any part.

    With `fill`, that part tops the others up to `total` rows. With `weights`, the parts have these proportions: `total`
    rows together, or as many as there can be. `at_most` takes what there is where a count is higher. `single_turn`
    takes only rows whose prompt is one request.
    """

    counts: Mapping[str, int | None] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    total: int | None = None
    fill: str | None = None
    at_most: bool = False
    single_turn: bool = False

    def parts(self) -> list[str]:
        """Return the names of the parts, in order."""
        return [*self.counts, *([self.fill] if self.fill else []), *self.weights]

    def take(self, available: Mapping[str, int]) -> dict[str, int]:
        """Return how many rows to take of each part. Raises UserError if there are not enough, or none at all."""
        if self.weights:
            taken = self._by_weight(available)
        elif not self.parts():
            taken = dict(available)
        else:
            taken = {name: available[name] if count is None else count for name, count in self.counts.items()}
        if self.at_most:
            taken = {name: min(count, available[name]) for name, count in taken.items()}
        if self.fill:
            taken[self.fill] = min(available[self.fill], max(0, (self.total or 0) - sum(taken.values())))
        short = [f"{name} has {available[name]:,} of {n:,}" for name, n in taken.items() if n > available[name]]
        if short:
            raise UserError(f"not enough rows for the mixture: {', '.join(short)}; lower the numbers or add input")
        if not any(taken.values()):
            raise UserError(f"nothing to mix: no row of {', '.join(available)} is left; give other input or parts")
        return taken

    def _by_weight(self, available: Mapping[str, int]) -> dict[str, int]:
        fractions = {name: weight / sum(self.weights.values()) for name, weight in self.weights.items()}
        largest = min(available[name] / fraction for name, fraction in fractions.items())
        total = int(largest) if self.total is None else self.total
        taken = {name: int(total * fraction) for name, fraction in fractions.items()}
        # The rows lost by rounding down go to the parts that lost most of a row.
        by_loss = sorted(fractions, key=lambda name: taken[name] - total * fractions[name])
        for name in by_loss[: total - sum(taken.values())]:
            if taken[name] < available[name] or self.total is not None:
                taken[name] += 1
        return taken


PRESETS = {
    "full": Mixture({"toolace": None, "xlam": None}),
    "about-21k": Mixture({"toolace": None}, fill="xlam", total=ABOUT_21K, at_most=True),
    "xlam-only": Mixture({"xlam": None}),
    "toolace-only": Mixture({"toolace": None}),
    "single-turn-5518": Mixture(
        {"toolace": SINGLE_TURN_ROWS}, fill="xlam", total=SINGLE_TURN_ROWS, at_most=True, single_turn=True
    ),
}


@dataclass(slots=True)
class Examined:
    """The reason to drop a row, if there is one, and the digest of its irrelevant form, if it has one."""

    reason: str | None = None
    irrelevant: bytes | None = None


@dataclass(frozen=True)
class Selection:
    """The rows to write, in order, as positions in the input; which are for testing, and which to change."""

    order: list[int]
    test: np.ndarray
    irrelevant: set[int]
    masked: set[int]
    stats: dict[str, Any]


def mix_files(arguments: argparse.Namespace, mixture: Mixture) -> None:
    """Mix the prepared files that the command line names, write the files, and print the counts.

    Raises:
        UserError: an input is broken, there are too few rows, or a file cannot be written.
    """
    template = load_template(arguments.template) if arguments.template else None
    tokenizer = load_tokenizer(arguments.tokenizer)
    evaluation = read_evaluation(arguments.decontaminate) if arguments.decontaminate else None
    counts = Counts()
    prepared = read_prepared(arguments.input, arguments.on_error == "skip", counts)
    templates = {template or one.template for one in prepared}
    if len(templates) > 1:
        raise UserError("the inputs were prepared with different templates; give --template FILE to write all with one")
    examined = _examine(prepared, arguments, template, evaluation)
    selected = select(arguments, mixture, prepared, examined, counts)
    rows = _change(prepared, selected, arguments, template)
    print(counts.text(REASONS))
    for name in ("irrelevance", "mask"):
        if rate := selected.stats[name]["rate"]:
            print(f"\n{name}: {selected.stats[name]['rows']:,} of {len(rows):,} rows, {rate:.1%} requested")
    settings = {name: getattr(arguments, name) for name in ("preset", "seed", "test_size", "decontaminate")}
    stats = {"inputs": arguments.input, **settings, "data_sources": counts.by_source(), **selected.stats}
    report = format_report("Mixture", counts.table(), [counts], REASONS)
    schema = row_schema(template=templates.pop())
    write_data_set(arguments, split_rows(rows, selected.test), schema, stats, report, tokenizer)


def select(
    arguments: argparse.Namespace,
    mixture: Mixture,
    prepared: Sequence[PreparedRow],
    examined: Sequence[Examined],
    counts: Counts,
) -> Selection:
    """Drop what must go, draw the mixture, split it by conversation, shuffle it, and choose the rows to change.

    Raises:
        UserError: there are too few rows.
    """
    seed = arguments.seed
    digests = [digest(one.row["prompt"]) for one in prepared]
    usable = _drop(prepared, digests, examined, counts)
    chosen, parts = _draw(prepared, usable, mixture, seed)
    drawn = set(chosen.tolist())
    for number in usable:
        if number in drawn:
            counts.keep(prepared[number].row["data_source"])
        else:
            counts.drop(prepared[number].row["data_source"], "not_in_mixture")
    test = choose_test([conversation_key(prepared[n].row["prompt"]) for n in chosen], arguments.test_size, seed)
    possible = _possibly_irrelevant(chosen, digests, examined)
    irrelevant = _draw_fraction(possible, arguments.irrelevance, len(chosen), seed, "irrelevance")
    masked = _draw_fraction(chosen, arguments.mask, len(chosen), seed, "mask")
    order = _generator(seed, "shuffle").permutation(len(chosen))
    stats = {
        "mixture": parts,
        "irrelevance": {"rate": arguments.irrelevance, "rows": len(irrelevant), "possible": len(possible)},
        "mask": {"rate": arguments.mask, "rows": len(masked)},
    }
    return Selection(chosen[order].tolist(), test[order], irrelevant, masked, stats)


def _examine(
    prepared: Sequence[PreparedRow], arguments: argparse.Namespace, template: str | None, evaluation: Evaluation | None
) -> list[Examined]:
    if not arguments.irrelevance and evaluation is None:
        return [Examined()] * len(prepared)
    work = partial(_examine_row, template=template, irrelevance=bool(arguments.irrelevance), evaluation=evaluation)
    return list(map_items(work, prepared, arguments.workers, len(prepared), "examining"))


def _examine_row(
    prepared: PreparedRow, template: str | None, irrelevance: bool, evaluation: Evaluation | None
) -> Examined:
    system, *turns = prepared.row["prompt"]
    context, tools, written_with = take_apart(prepared)
    queries = [turn["content"] for turn in turns if turn["role"] == "user"]
    examined = Examined(evaluation and evaluation.why_not(queries, tools))
    left = without_answer_tools(tools, calls_of(prepared.row), turns) if irrelevance else None
    if left is not None:
        content = fill_template(left, context, template or written_with)
        examined.irrelevant = digest([{**system, "content": content}, *turns])
    return examined


def _drop(
    prepared: Sequence[PreparedRow], digests: Sequence[bytes], examined: Sequence[Examined], counts: Counts
) -> list[int]:
    """Return the positions of the rows that have no reason to go and repeat no earlier prompt; count the others."""
    usable: dict[bytes, int] = {}
    for number, (one, key) in enumerate(zip(prepared, digests, strict=True)):
        reason, text = examined[number].reason, one.row["prompt"][-1]["content"]
        if reason is None:
            first = prepared[usable.setdefault(key, number)]
            if first is one:
                continue
            same = first.row["reward_model"]["ground_truth"] == one.row["reward_model"]["ground_truth"]
            reason = "duplicate" if same else "duplicate_other_ground_truth"
            text = f"has the prompt of {first.place}"
        counts.drop(one.row["data_source"], reason, one.place, text)
    return list(usable.values())


def _draw(
    prepared: Sequence[PreparedRow], usable: Sequence[int], mixture: Mixture, seed: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the positions of the rows that the mixture takes, in order, and how many it takes of each part."""
    sources = sorted({prepared[number].row["data_source"] for number in usable})
    candidates: dict[str, list[int]] = {part: [] for part in mixture.parts() or sources}
    for number in usable:
        row = prepared[number].row
        if not mixture.single_turn or [message["role"] for message in row["prompt"]] == ["system", "user"]:
            # A row goes to the first part that it belongs to.
            part = next((part for part in candidates if _belongs(part, row["data_source"])), None)
            if part is not None:
                candidates[part].append(number)
    taken = mixture.take({part: len(numbers) for part, numbers in candidates.items()})
    drawn: list[int] = []
    for part, numbers in candidates.items():
        if taken[part] < len(numbers):
            numbers = _generator(seed, f"draw {part}").permutation(numbers)[: taken[part]].tolist()
        drawn += numbers
    parts = {part: {"available": len(numbers), "taken": taken[part]} for part, numbers in candidates.items()}
    return np.sort(np.array(drawn)), parts


def _belongs(part: str, data_source: str) -> bool:
    name = data_source.rpartition("/")[2]
    return part in (name, data_source) or (part == "toolace" and name in ("toolace_single_turn", "toolace_multi_turn"))


def _possibly_irrelevant(chosen: np.ndarray, digests: Sequence[bytes], examined: Sequence[Examined]) -> np.ndarray:
    """Return the chosen rows whose irrelevant form repeats no other prompt."""
    prompts = {digests[number] for number in chosen}
    possible = []
    for number in chosen:
        irrelevant = examined[number].irrelevant
        if irrelevant is not None and irrelevant not in prompts:
            prompts.add(irrelevant)
            possible.append(number)
    return np.array(possible, int)


def _draw_fraction(numbers: np.ndarray, rate: float, total: int, seed: int, purpose: str) -> set[int]:
    return set(_generator(seed, purpose).permutation(numbers)[: round(rate * total)].tolist())


def _generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a random generator for one purpose, so that one choice does not shift another."""
    return np.random.Generator(np.random.PCG64([seed, *purpose.encode()]))


def _change(
    prepared: Sequence[PreparedRow], selected: Selection, arguments: argparse.Namespace, template: str | None
) -> list[dict[str, Any]]:
    """Return the selected rows in order, with the changes that the selection and the template ask for."""
    numbers = [
        number
        for number in selected.order
        if number in selected.irrelevant
        or number in selected.masked
        or template not in (None, prepared[number].template)
    ]
    tasks = ((prepared[n], n in selected.irrelevant, n in selected.masked) for n in numbers)
    work = partial(_change_row, template=template, seed=arguments.seed)
    changed = dict(zip(numbers, map_items(work, tasks, arguments.workers, len(numbers), "changing"), strict=True))
    return [changed.get(number, prepared[number].row) for number in selected.order]


def _change_row(task: tuple[PreparedRow, bool, bool], template: str | None, seed: int) -> dict[str, Any]:
    prepared, irrelevant, masked = task
    row = prepared.row
    info, turns, calls = row["extra_info"], row["prompt"][1:], calls_of(row)
    context, tools, written_with = take_apart(prepared)
    if irrelevant:
        tools, calls = without_answer_tools(tools, calls, turns) or tools, []
    if masked:
        tools, calls, turns = mask(tools, calls, turns, random.Random(f"{seed} {digest(row['prompt']).hex()}"))
    content = fill_template(tools, context, template or written_with)
    return make_row(
        data_source=row["data_source"],
        messages=[{"role": "system", "content": content}, *turns],
        calls=calls,
        source_row=info["source_row"],
        num_tools=len(tools),
        turn=info.get("turn") or 0,
    )
