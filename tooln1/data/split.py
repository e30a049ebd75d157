"""Choosing which conversations are for testing."""

import random
from array import array
from collections.abc import Sequence
from contextlib import suppress

from tooln1.errors import UserError


def parse_test_size(text: str) -> float | int:
    """Read --test-size: a whole number counts rows, a number between 0 and 1 is their share.

    Raises:
        UserError: the text is neither.
    """
    with suppress(ValueError):
        if text.isdecimal() and int(text) > 0:
            return int(text)
        if 0 < float(text) < 1:
            return float(text)
    raise UserError(f"--test-size {text}: expected a share between 0 and 1, or a whole number of rows")


def choose_test(sizes: Sequence[int], test_size: float | int, seed: int) -> set[int]:
    """Return which conversations are for testing, by their positions; `sizes` are their numbers of rows.

    The rows of the chosen ones come to `test_size`, or to as much below it as whole conversations allow; at least one
    conversation goes to either side.

    Raises:
        UserError: there are too few rows for that.
    """
    total = sum(sizes)
    wanted = test_size if isinstance(test_size, int) else max(1, round(total * test_size))
    if wanted >= total or len(sizes) < 2:
        raise UserError(
            f"a test set of {wanted:,} rows leaves nothing to train on: {total:,} rows of {len(sizes):,} conversations "
            "could be used; lower --test-size or give more input"
        )
    order = array("I", range(len(sizes)))  # four bytes a conversation; a list takes forty
    random.Random(seed).shuffle(order)
    chosen: set[int] = set()
    rows = 0
    for number in order:
        if rows == wanted:
            break
        if rows + sizes[number] <= wanted:
            chosen.add(number)
            rows += sizes[number]
    # Every conversation is longer than the test set is to be: the shortest comes nearest.
    return chosen or {min(order, key=lambda number: sizes[number])}
