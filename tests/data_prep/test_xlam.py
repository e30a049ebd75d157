"""data_prep/xlam.py on real rows and on small ones of every shape; what all source scripts share is tested here too."""

import json
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep import xlam
from tooln1.data.validate import validate_parquet
from tooln1.data.xlam import prepare_query
from tooln1.errors import UserError
from tooln1.prompt import build_system

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "data_prep" / "xlam.py"
SAMPLE = ROOT.parent / "shared" / "data" / "xlam_sample.json"

TOOLS = [{"name": "f", "description": "d", "parameters": {"x": {"type": "int", "description": "n", "default": 1}}}]
CALLS = [{"name": "f", "arguments": {"x": 1, "t": 'a ) "b" \n é'}}]


def query(**changes):
    return {"id": 0, "query": "do it", "tools": json.dumps(TOOLS), "answers": json.dumps(CALLS), **changes}


def all_rows(folder):
    return [row for split in ("train", "test") for row in pq.read_table(folder / f"{split}.parquet").to_pylist()]


@pytest.mark.parametrize("changes", [{}, {"tools": TOOLS, "answers": CALLS}, {"answers": json.dumps(CALLS[0])}])
def test_a_query_is_a_row(changes):
    [row] = prepare_query(query(**changes), 7).rows
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
    outcome = prepare_query(query(**changes), 0)
    assert (outcome.rows, outcome.dropped) == ([], {reason: 1})


def test_an_empty_answer_is_a_row_on_request():
    [row] = prepare_query(query(answers="[]"), 0, include_no_call=True).rows
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
        prepare_query(raw, 0)


def test_every_real_answer_arrives_in_the_files(tmp_path):
    if not SAMPLE.exists():
        pytest.skip(f"needs the data sample {SAMPLE}")
    xlam.main(["--input", str(SAMPLE), "--output", str(tmp_path)])
    source = json.loads(SAMPLE.read_text())
    found = {row["extra_info"]["source_row"]: row["reward_model"]["ground_truth"] for row in all_rows(tmp_path)}
    assert found == {
        number: json.dumps(json.loads(row["answers"]), ensure_ascii=False) for number, row in enumerate(source)
    }
    assert {row["prompt"][1]["content"] for row in all_rows(tmp_path)} == {row["query"] for row in source}


def test_any_number_of_workers_writes_the_same_bytes(tmp_path):
    (tmp_path / "in.json").write_text(json.dumps([query(id=n, query=f"query {n}") for n in range(900)]))
    for workers in ("1", "2"):
        command = [sys.executable, SCRIPT, "--input", tmp_path / "in.json", "--output", tmp_path / workers]
        subprocess.run([*command, "--workers", workers, "--seed", "3"], check=True, capture_output=True)
    for name in ("train.parquet", "test.parquet", "stats.json"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name


def test_a_broken_row_in_a_workers_hands_is_named(tmp_path):
    rows = [query(query=f"query {n}") for n in range(600)]
    rows[555] = {"query": "x"}
    (tmp_path / "in.json").write_text(json.dumps(rows))
    command = [sys.executable, SCRIPT, "--input", tmp_path / "in.json", "--output", tmp_path / "out", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"error: .*in\.json: row 555: .*tools, answers missing\n", done.stderr)
    assert not list((tmp_path / "out").iterdir())


def limit_file_size():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_nothing(tmp_path):
    rows = [query(query=f"{n} " + "".join(chr(32 + (n * i) % 90) for i in range(500))) for n in range(300)]
    (tmp_path / "in.json").write_text(json.dumps(rows))
    command = [sys.executable, SCRIPT, "--input", tmp_path / "in.json", "--output", tmp_path / "out", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit_file_size)
    assert done.returncode == 2
    assert re.search(r"^error: .*out.*: cannot be written \(File too large\)\n$", done.stderr, re.MULTILINE)
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "content, message",
    [
        (b'[{"query": "x", "to', "row 0: broken JSON .*cut"),
        (b"", "the file is empty"),
        ('[{"query": "é"}]'.encode("latin-1"), "row 0: not UTF-8"),
        (json.dumps([query(), [1]]).encode(), "row 1: expected an object, found list"),
        (json.dumps([query(), {"query": "x"}]).encode(), "row 1: .*tools, answers missing"),
    ],
)
def test_broken_input_is_one_line_with_file_and_row(tmp_path, capsys, content, message):
    path = tmp_path / "in.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"in\.json: {message}"):
        xlam.main(["--input", str(path), "--output", str(tmp_path / "out")])


