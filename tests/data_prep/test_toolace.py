"""data_prep/toolace.py on real conversations and on small ones of every shape."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from data_scripts import rows_of, run_script

from data_prep import toolace
from tooln1.data import rows
from tooln1.data.counts import Counts
from tooln1.data.dialects import read_conversation
from tooln1.data.prepare import Choices, make_rows
from tooln1.data.validate import validate_parquet
from tooln1.errors import UserError
from tooln1.prompt import build_system, format_call_turn

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "toolace_sample.json"

TOOLS = [{"name": "Find It (beta)", "description": "finds", "parameters": {"type": "dict", "properties": {"q": {}}}}]
CALL = '[Find It (beta)(q="x) y")]'
CALLS = [{"name": "Find It (beta)", "arguments": {"q": "x) y"}}]
# The words around the tool list are those of the data set.
SYSTEM = """You are an expert in composing functions. You are given a question and a set of possible functions.\x20
Based on the question, you will need to make one or more function/tool calls to achieve the purpose.\x20
If none of the function can be used, point it out. If the given question lacks the parameters required by the function,
also point it out. You should only return the function call in tools call sections.
Here is a list of functions in JSON format that you can invoke:
{tools}.\x20
Should you decide to return the function call(s).\x20
Put it in the format of [func1(params_name=params_value, params_name2=params_value2...), func2(params)]

