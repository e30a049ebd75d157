"""`tooln1 score`: what it reads, prints and writes, and what it says about bad input."""

import json
import subprocess
import sys

import pytest
from toolcall_cases import F2, GAMING, KEYS, ONE, THINK, called, f, judge

from tooln1.cli import main
from tooln1.reward_score.offline import input_files, read_replies, table

REPLIES = [called(ONE), called(ONE), called(f(2)), called(f(3)), called(ONE) + " bye", ""]


def dump(path, replies=REPLIES, **fields):
    """A file as verl dumps rollouts, with further fields."""
    rows = [{"input": "?", "output": reply, "gts": ONE, "score": 0.0, **fields} for reply in replies]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refused(capsys, *arguments):
    """The one line that the command leaves on stderr as it exits with code 2."""
    with pytest.raises(SystemExit) as stopped:
        main(["score", *map(str, arguments)])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert not printed.out
    return line


def test_the_table_counts_and_names_the_reasons(tmp_path, capsys):
    main(["score", str(dump(tmp_path / "3.jsonl", step=3))])
    title, rates, reasons, written = capsys.readouterr().out.rstrip("\n").split("\n\n")
    assert title == "6 replies, profile strict, variant binary"
    assert [line.split() for line in rates.splitlines()] == [
        ["replies", "score", "accuracy", "format", "name", "arguments"],
        ["all", "6", "0.333", "0.333", "0.667", "0.667", "0.333"],
    ]
    assert [line.split()[:4] for line in reasons.splitlines()[1:]] == [
        ["wrong", "arguments", "2", "33.3%"],
        ["text", "after", "the", "calls"],
        ["does", "not", "start", "with"],
    ]
    assert "3 (3.jsonl row 3): x is 2 instead of 1" in reasons
    assert written == f"written: {tmp_path / '3.scored.jsonl'}"


def test_each_reply_is_written_with_its_scores_and_reason(tmp_path):
    output = tmp_path / "new" / "out.jsonl"
    for profile, variant in (("strict", "partial_reason"), ("paper", "partial_reason_name")):
        choice = ["--profile", profile, "--variant", variant]
        main(["score", str(dump(tmp_path / "d.jsonl", [text for text, _ in GAMING])), "--output", str(output), *choice])
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert [row["row"] for row in rows] == list(range(1, len(GAMING) + 1))
        for row, (text, _) in zip(rows, GAMING, strict=True):
            assert {key: row[key] for key in KEYS} == judge(text, ONE, profile, variant)
            assert (row["reason"] == "correct") == (row["position"] is None) == (row["acc"] == 1.0)
    assert [one.name for one in output.parent.iterdir()] == ["out.jsonl"], "no temporary file is left"


def test_a_folder_is_read_in_the_order_of_its_steps_without_what_was_written_there(tmp_path, capsys):
    for step in (10, 9, 100):
        dump(tmp_path / f"{step}.jsonl", step=step)
        main(["score", str(tmp_path / f"{step}.jsonl")])
    assert [one.name for one in input_files(tmp_path)] == ["9.jsonl", "10.jsonl", "100.jsonl"]
    capsys.readouterr()
    main(["score", str(tmp_path), "--output", str(tmp_path / "all.scored.jsonl")])
    scored = [json.loads(line) for line in (tmp_path / "all.scored.jsonl").read_text().splitlines()]
    assert [(row["number"], row["row"]) for row in scored] == [(one, (one - 1) % 6 + 1) for one in range(1, 19)]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[3:7]] == [
        ["step", "9", "6"],
        ["step", "10", "6"],
        ["step", "100", "6"],
        ["all", "18", "0.333"],
    ]


def test_rows_are_grouped_by_data_source(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    sources = ["toolcall/a", "all", "toolcall/a", "toolcall/b"]
    rows = [{"data_source": one, "response": called(ONE), "ground_truth": ONE} for one in sources]
    path.write_text("\n\n".join(json.dumps(row) for row in rows))
    main(["score", str(path)])
    printed = capsys.readouterr().out
    groups = [line.split()[:2] for line in printed.splitlines()[3:7]]
    assert groups == [["toolcall/a", "2"], ["all", "1"], ["toolcall/b", "1"], ["all", "4"]]
    assert "every reply is correct" in printed


@pytest.mark.parametrize(
    "row",
    [
        {"output": "x", "gts": "[]"},
        {"solution_str": "x", "ground_truth": "[]"},
        {"response": "x", "reward_model": {"style": "rule", "ground_truth": "[]"}},
        {"reply": "x", "reference": "[]", "query": "?"},
    ],
    ids=lambda row: next(iter(row)),
)
def test_fields_of_verl_of_the_reward_and_of_the_quickstart_are_known(row, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row))
    [reply] = read_replies(path)
    assert (reply.text, reply.reference, reply.row) == ("x", "[]", 1)


