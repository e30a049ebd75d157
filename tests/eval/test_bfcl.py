"""BFCL: the references' notation, and the official evaluator on replies of our format."""

import pytest
from oracle import say, say_damaged, say_prose

from tooln1.errors import UserError
from tooln1.eval.bfcl import CATEGORIES, RELEVANCE, Bfcl, find_python
from tooln1.eval.bfcl_reference import reference_calls
from tooln1.eval.cases import ERRORS, EXTRA, FORMAT, MISSING, TYPE, VALUE, WRONG_TOOL
from tooln1.eval.reply import Reading, read_reply

# What the data of 2026.3.23 make impossible; the reasons are the evaluator's.
IMPOSSIBLE = {
    "simple_java_36",
    "simple_java_64",
    "simple_java_65",
    "live_simple_106-63-0",
    "live_simple_112-68-0",
    "live_multiple_862-181-3",
    "live_multiple_964-207-0",
}


def tool(name="f", required=(), **types):
    schemas = {argument: kind if isinstance(kind, dict) else {"type": kind} for argument, kind in types.items()}
    return {"name": name, "parameters": {"type": "dict", "properties": schemas, "required": list(required)}}


LIST = {"type": "ArrayList", "items": {"type": "String"}}
LONGS = {"type": "ArrayList", "items": {"type": "long"}}
ARRAY = {"type": "Array", "items": {"type": "integer"}}


@pytest.mark.parametrize(
    "category, allowed, declared, arguments",
    [
        ("multiple", {"a": [1, 2], "b": ["", 3]}, tool(a="integer", b="integer"), {"a": 1, "b": 3}),
        ("multiple", {"a": ["", None]}, tool(a="string"), {"a": None}),
        ("multiple", {"a": [""]}, tool(a="string"), {}),
        ("multiple", {"a": [""]}, tool(a="string", required=["a"]), {"a": ""}),
        ("multiple", {"a": ["x", ""]}, tool(b="string"), {}),  # optional, and not the tool's
        ("multiple", {"a": ["x"]}, tool(b="string"), {"a": "x"}),  # not the tool's, and not optional: impossible
        ("multiple", {"a": [{"k": ["x", "y"], "l": ["", 1], "m": [""]}]}, tool(a="dict"), {"a": {"k": "x", "l": 1}}),
        ("multiple", {"a": [[{"k": ["x"]}, {"k": ["y"]}]]}, tool(a="array"), {"a": [{"k": "x"}, {"k": "y"}]}),
        ("simple_java", {"a": [5]}, tool(a="integer"), {"a": "5"}),
        ("simple_java", {"a": [5]}, tool(a="long"), {"a": "5L"}),
        ("simple_java", {"a": [1.5]}, tool(a="float"), {"a": "1.5f"}),
        ("simple_java", {"a": [0.5]}, tool(a="double"), {"a": "0.5"}),
        ("simple_java", {"a": [True]}, tool(a="boolean"), {"a": "true"}),
        ("simple_java", {"a": ["x y"]}, tool(a="String"), {"a": "x y"}),
        ("simple_java", {"a": [["x"]]}, tool(a=LIST), {"a": 'new ArrayList<>(Arrays.asList("x"))'}),
        ("simple_java", {"a": [[1, 2]]}, tool(a=LONGS), {"a": "new ArrayList<>(Arrays.asList(1L, 2L))"}),
        ("simple_java", {"a": [[1, 2]]}, tool(a=ARRAY), {"a": "new Object[]{1, 2}"}),
        ("simple_java", {"a": [{"k": [1]}]}, tool(a="HashMap"), {"a": 'new HashMap<>() {{ put("k", 1); }}'}),
        ("simple_java", {"a": [{}]}, tool(a="HashMap"), {"a": "new HashMap<>()"}),
        ("simple_javascript", {"a": [5]}, tool(a="Bigint"), {"a": "5n"}),
        ("simple_javascript", {"a": [["x", 1]]}, tool(a="array"), {"a": '["x", 1]'}),
        ("simple_javascript", {"a": [{"k": [True]}]}, tool(a="dict"), {"a": '{"k": true}'}),
        ("simple_javascript", {"a": ["myButton"]}, tool(a="any"), {"a": "myButton"}),
    ],
)
def test_a_reference_takes_the_first_allowed_values_in_the_categorys_notation(category, allowed, declared, arguments):
    assert reference_calls(category, [{"f": allowed}], [declared]) == [{"name": "f", "arguments": arguments}]


def test_relevance_wants_any_call_and_irrelevance_none():
    assert reference_calls("irrelevance", None, [tool()]) == []
    assert reference_calls("live_irrelevance", None, [tool()]) == []
    assert reference_calls("live_relevance", None, [tool("g")]) == [{"name": "g", "arguments": {}}]


