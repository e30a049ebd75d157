"""data_prep/messages.py: conversations of any dialect, and what all scripts refuse."""

import json
import re
import subprocess
import sys

import pytest
from data_scripts import run_script

from data_prep import messages, toolace, xlam
from tooln1.data.script import claimed
from tooln1.errors import UserError

TOOL = {"name": "f", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}}}


def chat(number):
    call = {"function": {"name": "f", "arguments": json.dumps({"x": number})}}
    said = [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    return {"messages": said, "tools": [TOOL]}


def turns(number):
    said = [("human", f"Q{number}"), ("function_call", json.dumps({"name": "f", "arguments": {"x": number}}))]
    said += [("observation", "1"), ("gpt", "done")]
    return {"conversations": [{"from": role, "value": text} for role, text in said], "tools": json.dumps([TOOL])}


def write(path, records):
    path.write_text("\n".join(map(json.dumps, records)))
    return path


def test_each_row_is_read_in_its_own_dialect_and_everything_is_counted(tmp_path):
    prose = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}], "tools": [TOOL]}
    first = write(tmp_path / "a.jsonl", [chat(1), turns(2), {"text": "no"}, prose])
    second = write(tmp_path / "b.ndjson", [chat(3), turns(4)])
    rows, stats = run_script(messages, tmp_path / "out", first, second, name="shop", on_error="skip", test_size=1)
    assert {row["data_source"] for row in rows} == {"toolcall/shop"}
    truths = {row["extra_info"]["source_row"]: json.loads(row["reward_model"]["ground_truth"]) for row in rows}
    assert truths == {n: [{"name": "f", "arguments": {"x": x}}] for n, x in ((0, 1), (1, 2), (4, 3), (5, 4))}
    assert stats["dialects"] == {"openai": 3, "sharegpt": 2}
    assert stats["conversations"] == {"read": 6, "kept": 4, "dropped": {"broken_row": 1, "no_rows": 1}}
    assert stats["steps"] == {"read": 7, "kept": 4, "dropped": {"no_call": 3}}


def test_an_unknown_dialect_is_one_line_of_what_was_found_and_what_is_understood(tmp_path):
    path = write(tmp_path / "rows.jsonl", [{"text": "hello"}, chat(1)])
    command = [sys.executable, messages.__file__, "--input", path, "--output", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert re.search(r"rows\.jsonl, row 0: no known dialect: found an object with text \(str\).*openai \(", done.stderr)
    assert not (tmp_path / "out").exists()


def test_tools_from_a_file_serve_conversations_that_list_none(tmp_path):
    bare = {"messages": chat(1)["messages"]}
    other = {**chat(2), "tools": [{**TOOL, "description": "its own"}]}
    path = write(tmp_path / "rows.jsonl", [bare, other, bare])
    (tmp_path / "shop.py").write_text('def f(x: int):\n    """From the file."""\n    raise SystemExit\n')
    rows, stats = run_script(messages, tmp_path / "out", path, tools=f"{tmp_path}/shop.py:f", test_size=1)
    assert stats["steps"]["kept"] == 3 and stats["conversations"]["kept"] == 3
    said = {row["extra_info"]["source_row"]: row["prompt"][0]["content"] for row in rows}
    assert {number: "From the file." in text for number, text in said.items()} == {0: True, 1: False, 2: True}
    assert "its own" in said[1]
    _, stats = run_script(messages, tmp_path / "without", path, write(tmp_path / "more.jsonl", [chat(3)]), test_size=1)
    assert stats["steps"]["dropped"] == {"no_tools": 2}


@pytest.mark.parametrize("choice, kept, dropped", [("keep", 3, {}), ("drop", 2, {"schema_mismatch": 1})])
def test_calls_that_break_their_tools_schema_are_counted(choice, kept, dropped, tmp_path):
    path = write(tmp_path / "rows.jsonl", [chat(1), chat("two"), chat(3)])
    rows, stats = run_script(messages, tmp_path / "out", path, schema_mismatch=choice, test_size=1, report="")
    assert stats["schema_mismatch"] == 1
    assert stats["steps"] == {"read": 3, "kept": kept, "dropped": dropped} and len(rows) == kept
    report = (tmp_path / "out" / "report.md").read_text()
    assert "## schema_mismatch: 1" in report and "'two' is not of type 'integer'" in report


def test_a_fixed_dialect_reads_no_other(tmp_path):
    path = write(tmp_path / "rows.jsonl", [turns(n) for n in range(4)])
    _, stats = run_script(messages, tmp_path / "out", path, dialect="sharegpt")
    assert stats["steps"]["kept"] == 4
    with pytest.raises(UserError, match="nothing to train on .*other_writing.*data_prep/messages.py"):
        run_script(messages, tmp_path / "other", path, dialect="openai")
    with pytest.raises(
        UserError, match="row 0: .*answers missing.*looks like sharegpt: data_prep/messages.py reads it"
    ):
        run_script(xlam, tmp_path / "other", path)
    with pytest.raises(SystemExit):
        run_script(messages, tmp_path / "other", path, dialect="klingon")


def test_a_second_run_into_a_folder_is_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", [chat(n) for n in range(4)])
    with claimed(tmp_path / "out"), pytest.raises(UserError, match="out: another run writes into it; wait"):
        run_script(messages, tmp_path / "out", path)
    rows, _ = run_script(messages, tmp_path / "out", path)
    assert len(rows) == 4 and {row["data_source"] for row in rows} == {"toolcall/rows"}


@pytest.mark.parametrize("name", ["", "a/b", "two words"])
def test_a_name_is_one_word(tmp_path, name, capsys):
    with pytest.raises(SystemExit):
        run_script(toolace, tmp_path / "out", tmp_path / "in.json", name=name)
    assert "argument --name: expected letters, digits" in capsys.readouterr().err
