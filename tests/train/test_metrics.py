"""Reading a run's files while they are written, and after attempts that were killed."""

import json

import pytest

from tooln1.train.metrics import read_jsonl, read_metrics, validation_steps


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return path


def line(step, **data):
    return json.dumps({"step": step, "data": data}).encode() + b"\n"


@pytest.mark.parametrize(
    "content, expected, remark",
    [
        (b'{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}], "whole"),
        (b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}], "the last line ends without a newline"),
        (b'{"a": 1}\n{"a": ', [{"a": 1}], "cut inside an object"),
        ('{"a": 1}\n{"a": "é'.encode()[:-1], [{"a": 1}], "cut inside a character"),
        (b"", [], "just made"),
        (b"\n\n", [], "blank lines"),
    ],
)
def test_a_line_that_is_not_finished_is_left_out(content, expected, remark, tmp_path):
    assert read_jsonl(write(tmp_path / "f.jsonl", content)) == expected, remark


def test_a_file_that_is_not_there_yet_has_no_lines(tmp_path):
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_attempts_are_merged_and_the_later_one_wins(tmp_path):
    write(tmp_path / "attempt-000.jsonl", line(0, acc=0.5), line(1, r=0.1), line(2, r=0.2), line(3, r=0.3)[:-5])
    write(tmp_path / "attempt-001.jsonl", line(2, r=0.25), line(3, r=0.35))
    write(tmp_path / "sft.jsonl", line(1, r=9.0))  # the warm start's metrics are no attempt of GRPO
    metrics = read_metrics(tmp_path)
    assert metrics == {0: {"acc": 0.5}, 1: {"r": 0.1}, 2: {"r": 0.25}, 3: {"r": 0.35}}
    assert list(metrics) == [0, 1, 2, 3]


def test_one_step_on_two_lines_is_one_step(tmp_path):
    write(tmp_path / "attempt-000.jsonl", line(2, r=0.2), line(2, acc=0.9))
    assert read_metrics(tmp_path) == {2: {"r": 0.2, "acc": 0.9}}


def test_validation_steps_are_numbers_in_order(tmp_path):
    for name in ("10.jsonl", "0.jsonl", "5.jsonl", "notes.jsonl", "7.txt"):
        write(tmp_path / name, b"{}\n")
    assert validation_steps(tmp_path) == [0, 5, 10]
    assert validation_steps(tmp_path / "none") == []


def test_a_validation_that_was_killed_before_its_first_line_has_not_taken_place(tmp_path):
    write(tmp_path / "0.jsonl")
    assert validation_steps(tmp_path) == []
