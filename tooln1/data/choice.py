"""Choosing the rows of a mixture: which, for which split, in which order, and which to change."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tooln1.data.mixture import Mixture, belongs, first_of_each, generator
from tooln1.data.scan import Rules, Scan, code_of
from tooln1.data.split import choose_test
from tooln1.data.stats import Tally
from tooln1.errors import UserError

BROKEN = "broken"

REASONS = {
    "duplicate": "another row has the same prompt and the same reference",
    "duplicate_other_reference": "another row has the same prompt with another reference; the first one stays",
    "not_in_mixture": "the mixture takes no row of this data source, or has enough of them",
    "broken_row": "the row is not a prepared one (--on-error skip)",
}


@dataclass
class Choice:
    """Which rows are written. All arrays have one element a row of the input; a place of -1 means: not written.

    Places count over both splits, the training rows first. `repeats` has a few examples of rows dropped as repeated,
    each with the row that stays.
    """

    places: np.ndarray
    irrelevant: np.ndarray
    masked: np.ndarray
    train_rows: int
    counts: dict[str, Any]
    repeats: dict[str, list[tuple[int, int]]]


def choose(scan: Scan, mixture: Mixture, rules: Rules, test_size: float | int) -> Choice:
    """Draw the rows of the mixture, split them by conversation, shuffle them, and choose which to change.

    Raises:
        UserError: there are too few rows.
    """
    reasons, repeats = _drop_duplicates(scan)
    chosen, parts = _draw(scan, reasons, mixture, rules.seed)
    if len(chosen) < 2:
        raise UserError(f"the mixture has {len(chosen)} rows, too few to split; give more input")
    _, conversation, sizes = np.unique(scan.conversations[chosen], return_inverse=True, return_counts=True)
    test = np.zeros(len(sizes), bool)
    test[list(choose_test(sizes.tolist(), test_size, rules.seed))] = True
    held_out = test[conversation]
    shuffled = generator(rules.seed, "shuffle").permutation(len(chosen))
    # Stable: within each split, the order is that of the shuffle.
    order = shuffled[np.argsort(held_out[shuffled], kind="stable")]
    places = np.full(len(scan.digests), -1, np.int64)
    places[chosen[order]] = np.arange(len(chosen))
    reasons[(places < 0) & (reasons < 0)] = code_of(scan.names, "not_in_mixture")
    irrelevant, eligible = _draw_irrelevant(scan, chosen, rules)
    masked = np.zeros(len(places), bool)
    masked[_share(chosen, rules.mask, generator(rules.seed, "mask"), len(chosen))] = True
    counts = {
        **_count(scan, reasons, places),
        "mixture": parts,
        "irrelevance": {"rate": rules.irrelevance, "rows": int(irrelevant.sum()), "possible": eligible},
        "mask": {"rate": rules.mask, "rows": int(masked.sum())},
    }
    return Choice(places, irrelevant, masked, int((~held_out).sum()), counts, repeats)


def _drop_duplicates(scan: Scan) -> tuple[np.ndarray, dict[str, list[tuple[int, int]]]]:
    """Return the reasons with those of repeated prompts added, and a few examples of these.

    The first of equal prompts that may stay, stays.
    """
    reasons = scan.reasons.copy()
    usable = np.flatnonzero(reasons < 0)
    first = usable[first_of_each(scan.digests[usable])]
    repeated = usable != first
    other = scan.truths[usable] != scan.truths[first]
    examples = {}
    for name, found in (("duplicate", repeated & ~other), ("duplicate_other_reference", repeated & other)):
        reasons[usable[found]] = code_of(scan.names, name)
        examples[name] = list(zip(usable[found][:3].tolist(), first[found][:3].tolist(), strict=True))
    return reasons, examples


def _draw(scan: Scan, reasons: np.ndarray, mixture: Mixture, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the positions of the rows that the mixture takes, in order, and what it takes of each part."""
    candidates = {}
    for part in mixture.parts():
        codes = [code for code, name in enumerate(scan.names) if belongs(part, name)]
        mine = np.isin(scan.sources, codes) & (reasons < 0)
        if mixture.single_turn:
            mine &= scan.single_turn > 0
        # A row goes to the first part that it belongs to.
        for earlier in candidates.values():
            mine[earlier] = False
        candidates[part] = np.flatnonzero(mine)
    taken = mixture.take({part: len(rows) for part, rows in candidates.items()})
    drawn = [
        rows if taken[part] == len(rows) else generator(seed, f"draw {part}").permutation(rows)[: taken[part]]
        for part, rows in candidates.items()
    ]
    parts = {part: {"available": len(rows), "taken": taken[part]} for part, rows in candidates.items()}
    return np.sort(np.concatenate(drawn)), parts


def _draw_irrelevant(scan: Scan, chosen: np.ndarray, rules: Rules) -> tuple[np.ndarray, int]:
    """Choose the rows to make irrelevant, none of which then repeats another prompt, and count the possible ones."""
    irrelevant = np.zeros(len(scan.digests), bool)
    possible = chosen[scan.alternatives[chosen].any(axis=1)]
    both = np.concatenate([scan.digests[chosen], scan.alternatives[possible]])
    new = first_of_each(both)[len(chosen) :] == np.arange(len(chosen), len(both))
    possible = possible[new]
    irrelevant[_share(possible, rules.irrelevance, generator(rules.seed, "irrelevance"), len(chosen))] = True
    return irrelevant, len(possible)


def _share(rows: np.ndarray, rate: float, rng: np.random.Generator, of: int) -> np.ndarray:
    return rng.permutation(rows)[: round(rate * of)]


def _count(scan: Scan, reasons: np.ndarray, places: np.ndarray) -> dict[str, Any]:
    """Count for each data source what was read and kept, and why the rest was dropped."""
    counts: dict[str, Any] = {}
    for code, name in enumerate(scan.names):
        mine = scan.sources == code
        if not mine.any():
            continue
        codes, numbers = np.unique(reasons[mine & (places < 0)], return_counts=True)
        tally = Tally()
        tally.keep(int((mine & (places >= 0)).sum()))
        tally.dropped.update({scan.names[code]: int(number) for code, number in zip(codes, numbers, strict=True)})
        counts[name] = tally.as_dict()
    if scan.broken:
        # A broken row is of no data source.
        counts[BROKEN] = {"read": scan.broken, "kept": 0, "dropped": {"broken_row": scan.broken}}
    return {"data_sources": dict(sorted(counts.items()))}
