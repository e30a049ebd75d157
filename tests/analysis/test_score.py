"""`tooln1 score`: what it reads, prints and writes, and what it says about bad input."""

import json
import subprocess
import sys

import pytest
from toolcall_cases import F2, GAMING, KEYS, ONE, THINK, called, f, judge

from tooln1.analysis.score import read_rows
from tooln1.cli import main

RESPONSES = [called(ONE), called(ONE), called(f(2)), called(f(3)), called(ONE) + " bye", ""]


def dump(path, responses=RESPONSES, **fields):
    """A file as verl dumps rollouts, with further fields."""
    rows = [{"input": "?", "output": response, "gts": ONE, "score": 0.0, **fields} for response in responses]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def score(capsys, *arguments):
    """The paragraphs that the command prints."""
    main(["score", *map(str, arguments)])
    return capsys.readouterr().out.rstrip("\n").split("\n\n")


def refused(capsys, *arguments):
    """The one line that the command leaves on stderr as it exits with code 2."""
    with pytest.raises(SystemExit) as stopped:
        main(["score", *map(str, arguments)])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert not printed.out
    return line


def test_the_tables_count_and_name_the_reasons(tmp_path, capsys):
    title, rates, reasons, examples, written = score(capsys, dump(tmp_path / "3.jsonl", step=3))
    assert title == "6 responses, reward strict, variant binary"
    head, _, row = map(str.split, rates.splitlines())
    assert head == ["responses", "score", "accuracy", "format", "name", "arguments"]
    assert row == ["all", "6", "0.333", "0.333", "0.667", "0.667", "0.333"]
    assert [line.split() for line in reasons.splitlines()[2:]] == [
        ["wrong", "arguments", "2", "33.3%"],
        ["text", "after", "the", "calls", "1", "16.7%"],
        ["does", "not", "start", "with", "<think>", "1", "16.7%"],
    ]
    assert examples.splitlines()[0] == "wrong arguments, for example 3 (3.jsonl line 3): x is 2 instead of 1"
    assert written == f"written: {tmp_path / '3.scored.jsonl'}"


def test_a_response_to_a_prompt_that_opens_the_reasoning_begins_inside_it(tmp_path, capsys):
    inside = called(ONE).removeprefix("<think>")
    _, rates, *_ = score(capsys, dump(tmp_path / "3.jsonl", [inside], input="assistant\n<think>\n"))
    assert rates.splitlines()[-1].split()[2:4] == ["1.000", "1.000"]


@pytest.mark.parametrize("reward, variant", [("strict", "partial_reason"), ("paper", "partial_reason_name")])
def test_each_response_is_written_with_its_scores_and_reason(reward, variant, tmp_path, capsys):
    output = tmp_path / "new" / "out.jsonl"
    path = dump(tmp_path / "d.jsonl", [case[1] for case in GAMING])
    score(capsys, path, "--output", output, "--reward", reward, "--variant", variant)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["row"], row["number"]) for row in rows] == [(one, one) for one in range(1, len(GAMING) + 1)]
    for row, case in zip(rows, GAMING, strict=True):
        assert {key: row[key] for key in KEYS} == judge(case[1], ONE, reward, variant)
        assert (row["reason"] == "correct") == (row["position"] is None) == (row["acc"] == 1.0)
    assert [one.name for one in output.parent.iterdir()] == ["out.jsonl"], "no temporary file is left"


def test_a_folder_is_read_in_the_order_of_its_steps_without_what_was_written_there(tmp_path, capsys):
    for step in (10, 9, 100):
        score(capsys, dump(tmp_path / f"{step}.jsonl", step=step))
    rates = score(capsys, tmp_path, "--output", tmp_path / "all.scored.jsonl")[1]
    assert [line.rsplit(None, 6)[0] for line in rates.splitlines()[2:]] == ["step 9", "step 10", "step 100", "all"]
    scored = [json.loads(line) for line in (tmp_path / "all.scored.jsonl").read_text().splitlines()]
    assert [(row["number"], row["row"]) for row in scored] == [(one, (one - 1) % 6 + 1) for one in range(1, 19)]


