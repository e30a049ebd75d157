"""BFCL: the notation of the ground truth, and its environment. test_bfcl_engine.py runs the official evaluator."""

import pytest

from tooln1.errors import UserError
from tooln1.eval.bfcl import Bfcl, find_python
from tooln1.eval.bfcl_ground_truth import ground_truth_calls


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
        ("multiple", {"a": [""]}, tool(a="string"), {}),
        ("multiple", {"a": [""]}, tool(a="string", required=["a"]), {"a": ""}),
        ("multiple", {"a": ["x", ""]}, tool(b="string"), {}),  # optional, and not the tool's
        ("multiple", {"a": ["x"]}, tool(b="string"), {"a": "x"}),  # not the tool's, and not optional: impossible
        ("multiple", {"a": [{"k": ["x", "y"], "l": ["", 1], "m": [""]}]}, tool(a="dict"), {"a": {"k": "x", "l": 1}}),
        ("multiple", {"a": [[{"k": ["x"]}, {"k": ["y"]}]]}, tool(a="array"), {"a": [{"k": "x"}, {"k": "y"}]}),
        ("simple_java", {"a": [5]}, tool(a="integer"), {"a": "5"}),
        ("simple_java", {"a": [1.5]}, tool(a="float"), {"a": "1.5f"}),
        ("simple_java", {"a": ["x y"]}, tool(a="String"), {"a": "x y"}),
        ("simple_java", {"a": [["x"]]}, tool(a=LIST), {"a": 'new ArrayList<>(Arrays.asList("x"))'}),
        ("simple_java", {"a": [[1, 2]]}, tool(a=LONGS), {"a": "new ArrayList<>(Arrays.asList(1L, 2L))"}),
        ("simple_java", {"a": [[1, 2]]}, tool(a=ARRAY), {"a": "new Object[]{1, 2}"}),
        ("simple_java", {"a": [{"k": [1]}]}, tool(a="HashMap"), {"a": 'new HashMap<>() {{ put("k", 1); }}'}),
        ("simple_java", {"a": [{}]}, tool(a="HashMap"), {"a": "new HashMap<>()"}),
        ("simple_java", {"a": [{"k": "xy"}]}, tool(a="HashMap"), {"a": 'new HashMap<>() {{ put("k", "x"); }}'}),
        ("simple_javascript", {"a": [5]}, tool(a="Bigint"), {"a": "5n"}),
        ("simple_javascript", {"a": [["x", 1]]}, tool(a="array"), {"a": '["x", 1]'}),
        ("simple_javascript", {"a": ["myButton"]}, tool(a="any"), {"a": "myButton"}),
    ],
)
def test_the_ground_truth_takes_the_first_allowed_values(category, allowed, declared, arguments):
    assert ground_truth_calls(category, [{"f": allowed}], [declared]) == [{"name": "f", "arguments": arguments}]


def test_relevance_wants_any_call_and_irrelevance_none():
    assert ground_truth_calls("irrelevance", None, [tool()]) == []
    assert ground_truth_calls("live_relevance", None, [tool("g")]) == [{"name": "g", "arguments": {}}]


def test_a_missing_environment_says_how_to_make_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"bash examples/setup_bfcl\.sh"):
        find_python(str(tmp_path / "none"))


def test_a_broken_environment_is_named(tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no module >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(UserError, match=r"python fails: no module \(see .*bridge\.log\); .*setup_bfcl\.sh"):
        Bfcl(python, tmp_path)
