"""Replies of models that collapsed: they score in silence, and their cost grows no faster than their length.

Time is not measured here (benchmarks/reward.py does): what is counted, scans and calls, a busy machine does not change.
"""

import sys

import pytest
from toolcall_cases import FRAMES, ONE, PROFILES, UNITS, called, f, judge, paid, table


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_degenerate_replies_score_zero_in_silence(unit, profile, capfd, caplog):
    for frame in FRAMES:
        assert judge(frame % (unit * (9_000 // len(unit))), ONE, profile)["score"] == 0.0
    assert not caplog.records and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("profile", PROFILES)
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
def test_extreme_values_score_zero(value, profile):
    assert judge(called(f(value)), ONE, profile)["acc"] == 0.0


def test_a_huge_integer_matches_itself_in_strict():
    assert paid(called(f("9" * 99_999)), f("9" * 99_999)) == 1.0
    assert paid(called(f("9" * 99_998 + "8")), f("9" * 99_999)) == 0.0


class Counted(str):
    """A reply that counts the characters its searches pass over."""

    scanned = 0

    def find(self, sub, start=0, end=None):
        end = len(self) if end is None else end
        at = super().find(sub, start, end)
        Counted.scanned += max(0, (end if at < 0 else at + len(sub)) - start)
        return at

    def __contains__(self, sub):
        return self.find(sub) >= 0

    def rpartition(self, sep):
        Counted.scanned += len(self)
        return tuple(map(Counted, super().rpartition(sep)))


def calls_made(function):
    """How many functions, Python's and C's, are called while function() runs."""
    count = 0

    def profiler(_, event, __):
        nonlocal count
        count += event in ("call", "c_call")

    previous = sys.getprofile()
    sys.setprofile(profiler)
    try:
        function()
    finally:
        sys.setprofile(previous)
    return count


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("unit", UNITS, ids=ascii)
def test_work_grows_no_faster_than_the_reply(unit, profile):
    for frame in FRAMES:
        made = []
        for size in (2_000, 8_000):
            reply = Counted(frame % (unit * (size // len(unit))))
            Counted.scanned = 0
            made.append(calls_made(lambda reply=reply: judge(reply, ONE, profile)))
            assert Counted.scanned <= 8 * len(reply)
        assert made[1] <= 4 * made[0] + 100
