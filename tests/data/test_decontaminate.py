"""Requests and tools are found in evaluation files of every shape, and recognised in rows."""

import json
from pathlib import Path

import pytest

from tooln1.data.decontaminate import Evaluation, normalize_query, read_evaluation, signature
from tooln1.errors import UserError
from tooln1.tools import normalize_tools

SHARED = Path(__file__).parents[3] / "shared" / "data"
TOOL = {"name": "get weather", "description": "d", "parameters": {"type": "dict", "properties": {"b": {}, "a": {}}}}
SIGNATURE = ("get weather", "a", "b")


def found_in(tmp_path, value, name="file.json"):
    (tmp_path / name).write_text(json.dumps([value]) if name.endswith(".json") else json.dumps(value))
    return read_evaluation([tmp_path / name])


@pytest.mark.parametrize(
    "value",
    [
        {"question": [[{"role": "user", "content": "Rain, in Oslo?"}]], "function": [TOOL]},
        {"question": "Rain in Oslo", "function": TOOL},
        {"question": "user: rain in Oslo\nsystem: yes\n", "function": [TOOL]},
        {"query": [{"role": "user", "content": "rain in Oslo"}], "tools": [{"type": "function", "function": TOOL}]},
        {"query": "RAIN in Oslo!", "tools": json.dumps([TOOL])},
        {"conversations": [{"from": "human", "value": "rain in Oslo"}], "tools": [TOOL]},
        {"role": "User", "text": "rain in Oslo", "apis": {"x": [TOOL]}},
        {"prompt": [{"role": "system", "content": f"<tools>\n{json.dumps(TOOL)}\n</tools>"},
                    {"role": "user", "content": "rain in Oslo"}]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["file.json", "file.jsonl"])
def test_every_shape_gives_the_request_and_the_tool(tmp_path, value, name):
    found = found_in(tmp_path, value, name)
    assert found.queries == {"rain in oslo"}
    assert found.tools == {SIGNATURE}


def test_only_the_user_makes_requests(tmp_path):
    turns = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c d"}]
    assert found_in(tmp_path, {"question": [turns]}).queries == {"a b"}


@pytest.mark.parametrize("value", [{"id": 1, "ground_truth": {"f": {}}}, {"question": "?!"}, []])
def test_a_file_without_either_is_an_error(tmp_path, value):
    with pytest.raises(UserError, match=r"file\.json: neither a request nor a tool"):
        found_in(tmp_path, value)


def test_a_broken_file_is_named_with_its_row(tmp_path):
    (tmp_path / "file.jsonl").write_text('{"question": "a"}\n{\n')
    with pytest.raises(UserError, match=r"file\.jsonl, row 1: line 2 column 2: the JSON ends"):
        read_evaluation([tmp_path / "file.jsonl"])


@pytest.mark.parametrize(
    "queries, tools, reason",
    [
        (["rain in Oslo"], [], "query_in_evaluation"),
        (["Rain... in\n Oslo"], [], "query_in_evaluation"),
        (["rain in Oslo", "something else"], [], None),  # short, and not the only one
        (["something else", "what is the weather like today"], [], "query_in_evaluation"),
        (["another"], [TOOL], "tool_in_evaluation"),
        (["another"], [{**TOOL, "description": "other words"}], "tool_in_evaluation"),
        (["another"], [{**TOOL, "parameters": {"a": {}}}], None),
        (["another"], [{**TOOL, "name": "get"}], None),
    ],
)
def test_rows_are_compared_by_request_and_signature(queries, tools, reason):
    evaluation = Evaluation({"rain in oslo", "what is the weather like today"}, {SIGNATURE})
    assert evaluation.why_not(queries, normalize_tools(tools)) == reason


def test_normal_forms():
    assert normalize_query(" Où est\tl'HÔTEL? 天气\n") == "où est l hôtel 天气"
    [tool] = normalize_tools([{"name": " f ", "parameters": {"z": {}, "y": {}}}])
    assert signature(tool) == ("f", "y", "z")


def test_the_benchmarks_at_hand_are_understood():
    if not SHARED.is_dir():
        pytest.skip(f"needs the data samples in {SHARED}")
    ace = read_evaluation([SHARED / "acebench/data_all/data_en/data_normal_single_turn_single_function.json"])
    assert len(ace.queries) >= 95 and len(ace.tools) >= 95
    bank = read_evaluation([SHARED / "api_bank/apibank_l1.json"])
    assert len(bank.queries) > 300 and len(bank.tools) > 40
    assert (
        "can you help me set an alarm for 8 am tomorrow"
        in read_evaluation([SHARED / "api_bank/lv1-lv2-samples/level-1-given-desc/AddAlarm-level-1-1.jsonl"]).queries
    )
