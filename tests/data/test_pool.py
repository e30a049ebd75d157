"""Work in several processes keeps its order, and ends with one line when a process is killed.

The functions are those of installed modules: a process of its own cannot import one from this file.
"""

import math
import os

import pytest

from tooln1.data.pool import map_in_order
from tooln1.data.split import parse_test_size
from tooln1.errors import UserError


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    items = [30_000, 1, 20_000, 2, 3, 10_000, 4]  # the first takes longest
    assert list(map_in_order(math.factorial, items, workers)) == list(map(math.factorial, items))


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_worker_raises_is_raised_here_and_in_its_place(workers):
    results = map_in_order(parse_test_size, ["1", "2", "bad", "4"], workers)
    assert [next(results) for _ in range(2)] == [1, 2]
    with pytest.raises(UserError, match="^--test-size bad: expected"):
        next(results)


def test_only_a_few_items_are_taken_ahead():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_in_order(abs, items(), 2)
    next(results)
    assert len(taken) <= 10
    results.close()


def test_a_worker_that_dies_is_one_line():
    with pytest.raises(UserError, match="a worker process was killed"):
        list(map_in_order(os._exit, range(4), 2))


def test_a_single_item_starts_no_process():
    assert list(map_in_order(lambda number: os.getpid(), [0], 8)) == [os.getpid()]
