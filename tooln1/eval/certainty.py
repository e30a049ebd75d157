"""How certain an accuracy or a difference is: intervals at 95 %, pass^k, and McNemar's test."""

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

# The normal deviate of a two-sided interval at 95 %, and that of a power of 80 %.
Z, Z_POWER = NormalDist().inv_cdf(0.975), NormalDist().inv_cdf(0.8)

Interval = tuple[float, float]
# Of each case, how many of its responses are correct, and how many there are.
Counts = Sequence[tuple[int, int]]


def wilson(correct: float, total: float) -> Interval | None:
    """Return Wilson's score interval for an accuracy at 95 % confidence; None without a case.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    if not total:
        return None
    accuracy = correct / total
    scale = 1 + Z**2 / total
    centre = (accuracy + Z**2 / (2 * total)) / scale
    half = Z / scale * math.sqrt(accuracy * (1 - accuracy) / total + Z**2 / (4 * total**2))
    # At 0 and 1 a limit is the accuracy itself, and rounding must not pass it.
    return min(accuracy, max(0.0, centre - half)), max(accuracy, min(1.0, centre + half))


def by_variance(accuracy: float, variance: float, size: float) -> Interval | None:
    """Return Wilson's interval for as many independent responses as would give an accuracy this variance.

    Args:
        size: the number of responses, where the variance says nothing: at an accuracy of 0 or 1.
    """
    spread = accuracy * (1 - accuracy)
    if spread and not variance:
        return accuracy, accuracy
    size = spread / variance if spread else size
    return wilson(accuracy * size, size)


def case_variance(counts: Counts) -> float:
    """Return the variance of an accuracy if other cases of the same kind are asked.

    The cases are the sample: what a case's responses have in common makes them one observation. At least, it is the
    variance of independent responses. Without repeats the interval is Wilson's own.
    """
    responses = sum(total for _, total in counts)
    accuracy = sum(correct for correct, _ in counts) / responses
    variance = sum((correct / total - accuracy) ** 2 for correct, total in counts) / len(counts) ** 2
    return max(variance, accuracy * (1 - accuracy) / responses)


def repeat_variance(counts: Counts) -> float | None:
    """Return the variance of an accuracy if the same cases are asked again; None without repeats."""
    if not all(total > 1 for _, total in counts):
        return None
    within = (correct * (total - correct) / total**2 / (total - 1) for correct, total in counts)
    return sum(within) / len(counts) ** 2


def pass_hat(counts: Counts, k: int) -> float | None:
    """Return the share of cases of which k responses, drawn at random from theirs, are all correct.

    Source: S. Yao et al., "τ-bench", https://arxiv.org/abs/2406.12045, pass^k. None if no case has k responses.
    """
    shares = [math.comb(correct, k) / math.comb(total, k) for correct, total in counts if total >= k]
    return fmean(shares) if shares else None


def weighted_interval(parts: Sequence[tuple[float, float, Interval]]) -> Interval:
    """Return the interval of a weighted sum of independent accuracies from (weight, accuracy, interval) of each.

    Source: G. Y. Zou, A. Donner, "Construction of confidence limits about effect measures", 2008.
    """
    accuracy = sum(weight * part for weight, part, _ in parts)
    below = math.sqrt(sum((weight * (part - low)) ** 2 for weight, part, (low, _) in parts))
    above = math.sqrt(sum((weight * (high - part)) ** 2 for weight, part, (_, high) in parts))
    return accuracy - below, accuracy + above


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


def p_value(differences: Sequence[float]) -> float:
    """Return the p-value of paired differences: McNemar's, or by the normal distribution if some are fractions."""
    gained, lost = (sum(one * sign > 0 for one in differences) for sign in (1, -1))
    if all(one in (-1, 0, 1) for one in differences):
        return mcnemar(gained, lost)
    deviation = math.sqrt(_variance(differences) / len(differences))
    return 2 * NormalDist().cdf(-abs(fmean(differences)) / deviation) if deviation else 0.0


def paired_interval(differences: Sequence[float]) -> Interval:
    """Return Wald's interval at 95 % for the mean of paired differences, each from -1 to 1."""
    half = Z * math.sqrt(_variance(differences) / len(differences))
    return fmean(differences) - half, fmean(differences) + half


def smallest_difference(differences: Sequence[float]) -> float:
    """Return the difference that these cases show in four of five comparisons, at a level of 5 %.

    It grows with the cases on which the two disagree. If they agree on all, one more is taken to differ.
    """
    disagreement = max(1.0, sum(one**2 for one in differences))
    return (Z + Z_POWER) * math.sqrt(disagreement) / len(differences)


def _variance(differences: Sequence[float]) -> float:
    return max(0.0, fmean(one**2 for one in differences) - fmean(differences) ** 2)
