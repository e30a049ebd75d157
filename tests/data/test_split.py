import pytest

from tooln1.data.errors import DataError
from tooln1.data.split import choose_test, parse_test_size


@pytest.mark.parametrize("text, expected", [("0.05", 0.05), ("1", 1), ("20", 20), (".5", 0.5)])
def test_a_test_size_is_a_share_or_a_number(text, expected):
    value = parse_test_size(text)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1.0", "many", "nan", "inf", ""])
def test_any_other_test_size_is_refused(text):
    with pytest.raises(DataError, match="--test-size"):
        parse_test_size(text)


@pytest.mark.parametrize("size, expected", [(0.05, 5), (0.001, 1), (7, 7), (99, 99)])
def test_the_split_has_the_size_asked_for_and_follows_the_seed(size, expected):
    chosen = choose_test(100, size, seed=3)
    assert len(chosen) == expected and chosen <= set(range(100))
    assert choose_test(100, size, seed=3) == chosen


def test_another_seed_splits_otherwise():
    assert choose_test(1000, 0.1, seed=1) != choose_test(1000, 0.1, seed=2)


@pytest.mark.parametrize("conversations, size", [(0, 0.5), (1, 0.05), (5, 5), (5, 50)])
def test_training_keeps_at_least_one_conversation(conversations, size):
    with pytest.raises(DataError, match="nothing to train on"):
        choose_test(conversations, size, seed=0)