NO other text MUST be included."""
KEPT = "You are an expert in composing functions."


def record(*turns, system=None, tools=TOOLS):
    """A conversation from "role: text" lines."""
    conversations = [dict(zip(("from", "value"), turn.split(": ", 1), strict=True)) for turn in turns]
    return {"system": system or SYSTEM.replace("{tools}", json.dumps(tools)), "conversations": conversations}


def read(raw, **options):
    """Read a record, the seventh of its source, and make rows of it."""
    counts, conversation = Counts(), read_conversation(raw, "toolace")
    data_source = toolace.data_source(conversation)
    rows = make_rows(conversation, data_source, 7, counts, choices=Choices(**options))
    assert counts.of()["kept"] == len(rows)
    return SimpleNamespace(data_source=data_source, rows=rows, dropped=counts.of()["dropped"])


def prepare(*turns, system=None, **options):
    return read(record(*turns, system=system), **options)


def test_one_call_is_one_row():
    outcome = prepare("user: find it", f"assistant: {CALL}")
    [row] = outcome.rows
    assert row["data_source"] == outcome.data_source == "toolcall/toolace_single_turn"
    assert [message["role"] for message in row["prompt"]] == ["system", "user"]
    assert row["prompt"][1]["content"] == "find it"
    assert json.loads(row["reward_model"]["ground_truth"]) == CALLS
    assert row["extra_info"] == {
        "split": "train",
        "index": 0,
        "source_row": 7,
        "turn": 1,
        "num_tools": 1,
        "num_calls": 1,
    }


@pytest.mark.parametrize(
    "roles", [("user", "assistant", "tool", "assistant"), ("human", "gpt", "observation", "function_call")]
)
def test_each_call_step_is_a_row_that_shows_the_earlier_ones(roles):
    user, assistant, tool, caller = roles
    request, call = f"{user}: first", f"{caller}: {CALL}"
    outcome = prepare(request, call, f"{tool}: [1]", f"{assistant}: Done.", f"{user}: again", call)
    assert outcome.data_source == "toolcall/toolace_multi_turn"
    first, second = outcome.rows
    assert [row["extra_info"]["turn"] for row in outcome.rows] == [1, 5]
    assert [message["role"] for message in second["prompt"]] == [
        "system", "user", "assistant", "tool", "assistant", "user",
    ]  # fmt: skip
    assert second["prompt"][:2] == first["prompt"]
    assert second["prompt"][2]["content"] == format_call_turn(CALLS)
    assert second["prompt"][4]["content"] == "Done."
    assert outcome.dropped == {"no_call": 1}


def test_calls_as_json_objects_and_tools_in_a_field_are_taken():
    written = json.dumps(CALLS[0])
    raw = record("human: find it", f"function_call: {written}", system="Be kind.")
    for tools in (TOOLS, json.dumps(TOOLS)):
        outcome = read({**raw, "tools": tools})
        [row] = outcome.rows
        assert json.loads(row["reward_model"]["ground_truth"]) == CALLS
        assert row["prompt"][0]["content"] == build_system(TOOLS, "Be kind.")


def test_a_system_turn_may_hold_the_system_text():
    raw = record("user: find it", f"assistant: {CALL}")
    raw["conversations"].insert(0, {"from": "system", "value": raw.pop("system")})
    [row] = read(raw).rows
    assert row["prompt"][0]["content"].endswith(build_system(TOOLS))
    assert row["extra_info"]["turn"] == 2


def test_the_context_is_the_system_text_without_tools_and_instructions():
    system = "You are Ada, a nurse.\nThe current time is 2024-05-01.\n" + SYSTEM + "\nNever give a diagnosis [ever]."
    [row] = prepare("user: find it", f"assistant: {CALL}", system=system.replace("{tools}", json.dumps(TOOLS))).rows
    assert row["prompt"][0]["content"] == build_system(
        TOOLS,
        "You are Ada, a nurse.\nThe current time is 2024-05-01.\nYou are an expert in composing functions.\n"
        "Never give a diagnosis [ever].",
    )


def test_a_sentence_before_a_call_goes_with_it():
    call, again = f"assistant: {CALL}", "assistant: [Find It (beta)(q=2)]"
    outcome = prepare("user: find it", "assistant: Wait.", call, again, "tool: [1]", "user: again", call)
    first, second = outcome.rows
    assert json.loads(first["reward_model"]["ground_truth"]) == [*CALLS, {**CALLS[0], "arguments": {"q": 2}}]
    assert first["extra_info"]["turn"] == 2 and first["prompt"][-1]["role"] == "user"
    assert second["prompt"][2]["content"].startswith("Wait.\n<tool_call>[")
    assert not outcome.dropped


def test_another_template_is_used():
    [row] = prepare("user: find it", f"assistant: {CALL}", template="Mine: {tools}").rows
    assert row["prompt"][0]["content"] == build_system(TOOLS, KEPT, "Mine: {tools}")


def test_turns_without_a_call_become_rows_on_request():
    call = f"assistant: {CALL}"
    turns = ("user: hello", "assistant: [Hi] there", "user: find it", call, "tool: [1]", "assistant: Done.")
    assert prepare(*turns).dropped == {"no_call": 2}
    outcome = prepare(*turns, include_no_call=True)
    assert [row["reward_model"]["ground_truth"] == "[]" for row in outcome.rows] == [True, False, True]
    assert [row["extra_info"]["num_calls"] for row in outcome.rows] == [0, 1, 0]
    assert not outcome.dropped


@pytest.mark.parametrize(
    "turns, reason",
    [
        (["user: x", "assistant: [Unknown(q=1)]"], "unknown_tool"),
        (["user: x", f"assistant: [{CALL[1:-1]}, Unknown(q=1)]"], "unknown_tool"),
        (["user: x", "assistant: [Find It (beta)(1)]"], "positional_argument"),
        (["user: x", f"assistant: I will call {CALL[1:-1]} now."], "call_in_prose"),
        (["user: x", "function_call: Just text."], "not_calls"),
        ([f"assistant: {CALL}"], "no_request"),
        (["user: x", "assistant: <tool_call>{}</tool_call>"], "other_writing"),
        (["user: \ud83d", f"assistant: {CALL}"], "bad_unicode"),
    ],
)
@pytest.mark.parametrize("include_no_call", [False, True])
def test_a_turn_that_cannot_be_used_is_counted_by_its_reason(turns, reason, include_no_call):
    outcome = prepare(*turns, include_no_call=include_no_call)
    assert outcome.dropped[reason] == 1
    assert all(row["reward_model"]["ground_truth"] == "[]" for row in outcome.rows)


def test_no_row_shows_a_call_that_could_not_be_read():
    outcome = prepare("user: x", "assistant: [Unknown(q=1)]", "tool: [1]", f"assistant: {CALL}")
    assert not outcome.rows
    assert outcome.dropped == {"unknown_tool": 1, "after_rejected_turn": 1}


@pytest.mark.parametrize(
    "system, reason",
    [("No tools.", "no_tools"), ('Tools: [{"name": "cut', "tools_not_json"), ('[{"name": ""}]', "bad_tool")],
)
def test_without_a_tool_list_every_step_is_counted(system, reason):
    outcome = prepare("user: x", f"assistant: {CALL}", "user: y", "assistant: z", system=system)
    assert not outcome.rows
    assert outcome.dropped == {reason: 2}


def test_a_row_whose_own_ground_truth_earns_nothing_is_dropped(monkeypatch):
    monkeypatch.setattr(rows, "ground_truth_earns_reward", lambda row: False)
    assert prepare("user: x", f"assistant: {CALL}").dropped == {"ground_truth_not_rewarded": 1}


@pytest.mark.parametrize(
    "raw, message",
    [
        (5, "expected an object"),
        ({"system": "x"}, "conversations"),
        ({"system": "x", "conversations": "text"}, "conversations"),
        ({"system": "x", "conversations": [{"from": "user"}]}, "turn 0"),
        ({"system": "x", "conversations": [5]}, "turn 0"),
        ({"system": "x", "conversations": [{"from": "robot", "value": "x"}]}, "turn 0.*'robot'"),
        ({"system": "x", "conversations": [{"from": ["user"], "value": "x"}]}, "turn 0"),
    ],
)
def test_a_record_that_is_no_conversation_is_an_error(raw, message):
    with pytest.raises(UserError, match=message):
        read(raw)


def test_the_script_writes_three_files_and_a_table(tmp_path):
    lines = [json.dumps(record(f"user: find {n}", f"assistant: {CALL}")) for n in range(10)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    options = ("--input", tmp_path / "in.jsonl", "--output", tmp_path / "out", "--test-size", "2")
    done = subprocess.run([sys.executable, toolace.__file__, *options], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"toolcall/toolace_single_turn +10 +10 +10 +0\n", done.stdout)
    assert validate_parquet(tmp_path / "out" / "train.parquet") == 8
    assert validate_parquet(tmp_path / "out" / "test.parquet") == 2
    stats = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert stats["conversations"] == {"read": 10, "kept": 10, "dropped": {}}
    assert stats["rows"] == {"train": 8, "test": 2}


def test_every_real_call_arrives_in_the_files(tmp_path):
    if not SAMPLE.exists():
        pytest.skip(f"needs the data sample {SAMPLE}")
    _, stats = run_script(toolace, tmp_path, SAMPLE, test_size=0.1)
    expected = json.loads(SAMPLE.with_name("toolace_sample.expected.json").read_text())
    infos, truths = zip(
        *((row["extra_info"], row["reward_model"]["ground_truth"]) for row in rows_of(tmp_path)), strict=True
    )
    assert {(info["source_row"], info["turn"]): truth for info, truth in zip(infos, truths, strict=True)} == {
        (int(number), turn["turn"]): json.dumps(turn["calls"], ensure_ascii=False)
        for number, turns in expected.items()
        for turn in turns
    }
    sides = [{row["extra_info"]["source_row"] for row in rows_of(tmp_path, split)} for split in ("train", "test")]
    assert not sides[0] & sides[1]
    for part in (stats["conversations"], stats["steps"]):
        assert part["read"] == part["kept"] + sum(part["dropped"].values())
    assert stats["steps"] == {"read": 266, "kept": 97, "dropped": {"no_call": 169}}
