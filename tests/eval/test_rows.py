"""Held-out rows: the reward decides, and every mistake has its kind."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from oracle import messages

from tooln1.errors import UserError
from tooln1.eval.benchmark import EXTRA, FORMAT, MISSING, TYPE, VALUE, WRONG_TOOL
from tooln1.eval.form import read_response
from tooln1.eval.rows import Rows
from tooln1.prompt import build_messages, format_response

BOOK = {"name": "book", "arguments": {"city": "Oslo", "days": 2}}
TAXI = {"name": "taxi", "arguments": {}}


def row(text, calls, kind=None):
    messages = build_messages([{"name": "book"}, {"name": "taxi"}], [{"role": "user", "content": text}])
    ground_truth = json.dumps(calls)
    return {
        "data_source": "toolcall/mine",
        "prompt": messages,
        "ability": "toolcall",
        "reward_model": {"style": "rule", "ground_truth": ground_truth},
        "extra_info": {"index": 0, "kind": kind},
    }


def load(folder, rows):
    pq.write_table(pa.Table.from_pylist(rows), folder / "test.parquet")
    return Rows(folder / "test.parquet")


def test_rows_become_cases_with_their_prompt_and_kind(tmp_path):
    rows = [row("book", [BOOK], "simple"), row("both", [BOOK, TAXI])]
    first, second = load(tmp_path, rows).cases
    assert (first.id, first.category, messages(first)) == ("test/0", "toolcall/mine: simple", rows[0]["prompt"])
    assert (second.id, second.category, second.ground_truth) == ("test/1", "toolcall/mine", [BOOK, TAXI])


def with_arguments(**arguments):
    return {"name": "book", "arguments": arguments}


@pytest.mark.parametrize(
    "calls, kind, detail",
    [
        ([BOOK, TAXI], None, None),
        ([BOOK], WRONG_TOOL, "1 instead of 2"),
        ([BOOK, BOOK], WRONG_TOOL, "book instead of taxi"),
        ([with_arguments(city="Oslo"), TAXI], MISSING, "days is nothing instead of 2"),
        ([with_arguments(city="Oslo", days=2, x=1), TAXI], EXTRA, "x is 1 instead of nothing"),
        ([TAXI, with_arguments(city="Oslo", days="2")], TYPE, 'days is "2" instead of 2'),
        ([with_arguments(city="Rome", days=2), TAXI], VALUE, 'city is "Rome" instead of "Oslo"'),
    ],
)
def test_every_mistake_has_its_kind(tmp_path, calls, kind, detail):
    benchmark = load(tmp_path, [row("both", [BOOK, TAXI])])
    mistake = benchmark.judge(benchmark.cases[0], read_response(format_response(calls, "so")))
    assert (mistake and mistake.kind, mistake and mistake.detail) == (kind, detail)


def test_a_response_that_breaks_the_grammar_is_wrong_also_where_no_call_is_wanted(tmp_path):
    benchmark = load(tmp_path, [row("hello", [])])
    assert benchmark.judge_all({"test/0": read_response("Hello.")})["test/0"].kind == FORMAT
    assert benchmark.judge_all({"test/0": read_response(format_response([], "none"))})["test/0"] is None
    categories = {"a": {"correct": 1, "scored": 4}, "b": {"correct": 1, "scored": 1}}
    assert benchmark.groups(categories) == {"accuracy": 0.4}


def test_of_two_rows_with_one_prompt_only_one_can_be_right(tmp_path):
    benchmark = load(tmp_path, [row("call it", [TAXI]), row("call it", []), row("say it", [])])
    assert benchmark.impossible() == {
        "test/0": "has the prompt of test/1, which expects none",
        "test/1": "has the prompt of test/0, which expects calls",
    }


def test_a_file_that_is_no_rows_is_named(tmp_path):
    (tmp_path / "x.parquet").write_text("no")
    for path in (tmp_path, tmp_path / "none.parquet", tmp_path / "x.parquet"):
        with pytest.raises(UserError, match=str(path)):
            Rows(path)