def test_explain_marks_the_first_difference(tmp_path, capsys):
    path = dump(tmp_path / "d.jsonl", [called(ONE), called(f"[{F2}]"), THINK + "\ud800\x1b[31m"])
    main(["score", str(path), "--explain", "2"])
    *said, line, caret = capsys.readouterr().out.rstrip("\n").split("\n")
    assert "reason: wrong arguments" in said and "detail: x is 2 instead of 1" in said
    assert line[caret.index("^") :] == "2}}]</tool_call>"
    main(["score", str(path), "--explain", "1"])
    assert "reason: correct" in capsys.readouterr().out
    main(["score", str(path), "--explain", "3"])
    assert "\\x1b[31m" in capsys.readouterr().out, "what could drive the terminal is shown as an escape"
    assert not list(tmp_path.glob("*.scored.jsonl")), "explaining writes nothing"


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "no rows"),
        ("\n\n", "no rows"),
        ('{"output": "", "gts": "[]"}\n{"output": ', "row 2 is not JSON"),
        ("[" * 9999, "row 1 is not JSON"),
        ("[]", "row 1 is list, not an object"),
        ('{"gts": "[]"}', "row 1 has no reply: name its field one of output, solution_str, response, reply"),
        ('{"output": ""}', "row 1 has no reference: name its field one of gts, ground_truth, reference"),
        ('{"output": ["a"], "gts": "[]"}', "row 1, field output: reply as text expected, not list"),
        ('{"output": "a", "gts": null}', "row 1, field gts: reference as text expected, not NoneType"),
        ('{"output": "a", "gts": "["}', "broken ground truth"),
        ('{"output": "a", "gts": "[5]"}', "it reads '[5]'"),
    ],
)
def test_bad_rows_are_named_in_one_line_and_nothing_is_written(text, said, tmp_path, capsys):
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    line = refused(capsys, path)
    assert str(path) in line and said in line
    assert [one.name for one in tmp_path.iterdir()] == ["bad.jsonl"]


def test_bad_paths_and_choices_are_named_in_one_line(tmp_path, capsys):
    assert "no such file" in refused(capsys, tmp_path / "absent.jsonl")
    assert "no *.jsonl" in refused(capsys, tmp_path)
    binary = tmp_path / "rows.parquet"
    binary.write_bytes(b"PAR1\xff\xfe")
    assert "not UTF-8" in refused(capsys, binary)
    path = dump(tmp_path / "d.jsonl")
    assert "'strict', 'paper'" in refused(capsys, path, "--profile", "lenient")
    assert "'partial_reason'" in refused(capsys, path, "--variant", "partial", "--explain", "1")
    assert "no row 7, it has 6" in refused(capsys, path, "--explain", "7")
    assert "no row 0" in refused(capsys, path, "--explain", "0")
    assert "cannot be written" in refused(capsys, path, "--output", path / "under" / "a.jsonl")


def test_lone_surrogates_reach_a_terminal_of_any_encoding(tmp_path):
    path = dump(tmp_path / "d.jsonl", ["\ud800 caf\u00e9", called('[{"name":"\\ud800","arguments":{}}]')])
    for encoding in ("utf-8", "ascii"):
        for more in ([], ["--explain", "1"], ["--explain", "2"]):
            command = [sys.executable, "-m", "tooln1.cli", "score", str(path), *more]
            environment = {"PYTHONIOENCODING": encoding, "PATH": "/usr/bin"}
            ran = subprocess.run(command, capture_output=True, env=environment)
            assert ran.returncode == 0, ran.stderr


def test_columns_of_the_table_line_up():
    assert table([["a", "n"], ["bbb", "10"], ["c", "7"]]) == "a     n\nbbb  10\nc     7"
