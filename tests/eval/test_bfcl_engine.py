"""BFCL's official evaluator, in its own environment, on responses of our format."""

import re
from pathlib import Path

import pytest
from oracle import judge_all, say, say_damaged, say_prose

from tooln1.errors import UserError
from tooln1.eval.benchmark import MISTAKES, WRONG_TOOL, Reading
from tooln1.eval.bfcl import CATEGORIES, Bfcl, find_python

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def cases_named(lines):
    return set(re.findall(r"`((?:simple|live)_\w*\d[\d-]*)`", "\n".join(lines)))


# The page lists the cases that no model can have right; those in a table have broken data, by the evaluator's reasons.
IMPOSSIBLE = cases_named(PAGE.read_text(encoding="utf-8").splitlines())
BROKEN = cases_named(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|"))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    try:
        return Bfcl(find_python(), tmp_path_factory.mktemp("bfcl"))
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("respond", [say, say_damaged, say_prose])
def test_all_cases(benchmark, respond):
    mistakes = judge_all(benchmark, respond)
    right = {name for name, mistake in mistakes.items() if mistake is None}
    assert {mistake.kind for mistake in mistakes.values() if mistake} <= MISTAKES.keys()
    irrelevant = {case.id for case in benchmark.cases if "irrelevance" in case.category}
    relevant = {case.id for case in benchmark.cases if case.category == "live_relevance"}
    # A damaged call is still a call, and no call is damaged where none is wanted.
    expected = {say: mistakes.keys() - BROKEN, say_damaged: irrelevant | relevant, say_prose: irrelevant}
    assert right == expected[respond]


def test_calls_of_any_size_get_a_verdict(benchmark):
    case = next(case for case in benchmark.cases if case.id == "simple_python_100")
    calls = [{"name": "f" * 100_000, "arguments": {"\n": "x" * 100_000}}]
    assert benchmark.judge(case, Reading("", calls)).kind == WRONG_TOOL


def test_only_the_documented_cases_are_impossible(benchmark):
    impossible = benchmark.impossible()
    assert impossible.keys() == IMPOSSIBLE
    assert all(impossible.values())


def test_groups_are_the_leaderboards(benchmark):
    categories = {name: {"accuracy": 1.0} for name in CATEGORIES}
    assert set(benchmark.groups(categories).values()) == {1.0}
    groups = benchmark.groups({**categories, "simple_java": {"accuracy": 0.4}, "live_simple": {"accuracy": 0.5}})
    assert groups["simple"] == pytest.approx(0.8)
    assert groups["non_live"] == pytest.approx((0.8 + 3) / 4)
    assert groups["live"] == pytest.approx((258 * 0.5 + 1053 + 16 + 24) / 1351)
    assert groups["accuracy"] == pytest.approx((groups["non_live"] + groups["live"]) / 2)
    assert benchmark.groups({**categories, "multiple": {"accuracy": None}})["accuracy"] is None
