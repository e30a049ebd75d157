"""The statistics of accuracies: an interval for one, a test for the difference of two on the same cases."""

import math

_NORMAL_975 = 1.959963984540054


def wilson(correct: int, total: int) -> tuple[float, float] | None:
    """Return Wilson's score interval for a share at 95 % confidence; None without a case.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not total:
        return None
    share, z = correct / total, _NORMAL_975
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At 0 and 1 a limit is the share itself, which rounding must not pass.
    return min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half))


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test.

    Args:
        gained: cases that only the second of two runs has right.
        lost: cases that only the first has right.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    1947; exact, the smaller count is binomial with probability 1/2.
    """
    total, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(total, count) for count in range(fewer + 1))
    # Integers of any size divide exactly to a float; 2.0 ** total would overflow from 1024 cases on.
    return min(1.0, 2 * tail / 2**total)


def paired_interval(gained: int, lost: int, total: int) -> tuple[float, float] | None:
    """Return Wald's interval at 95 % for the difference of two accuracies on the same cases; None without a case."""
    if not total:
        return None
    difference = (gained - lost) / total
    half = _NORMAL_975 * math.sqrt(max(0.0, (gained + lost) / total - difference**2) / total)
    return difference - half, difference + half