def test_rows_are_grouped_by_data_source(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    sources = ["toolcall/a", "all", "toolcall/a", "toolcall/b"]
    rows = [{"data_source": one, "response": called(ONE), "ground_truth": ONE} for one in sources]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    _, rates, said, _ = score(capsys, path)
    groups = [line.split()[:2] for line in rates.splitlines()[2:]]
    assert groups == [["toolcall/a", "2"], ["all", "1"], ["toolcall/b", "1"], ["all", "4"]]
    assert said == "every response is correct"


@pytest.mark.parametrize(
    "row",
    [
        {"output": "x", "gts": "[]"},
        {"solution_str": "x", "ground_truth": "[]"},
        {"response": "x", "reward_model": {"style": "rule", "ground_truth": "[]"}},
    ],
    ids=lambda row: next(iter(row)),
)
def test_fields_of_verl_and_of_the_training_files_are_known(row, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    [read] = read_rows(path)
    assert (read.response, read.ground_truth, read.line) == ("x", "[]", 1)


def test_explain_marks_the_first_mistake(tmp_path, capsys):
    path = dump(tmp_path / "d.jsonl", [called(ONE), called(f"[{F2}]"), THINK + "\ud800\x1b[31m"])
    said, marked = score(capsys, path, "--explain", "2")
    assert said.splitlines()[2:] == ["reason: wrong arguments", "detail: x is 2 instead of 1"]
    line, caret = marked.splitlines()
    assert line[caret.index("^") :] == "2}}]</tool_call>"
    assert "reason: correct" in score(capsys, path, "--explain", "1")[0]
    assert "\\x1b[31m" in score(capsys, path, "--explain", "3")[1], "an escape, which cannot drive the terminal"
    assert not list(tmp_path.glob("*.scored.jsonl")), "explaining writes nothing"


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "no responses"),
        ("\n\n", "no responses"),
        ('{"output": "", "gts": "[]"}\n{"output": ', "line 2: expected a JSON object"),
        ("[]", "line 1: expected a JSON object"),
        ('{"gts": "[]"}', "line 1: no response; name its field one of output, solution_str, response"),
        ('{"output": ""}', "line 1: no ground truth; name its field one of gts, ground_truth"),
        ('{"output": ["a"], "gts": "[]"}', "line 1: field output is list; write the response as a string"),
        ('{"output": "a", "gts": null}', "line 1: field gts is NoneType; write the ground truth as a string"),
        ('{"output": "a", "gts": "[5]"}', "line 1: broken ground truth: item 0 is not an object"),
    ],
)
def test_bad_rows_are_named_in_one_line_and_nothing_is_written(text, said, tmp_path, capsys):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    line = refused(capsys, path)
    assert str(path) in line and said in line
    assert [one.name for one in tmp_path.iterdir()] == ["bad.jsonl"]


def test_bad_paths_and_choices_are_named_in_one_line(tmp_path, capsys):
    assert "absent.jsonl: cannot be read" in refused(capsys, tmp_path / "absent.jsonl")
    assert "no responses" in refused(capsys, tmp_path)
    path = dump(tmp_path / "d.jsonl")
    assert "choose from strict, paper" in refused(capsys, path, "--reward", "lenient").replace("'", "")
    assert "partial_reason" in refused(capsys, path, "--variant", "partial", "--explain", "1")
    assert "no response 7; --explain takes a number from 1 to 6" in refused(capsys, path, "--explain", "7")
    assert "cannot be written" in refused(capsys, path, "--output", path / "under" / "a.jsonl")


def test_lone_surrogates_reach_a_terminal_of_any_encoding(tmp_path):
    path = dump(tmp_path / "d.jsonl", ["\ud800 caf\u00e9", called('[{"name":"\\ud800","arguments":{}}]')])
    for more in ([], ["--explain", "1"], ["--explain", "2"]):
        command = [sys.executable, "-m", "tooln1.cli", "score", str(path), *more]
        environment = {"PYTHONIOENCODING": "ascii", "PATH": "/usr/bin"}
        ran = subprocess.run(command, capture_output=True, env=environment)
        assert ran.returncode == 0, ran.stderr
