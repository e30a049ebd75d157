"""Choosing which conversations are for testing."""

import random
from contextlib import suppress

from tooln1.data.errors import DataError


def parse_test_size(text: str) -> float | int:
    """Read --test-size: a whole number counts conversations, a number between 0 and 1 is their share.

    Raises:
        DataError: the text is neither.
    """
    with suppress(ValueError):
        if text.isdecimal() and int(text) > 0:
            return int(text)
        if 0 < float(text) < 1:
            return float(text)
    raise DataError(f"--test-size {text}: expected a share between 0 and 1, or a whole number of conversations")


def choose_test(conversations: int, test_size: float | int, seed: int) -> set[int]:
    """Return the positions of the test conversations; at least one goes to either side.

    Raises:
        DataError: there are too few conversations for that.
    """
    wanted = test_size if isinstance(test_size, int) else max(1, round(conversations * test_size))
    if wanted >= conversations:
        raise DataError(
            f"a test set of {wanted} leaves nothing to train on: {conversations} conversations gave rows; "
            "lower --test-size or give more input"
        )
    return set(random.Random(seed).sample(range(conversations), wanted))
