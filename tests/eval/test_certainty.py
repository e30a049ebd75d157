"""Intervals and tests against figures computed elsewhere, and how often the intervals cover the truth."""

import numpy as np
import pytest

from tooln1.eval.certainty import (
    by_variance,
    case_variance,
    mcnemar,
    p_value,
    paired_interval,
    pass_hat,
    repeat_variance,
    smallest_difference,
    weighted_interval,
    wilson,
)


@pytest.mark.parametrize("correct, total", [(0, 10), (1, 10), (8, 10), (10, 10), (263, 297), (1050, 1053)])
def test_wilsons_limits_are_the_accuracies_that_the_score_test_just_accepts(correct, total):
    accuracy = correct / total
    low, high = wilson(correct, total)
    assert 0 <= low <= accuracy <= high <= 1
    for limit in (low, high):
        distance = abs(accuracy - limit) / (limit * (1 - limit) / total) ** 0.5 if 0 < limit < 1 else None
        assert distance is None or distance == pytest.approx(1.959964, abs=1e-5)
    assert (low == 0) == (correct == 0) and (high == 1) == (correct == total)
    assert wilson(0, 0) is None


# The last but one is 2 · (1 + 10) / 2^10.
@pytest.mark.parametrize(
    "gained, lost, p", [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (1, 9, 22 / 1024), (9, 1, 22 / 1024)]
)
def test_mcnemar_is_the_exact_binomial_test(gained, lost, p):
    assert mcnemar(gained, lost) == pytest.approx(p)
    assert 0 < mcnemar(900, 1200) < 1e-9  # no overflow


def test_the_interval_of_a_difference_is_around_it():
    low, high = paired_interval([1] * 30 + [-1] * 10 + [0] * 60)
    assert (low + high) / 2 == pytest.approx(0.2)
    assert low == pytest.approx(0.2 - 1.959964 * ((0.4 - 0.04) / 100) ** 0.5)


def test_differences_that_are_fractions_are_compared_by_their_mean():
    assert p_value([1, 0, -1, 1]) == mcnemar(2, 1)
    assert p_value([0.5, 0.0] * 50) < 1e-9 and p_value([0.5, -0.5] * 50) == 1.0 and p_value([0.5] * 3) == 0.0


def test_the_smallest_difference_is_found_in_four_of_five_comparisons():
    random, cases, disagreement = np.random.default_rng(0), 400, 0.2
    smallest = smallest_difference([1, -1] * 40 + [0] * 320)
    chances = [(disagreement - smallest) / 2, 1 - disagreement, (disagreement + smallest) / 2]
    draws = random.choice([-1, 0, 1], p=chances, size=(1000, cases))
    found = sum(mcnemar(*(int((row == sign).sum()) for sign in (1, -1))) < 0.05 for row in draws)
    assert 730 < found < 850
    assert smallest_difference([0] * 100) == pytest.approx(0.028, abs=1e-3)  # they agree, but on so few cases


@pytest.mark.parametrize(
    "counts, k, share", [([(1, 2), (2, 2)], 1, 0.75), ([(1, 2), (2, 2)], 2, 0.5), ([(3, 4)], 3, 0.25)]
)
def test_pass_hat_draws_from_the_repeats(counts, k, share):
    assert pass_hat(counts, k) == pytest.approx(share)
    assert pass_hat([(1, 1)], 2) is None


# How likely each case is right: all the same, or easy and hard ones.
EVEN, MIXED = np.full(150, 0.8), np.repeat([0.0, 0.5, 0.9, 1.0], [10, 30, 60, 50])


def interval_over_cases(counts):
    scored, correct = sum(total for _, total in counts), sum(correct for correct, _ in counts)
    return by_variance(correct / scored, case_variance(counts), len(counts))


def interval_over_repeats(counts):
    scored, correct = sum(total for _, total in counts), sum(correct for correct, _ in counts)
    return by_variance(correct / scored, repeat_variance(counts), scored)


def interval_of_a_mean(counts):
    half = len(counts) // 2
    parts = [counts[:half], counts[half:]]
    accuracies = [sum(correct for correct, _ in part) / sum(total for _, total in part) for part in parts]
    return weighted_interval(
        [(0.5, accuracy, interval_over_cases(part)) for accuracy, part in zip(accuracies, parts, strict=True)]
    )


@pytest.mark.parametrize(
    "interval, chances, repeats, draws_cases",
    [
        (interval_over_cases, EVEN, 1, False),
        (interval_over_cases, EVEN, 4, False),
        (interval_over_cases, MIXED, 1, True),
        (interval_over_cases, MIXED, 4, True),
        (interval_over_repeats, EVEN, 2, False),
        (interval_over_repeats, MIXED, 2, False),
        (interval_over_repeats, MIXED, 8, False),
        (interval_of_a_mean, EVEN, 1, False),
        (interval_of_a_mean, np.full(60, 0.8), 1, False),
    ],
)
def test_intervals_cover_the_known_accuracy_of_an_endpoint(interval, chances, repeats, draws_cases):
    random, covered = np.random.default_rng(1), 0
    for _ in range(1000):
        drawn = random.choice(chances, size=len(chances)) if draws_cases else chances
        low, high = interval([(int(correct), repeats) for correct in random.binomial(repeats, drawn)])
        covered += low <= chances.mean() <= high
    assert 930 <= covered <= 970


def test_an_endpoint_that_is_always_right_has_an_interval_below_one():
    assert interval_over_cases([(3, 3)] * 10) == pytest.approx(wilson(10, 10))
    assert interval_over_repeats([(3, 3)] * 10) == pytest.approx(wilson(30, 30))
    assert interval_over_repeats([(3, 3), (0, 3)]) == (0.5, 0.5)  # no chance in it
    assert repeat_variance([(1, 1)] * 10) is None
