"""Which rows a mixture takes of each source: all, a number, or a share.

A part is named by the end of its rows' data_source ("xlam" for toolcall/xlam); "toolace" stands for both of ToolACE's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tooln1.errors import UserError

# The paper's curves end near step 145, with 1,024 prompts a step and 7 epochs over the data.
ABOUT_21K = 145 * 1024 // 7
SINGLE_TURN_ROWS = 5518


@dataclass(frozen=True)
class Mixture:
    """What to take: `counts` rows of each part (None: all of it).

    With `fill`, that part tops the others up to `total` rows. With `weights`, the parts stand in these proportions,
    `total` rows together or as many as there can be. `at_most` takes what there is where a count is more than that.
    `single_turn` takes only rows whose prompt is one request.
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
        """Return how many rows to take of each part, given how many there are.

        Raises:
            UserError: there are not enough, or none at all.
        """
        if self.weights:
            taken = self._by_weight(available)
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
            raise UserError(f"nothing to mix: no row of {', '.join(self.parts())} is left; give other input or parts")
        return taken

    def _by_weight(self, available: Mapping[str, int]) -> dict[str, int]:
        share = {name: weight / sum(self.weights.values()) for name, weight in self.weights.items()}
        largest = min(available[name] / part for name, part in share.items())
        total = int(largest) if self.total is None else self.total
        taken = {name: int(total * part) for name, part in share.items()}
        # What rounding down has lost goes to the parts that lost most of a row.
        by_loss = sorted(share, key=lambda name: taken[name] - total * share[name])
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


def parse_counts(texts: Sequence[str]) -> dict[str, int | None]:
    """Read NAME=NUMBER or NAME=all.

    Raises:
        UserError: a text is neither.
    """
    counts: dict[str, int | None] = {}
    for name, value in _pairs("--counts", texts):
        if value != "all" and not value.isdecimal():
            raise UserError(f"--counts {name}={value}: expected a whole number of rows, or all")
        counts[name] = None if value == "all" else int(value)
    return counts


def parse_weights(texts: Sequence[str]) -> dict[str, float]:
    """Read NAME=WEIGHT, weights being positive numbers in any proportion.

    Raises:
        UserError: a text is not of that form.
    """
    weights = {}
    for name, value in _pairs("--weights", texts):
        try:
            weights[name] = float(value)
        except ValueError:
            weights[name] = 0.0
        if not 0 < weights[name] < float("inf"):
            raise UserError(f"--weights {name}={value}: expected a positive number")
    return weights


def _pairs(option: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    pairs = [text.split("=", 1) for text in texts]
    if any(len(pair) != 2 for pair in pairs) or len({pair[0] for pair in pairs}) < len(pairs):
        raise UserError(f"{option} {' '.join(texts)}: expected NAME=VALUE, each name once")
    return [(pair[0], pair[1]) for pair in pairs]


def belongs(part: str, data_source: str) -> bool:
    """Whether rows of this data_source are of the part."""
    name = data_source.rpartition("/")[2]
    return part in (name, data_source) or (part == "toolace" and name in ("toolace_single_turn", "toolace_multi_turn"))


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Return a random generator of its own for each purpose, so that one choice does not shift another."""
    return np.random.Generator(np.random.PCG64([seed, *purpose.encode()]))


def first_of_each(digests: np.ndarray) -> np.ndarray:
    """Return for each row of 128-bit digests, an (n, 2) array, the position of the first equal one."""
    order = np.lexsort((np.arange(len(digests)), digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    starts = np.ones(len(digests), bool)
    starts[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    first = np.empty(len(digests), np.int64)
    first[order] = order[starts][np.cumsum(starts) - 1]
    return first