def test_broken_rows_of_an_array_are_skipped_and_counted_on_request(tmp_path, capsys):
    rows = [json.dumps(query(query=f"query {n}")).encode() for n in range(4)]
    content = b"[" + b",".join([rows[0], b"5", rows[1], b'{"query": x}', rows[2], b'{"query": "\xe9"}', rows[3]])
    (tmp_path / "in.json").write_bytes(content + b', {"query": "cu')
    out = tmp_path / "out"
    options = ["--input", str(tmp_path / "in.json"), "--output", str(out), "--test-size", "1"]
    xlam.main([*options, "--on-error", "skip", "--report"])
    stats = json.loads((out / "stats.json").read_text())
    assert stats["conversations"] == {"read": 8, "kept": 4, "dropped": {"broken_row": 4}}
    assert sorted(row["extra_info"]["source_row"] for row in all_rows(out)) == [0, 2, 4, 6]
    report = (out / "report.md").read_text()
    assert "## broken_row: 4" in report
    assert "row 1:\n\n    expected an object, found int" in report


def test_the_report_shows_examples_of_each_reason(tmp_path, capsys):
    bad = [query(answers='[{"name": "gone", "arguments": {}}]', query=f"q{n}") for n in range(5)]
    (tmp_path / "in.json").write_text(json.dumps([query(query="a"), query(query="b"), *bad]))
    page = tmp_path / "page.md"
    xlam.main(["--input", str(tmp_path / "in.json"), "--output", str(tmp_path / "out"), "--report", str(page)])
    text = page.read_text()
    assert "## unknown_tool: 5\n\na call names a tool that is not in the row's list" in text
    assert text.count("'gone' is not in the tool list") == 3
    assert re.search(r"unknown_tool +5", capsys.readouterr().out)


def test_prompt_lengths_are_those_that_verl_counts(tmp_path, xlam_folder, qwen_tokenizer, capsys):
    qwen_tokenizer.save_pretrained(tmp_path / "tokenizer")
    rows = all_rows(xlam_folder)
    lengths = sorted(
        len(qwen_tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"])
        for row in rows
        if row["extra_info"]["split"] == "train"
    )
    limit = lengths[-4]
    options = ["--input", str(xlam_folder / "in.json"), "--output", str(tmp_path / "out")]
    xlam.main([*options, "--tokenizer", str(tmp_path / "tokenizer"), "--max-prompt-length", str(limit)])
    found = json.loads((tmp_path / "out" / "stats.json").read_text())["prompt_tokens"]["train"]
    assert found["max"] == lengths[-1]
    assert found["p50"] == lengths[(len(lengths) + 1) // 2 - 1]
    assert found["over_limit"] == sum(length > limit for length in lengths)
    assert re.search(rf"train .* {found['max']:,} +{found['over_limit']}\n", capsys.readouterr().out)


def test_a_tokenizer_that_does_not_load_is_one_line(tmp_path, xlam_folder):
    options = ["--input", str(xlam_folder / "in.json"), "--output", str(tmp_path / "out")]
    with pytest.raises(UserError, match="--tokenizer .*none: does not load"):
        xlam.main([*options, "--tokenizer", str(tmp_path / "none")])


def test_the_files_are_valid_and_another_template_is_used(tmp_path, xlam_folder):
    assert validate_parquet(xlam_folder / "train.parquet") == 38
    assert validate_parquet(xlam_folder / "test.parquet") == 2
    (tmp_path / "mine.txt").write_text("Mine: {tools}")
    options = ["--input", str(xlam_folder / "in.json"), "--output", str(tmp_path / "out")]
    xlam.main([*options, "--template", str(tmp_path / "mine.txt"), "--workers", "1"])
    assert all(row["prompt"][0]["content"].startswith("Mine: ") for row in all_rows(tmp_path / "out"))
