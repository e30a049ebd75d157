"""Responses of models that collapsed: they earn nothing, in silence. benchmarks/reward.py measures the time."""

import pytest
from toolcall_cases import REWARDS, called, f, judge, paid, table

from benchmarks.reward import DEEP_UNIT, FRAMES, GROUND_TRUTH, UNITS


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("unit", [*UNITS, DEEP_UNIT], ids=lambda unit: ascii(unit)[:12])
def test_degenerate_responses_score_zero_in_silence(unit, reward, capfd, caplog):
    for frame in FRAMES:
        response = frame % (unit * (90_000 // len(unit)))
        assert judge(response, GROUND_TRUTH, reward)["score"] == 0.0
    assert not caplog.records and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize(
    "value",
    table(
        ("[" * 100_000 + "]" * 100_000, "deep lists"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "deep objects"),
        ("9" * 1_000_000, "a million digits"),
        ("0." + "1" * 1_000_000, "a million decimals"),
        ("1e" + "9" * 1_000_000, "a million digits of exponent"),
        ('"' + "\\ud800" * 100_000 + '"', "lone surrogates, escaped"),
        ('"' + "\ud800" * 100_000 + '"', "lone surrogates, raw"),
    ),
)
def test_extreme_values_score_zero(value, reward):
    assert judge(called(f(value)), GROUND_TRUTH, reward)["acc"] == 0.0


def test_a_huge_integer_matches_itself_in_strict():
    assert paid(called(f("9" * 99_999)), f("9" * 99_999)) == 1.0
    assert paid(called(f("9" * 99_998 + "8")), f("9" * 99_999)) == 0.0
