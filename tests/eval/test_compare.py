"""Intervals and tests against figures computed elsewhere."""

import pytest

from tooln1.eval.compare import mcnemar, paired_interval
from tooln1.eval.summary import wilson


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
    low, high = paired_interval(30, 10, 100)
    assert (low + high) / 2 == pytest.approx(0.2)
    assert low == pytest.approx(0.2 - 1.959964 * ((0.4 - 0.04) / 100) ** 0.5)
