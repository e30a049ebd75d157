import pytest
from hypothesis import given
from hypothesis import strategies as st

from tooln1.data.split import choose_test, parse_test_size
from tooln1.errors import UserError


@pytest.mark.parametrize("text, expected", [("0.05", 0.05), ("1", 1), ("20", 20), (".5", 0.5)])
def test_a_test_size_is_a_share_or_a_number(text, expected):
    value = parse_test_size(text)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1.0", "many", "nan", "inf", ""])
def test_any_other_test_size_is_refused(text):
    with pytest.raises(UserError, match="--test-size"):
        parse_test_size(text)


@pytest.mark.parametrize("size, expected", [(0.05, 5), (0.001, 1), (7, 7), (99, 99)])
def test_the_split_has_the_size_asked_for_and_follows_the_seed(size, expected):
    chosen = choose_test([1] * 100, size, seed=3)
    assert len(chosen) == expected and chosen <= set(range(100))
    assert choose_test([1] * 100, size, seed=3) == chosen


def test_another_seed_splits_otherwise():
    assert choose_test([1] * 1000, 0.1, seed=1) != choose_test([1] * 1000, 0.1, seed=2)


@pytest.mark.parametrize("sizes, size", [([], 0.5), ([1], 0.05), ([9], 0.5), ([1] * 5, 5), ([1] * 5, 50)])
def test_training_keeps_at_least_one_conversation(sizes, size):
    with pytest.raises(UserError, match="nothing to train on"):
        choose_test(sizes, size, seed=0)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=40), st.data())
def test_the_size_counts_rows_and_whole_conversations_come_as_near_as_they_can(sizes, data):
    wanted = data.draw(st.integers(1, sum(sizes) - 1))
    chosen = choose_test(sizes, wanted, seed=0)
    rows = sum(sizes[number] for number in chosen)
    assert chosen and len(chosen) < len(sizes)
    if wanted < min(sizes):
        assert len(chosen) == 1 and rows == min(sizes)
    else:
        # Another conversation would not have fitted in, or the size is met.
        left = [size for number, size in enumerate(sizes) if number not in chosen]
        assert rows <= wanted and (rows == wanted or rows + min(left) > wanted)
