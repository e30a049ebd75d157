"""The statistics of accuracies: an interval for one, a test for the difference of two on the same cases."""

import math
from statistics import NormalDist

_Z = NormalDist().inv_cdf(0.975)


def wilson(correct: int, total: int) -> tuple[float, float] | None:
    """Return Wilson's score interval for an accuracy at 95 % confidence; None without a case.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not total:
        return None
    accuracy = correct / total
    scale = 1 + _Z**2 / total
    centre = (accuracy + _Z**2 / (2 * total)) / scale
    half = _Z / scale * math.sqrt(accuracy * (1 - accuracy) / total + _Z**2 / (4 * total**2))
    # At 0 and 1 a limit is the accuracy itself, and rounding must not pass it.
    return min(accuracy, max(0.0, centre - half)), max(accuracy, min(1.0, centre + half))


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    Args:
        gained: cases that only the second of two runs has right.
        lost: cases that only the first has right.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    1947; exact: the smaller count is binomial with probability 1/2.
    """
    total, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(total, count) for count in range(fewer + 1))
    # Integers of any size divide exactly to a float; 2.0 ** total would overflow from 1024 cases on.
    return min(1.0, 2 * tail / 2**total)


def paired_interval(gained: int, lost: int, total: int) -> tuple[float, float]:
    """Return Wald's interval at 95 % for the difference of two accuracies on the same ``total`` cases."""
    difference = (gained - lost) / total
    half = _Z * math.sqrt(max(0.0, (gained + lost) / total - difference**2) / total)
    return difference - half, difference + half