def test_a_missing_environment_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"bash examples/setup_bfcl\.sh"):
        find_python(str(tmp_path / "none"))


def test_a_broken_environment_is_named(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(UserError, match=r"BFCL's environment .*python fails: no module .*setup_bfcl\.sh"):
        Bfcl(python, tmp_path)


@pytest.fixture(scope="module")
def benchmark(bfcl_python, tmp_path_factory):
    return Bfcl(bfcl_python, tmp_path_factory.mktemp("bfcl"))


@pytest.fixture(scope="module")
def judged(benchmark):
    """Verdicts of one run of the evaluator: each category's cases are answered in turn by one of three oracles."""
    replies = {}
    for category in CATEGORIES:
        cases = [case for case in benchmark.cases if case.category == category and case.id not in IMPOSSIBLE]
        for number, case in enumerate(cases[:15]):
            replies[case.id] = (("say", say), ("damaged", say_damaged), ("prose", say_prose))[number % 3]
    readings = {case.id: read_reply(replies[case.id][1](case)) for case in benchmark.cases if case.id in replies}
    return {name: kind for name, (kind, _) in replies.items()}, benchmark.judge({**readings, **ODD})


ODD = {"simple_python_100": Reading([{"name": "f" * 100_000, "arguments": {"\n": "x" * 100_000}}])}


def of(benchmark, judged, kind, categories):
    kinds, verdicts = judged
    chosen = [case for case in benchmark.cases if kinds.get(case.id) == kind and case.category in categories]
    assert chosen
    return [verdicts[case.id] for case in chosen]


def test_reference_calls_are_right_in_every_category(benchmark, judged):
    assert all(verdict.correct for verdict in of(benchmark, judged, "say", CATEGORIES))


def test_damaged_calls_are_wrong_in_every_category_of_calls(benchmark, judged):
    categories = [name for name in CATEGORIES if name not in RELEVANCE]
    verdicts = of(benchmark, judged, "damaged", categories)
    assert not any(verdict.correct for verdict in verdicts)
    assert {verdict.error for verdict in verdicts} <= {TYPE, EXTRA, VALUE, MISSING}


def test_prose_is_wrong_where_calls_are_wanted_and_right_where_none_is(benchmark, judged):
    wanted = [name for name in CATEGORIES if "irrelevance" not in name]
    assert all(verdict.error == FORMAT for verdict in of(benchmark, judged, "prose", wanted))
    assert all(verdict.correct for verdict in of(benchmark, judged, "prose", ("irrelevance", "live_irrelevance")))


def test_calls_of_any_size_get_a_verdict(judged):
    assert judged[1]["simple_python_100"].error == WRONG_TOOL


def test_only_known_cases_are_impossible(benchmark, judged):
    assert benchmark.impossible().keys() == IMPOSSIBLE
    assert all(benchmark.impossible().values())


def test_every_kind_of_error_is_ours(judged):
    assert {verdict.error for verdict in judged[1].values() if not verdict.correct} <= set(ERRORS)


def test_groups_are_the_leaderboards(benchmark, judged):
    accuracy = dict.fromkeys(CATEGORIES, 1.0)
    assert set(benchmark.groups(accuracy).values()) == {1.0}
    groups = benchmark.groups({**accuracy, "simple_java": 0.4, "live_simple": 0.5})
    assert groups["simple"] == pytest.approx(0.8)
    assert groups["non_live"] == pytest.approx((0.8 + 3) / 4)
    assert groups["live"] == pytest.approx((258 * 0.5 + 1053 + 16 + 24) / 1351)
    assert groups["accuracy"] == pytest.approx((groups["non_live"] + groups["live"]) / 2)
    assert benchmark.groups({**accuracy, "multiple": None})["accuracy"] is None


@pytest.mark.slow
@pytest.mark.parametrize("reply", [say, say_damaged, say_prose])
def test_all_cases(benchmark, reply):
    verdicts = benchmark.judge({case.id: read_reply(reply(case)) for case in benchmark.cases})
    right = {name for name, verdict in verdicts.items() if verdict.correct}
    irrelevant = {case.id for case in benchmark.cases if "irrelevance" in case.category}
    relevant = {case.id for case in benchmark.cases if case.category == "live_relevance"}
    every = {case.id for case in benchmark.cases}
    # Whatever the arguments are, a damaged call is a call, and no call is damaged where none is wanted.
    assert right == {say: every - IMPOSSIBLE, say_damaged: irrelevant | relevant, say_prose: irrelevant}[reply]
