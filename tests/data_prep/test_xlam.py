"""data_prep/xlam.py on real rows and on small ones of every shape; what all source scripts share is tested here too."""

import json
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from data_scripts import run_script

from data_prep import xlam
from tooln1.data import script
from tooln1.data.counts import Counts
from tooln1.data.dialects import read_conversation
from tooln1.data.prepare import Choices, make_rows
from tooln1.errors import UserError
from tooln1.prompt import build_system

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "xlam_sample.json"

TOOLS = [{"name": "f", "description": "d", "parameters": {"x": {"type": "int", "description": "n", "default": 1}}}]
CALLS = [{"name": "f", "arguments": {"x": 1, "t": 'a ) "b" \n é'}}]


def query(**changes):
    return {"id": 0, "query": "do it", "tools": json.dumps(TOOLS), "answers": json.dumps(CALLS), **changes}


def read(raw, **options):
    counts = Counts()
    return make_rows(
        read_conversation(raw, "xlam"), "toolcall/xlam", 7, counts, choices=Choices(**options)
    ), counts.of()["dropped"]


@pytest.mark.parametrize("changes", [{}, {"tools": TOOLS, "answers": CALLS}, {"answers": json.dumps(CALLS[0])}])
def test_a_query_is_a_row(changes):
    [row], _ = read(query(**changes))
    assert row["data_source"] == "toolcall/xlam"
    assert row["prompt"] == [
        {"role": "system", "content": build_system(TOOLS)},
        {"role": "user", "content": "do it"},
    ]
    assert json.loads(row["reward_model"]["ground_truth"]) == CALLS
    info = {"split": "train", "index": 0, "source_row": 7, "turn": 0, "num_tools": 1, "num_calls": 1}
    assert row["extra_info"] == info


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"answers": "[]"}, "no_call"),
        ({"answers": "[{"}, "not_calls"),
        ({"answers": '[{"name": "g", "arguments": {}}]'}, "unknown_tool"),
        ({"answers": '[{"name": "f", "arguments": {"x": 1, "x": 2}}]'}, "repeated_key"),
        ({"answers": '[{"name": "f", "arguments": {"x": "\\ud83d"}}]'}, "bad_unicode"),
        ({"tools": "[{"}, "tools_not_json"),
        ({"tools": '[{"name": ""}]'}, "bad_tool"),
        ({"query": " \n"}, "no_request"),
        ({"query": "half \ud83d"}, "bad_unicode"),
    ],
)
def test_what_cannot_be_used_is_counted_by_its_reason(changes, reason):
    assert read(query(**changes)) == ([], {reason: 1})


def test_an_empty_answer_is_a_row_on_request():
    [row], _ = read(query(answers="[]"), include_no_call=True)
    assert row["reward_model"]["ground_truth"] == "[]"


@pytest.mark.parametrize(
    "raw, message",
    [
        (5, "expected an object, found int"),
        ({"query": "x", "tools": "[]"}, "answers missing"),
        (query(tools=None), "tools missing"),
        (query(query=5), 'text under "query", found int'),
    ],
)
def test_a_record_of_another_shape_is_an_error(raw, message):
    with pytest.raises(UserError, match=message):
        read_conversation(raw, "xlam")


def test_every_real_answer_arrives_in_the_files(tmp_path):
    if not SAMPLE.exists():
        pytest.skip(f"needs the data sample {SAMPLE}")
    rows, _ = run_script(xlam, tmp_path, SAMPLE)
    source = json.loads(SAMPLE.read_text())
    found = {row["extra_info"]["source_row"]: row["reward_model"]["ground_truth"] for row in rows}
    assert found == {
        number: json.dumps(json.loads(row["answers"]), ensure_ascii=False) for number, row in enumerate(source)
    }
    assert {row["prompt"][1]["content"] for row in rows} == {row["query"] for row in source}


def test_any_number_of_workers_writes_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(script, "_BATCH", 100)
    (tmp_path / "in.json").write_text(json.dumps([query(id=n, query=f"query {n}") for n in range(300)]))
    for workers in ("1", "2"):
        run_script(xlam, tmp_path / workers, tmp_path / "in.json", workers=workers, seed=3)
    for name in ("train.parquet", "test.parquet", "stats.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def limit_file_size():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing(tmp_path):
    rows = [query(query=f"{n} " + "".join(chr(32 + (n * i) % 90) for i in range(500))) for n in range(300)]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    options = ["--input", tmp_path / "in.json", "--output", tmp_path / "out", "--workers", "1"]
    command = [sys.executable, xlam.__file__, *options]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_file_size)
    assert done.returncode == 2
    assert re.search(r"^error: .*train\.parquet: cannot be written .*File too large\)\n$", done.stderr, re.MULTILINE)
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content, message",
    [
        ('[{"query": "x", "to', "the JSON ends inside a value; is the file cut"),
        (json.dumps([query(), [1]]), "row 1: expected an object, found list"),
        (json.dumps([query(), {"query": "x"}]), "row 1: .*tools, answers missing"),
        ("[]", "nothing to train on"),
    ],
)
def test_unusable_input_is_one_line(tmp_path, content, message):
    (tmp_path / "in.json").write_text(content)
    with pytest.raises(UserError, match=message):
        run_script(xlam, tmp_path / "out", tmp_path / "in.json")
    assert not (tmp_path / "out").exists()


def test_broken_rows_are_skipped_and_counted_on_request(tmp_path):
    good = [json.dumps(query(query=name)) for name in "abc"]
    (tmp_path / "in.jsonl").write_text("\n".join([good[0], "5", good[1], "{cut", good[2]]))
    out = tmp_path / "out"
    options = {"test_size": 1, "on_error": "skip", "report": []}
    rows, stats = run_script(xlam, out, tmp_path / "in.jsonl", **options)
    assert stats["conversations"] == {"read": 5, "kept": 3, "dropped": {"broken_row": 2}}
    assert sorted(row["extra_info"]["source_row"] for row in rows) == [0, 2, 4]
    assert "## broken_row: 2" in (report := (out / "report.md").read_text())
    assert "row 1:\n\n    expected an object, found int" in report


def test_the_report_shows_examples_of_each_reason(tmp_path, capsys):
    bad = [query(answers='[{"name": "gone", "arguments": {}}]', query=f"q{n}") for n in range(5)]
    (tmp_path / "in.json").write_text(json.dumps([query(query="a"), query(query="b"), *bad]))
    page = tmp_path / "page.md"
    run_script(xlam, tmp_path / "out", tmp_path / "in.json", report=page)
    text = page.read_text()
    assert "## unknown_tool: 5\n\na call names a tool that is not in the row's list" in text
    assert text.count("'gone' is not in the tool list") == 3
    assert re.search(r"unknown_tool +5", capsys.readouterr().out)


def test_another_template_is_used(tmp_path, xlam_folder):
    (tmp_path / "mine.txt").write_text("Mine: {tools}")
    rows, _ = run_script(xlam, tmp_path / "out", xlam_folder / "in.json", template=tmp_path / "mine.txt")
    assert all(row["prompt"][0]["content"].startswith("Mine: ") for row in rows)
