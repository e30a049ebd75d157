"""The figures of a finished run, from a run folder made by hand."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from tooln1.tiny.stages import Run
from tooln1.tiny.summary import accuracy_by_kind, print_summary, sparkline, summarize, write_summary

CLOCK = {"seconds_to_first_step": 41.5, "wall_seconds": 321.0, "peak_memory_gb": 5.5}


@pytest.fixture
def world_run(run, tiny_model, tiny_data):
    """A run of the tiny world with its validation rows and the tokenizer that verl renders them with."""
    (run.folder / "world").mkdir(parents=True)
    shutil.copy(tiny_data / "test.parquet", run.folder / "world")
    shutil.copytree(tiny_model, run.folder / "warm_start")
    return run


def as_verl_dumps_them(run):
    """(prompt text, kind) of every validation row."""
    rows = pq.read_table(run.val).to_pylist()
    return [
        ("".join(f"{m['role']}\n{m['content']}\n" for m in row["prompt"]) + "assistant\n", row["extra_info"]["kind"])
        for row in rows
    ]


@pytest.fixture
def finished(world_run, attempt, validation, checkpoint):
    prompts = as_verl_dumps_them(world_run)
    validation(0, [(prompt, float(kind == "string")) for prompt, kind in prompts])
    validation(2, [(prompt, 0.0) for prompt, _ in prompts])
    validation(4, [(prompt, float(kind != "list")) for prompt, kind in prompts])
    attempt(0, [(1, 0.1, 30.0), (2, 0.2, 9.0), (3, 0.25, 9.0)])
    attempt(1, [(3, 0.5, 2.0), (4, 0.8, 4.0)])
    checkpoint(4)
    return world_run


def test_the_summary_has_every_figure(finished):
    summary = summarize(finished, CLOCK)
    assert summary["val_acc_before"] == pytest.approx(1 / 7) and summary["val_acc_after"] == pytest.approx(6 / 7)
    assert summary["val_acc_before_by_kind"] == {
        kind: float(kind == "string")
        for kind in ("string", "integer", "boolean", "list", "parallel", "multi_turn", "no_call")
    }
    assert summary["val_acc_after_by_kind"]["list"] == 0.0
    # Step 3 was trained twice, and the first two steps count as start-up.
    assert summary["reward_by_step"] == {"1": 0.1, "2": 0.2, "3": 0.5, "4": 0.8}
    assert summary["seconds_per_step"] == 3.0
    assert summary["steps"] == 4
    assert {key: summary[key] for key in CLOCK} == CLOCK
    assert summary["checkpoint"] == str(finished.checkpoints / "global_step_4")


def test_the_file_holds_what_the_summary_says(finished):
    summary = summarize(finished, CLOCK)
    write_summary(finished.folder / "summary.json", summary)
    assert json.loads((finished.folder / "summary.json").read_text()) == summary
    assert not list(finished.folder.glob("*.tmp"))


def test_the_closing_table_shows_every_kind_and_where_things_lie(finished, capsys):
    (finished.folder / "replies.jsonl").write_text(json.dumps({"query": "find a café", "reply": "<think>"}) + "\n")
    print_summary(finished, summarize(finished, CLOCK))
    text = capsys.readouterr().out
    lines = [line.split() for line in text.splitlines()]
    assert ["string", "1.00", "1.00"] in lines and ["list", "0.00", "0.00"] in lines
    assert ["all", "0.143", "0.857"] in lines
    assert "0.10 → 0.80" in text and "find a café" in text
    for path in ("summary.json", "merged", "checkpoints/global_step_4", "rollouts", "logs"):
        assert str(finished.folder / path) in text


def test_a_reply_is_shown_on_one_line_whatever_the_model_wrote(finished, capsys):
    (finished.folder / "replies.jsonl").write_text(json.dumps({"query": "q", "reply": "a\n\nb " + "\n" * 90}) + "\n")
    print_summary(finished, summarize(finished, CLOCK))
    text = capsys.readouterr().out
    assert "> q\na b\n\n" in text and len(text.splitlines()) < 40


def test_what_was_not_measured_is_absent_and_not_zero(world_run, attempt, validation, checkpoint, capsys):
    """Two steps, trainer.test_freq=-1, and a clock that was never asked."""
    validation(0, [(prompt, 1.0) for prompt, _ in as_verl_dumps_them(world_run)])
    attempt(0, [(1, 0.1, 30.0), (2, 0.2, 9.0)])
    checkpoint(2)
    summary = summarize(world_run, {})
    for key in ("val_acc_after", "seconds_per_step", "seconds_to_first_step", "wall_seconds", "peak_memory_gb"):
        assert summary[key] is None
    print_summary(world_run, summary)
    assert ["all", "1.000", "-"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_without_validation_before_training_there_is_an_accuracy_after_it(world_run, attempt, validation, checkpoint):
    validation(2, [(prompt, 1.0) for prompt, _ in as_verl_dumps_them(world_run)])
    attempt(0, [(1, 0.1, 30.0), (2, 0.2, 9.0)])
    checkpoint(2)
    summary = summarize(world_run, CLOCK)
    assert (summary["val_acc_before"], summary["val_acc_after"]) == (None, 1.0)
    assert set(summary["val_acc_after_by_kind"].values()) == {1.0}
    print_summary(world_run, summary)


def test_rows_without_kinds_have_one_accuracy(tmp_path, validation, attempt, checkpoint, run, tiny_data):
    rows = pq.read_table(tiny_data / "test.parquet").drop_columns("extra_info")
    pq.write_table(rows, tmp_path / "mine.parquet")
    validation(0, [("p", 0.0), ("q", 1.0)])
    validation(1, [("p", 1.0), ("q", 1.0)])
    attempt(0, [(1, 0.5, 1.0)])
    checkpoint(1)
    mine = Run(folder=run.folder, seed=0, model_path="/model", train_file=tmp_path / "mine.parquet")
    summary = summarize(mine, CLOCK)
    assert (summary["val_acc_before"], summary["val_acc_after"]) == (0.5, 1.0)
    assert summary["val_acc_before_by_kind"] == summary["val_acc_after_by_kind"] == {}


@pytest.mark.parametrize(
    "values, expected",
    [
        ([], ""),
        ([0.0, 1.0], "▁█"),
        ([0.0, 0.124, 0.126, 0.5, 0.99], "▁▁▂▅█"),
        ([-0.5, 1.5], "▁█"),  # a reward variant may leave the range
    ],
)
def test_a_sparkline_has_a_bar_for_every_value(values, expected):
    assert sparkline(values) == expected


def test_accuracy_counts_every_reply_and_splits_by_kind(tmp_path):
    replies = [("p1", 1.0), ("p2", 0.0), ("p3", 1.0), ("unknown", 0.0)]
    lines = [json.dumps({"input": prompt, "acc": acc}).encode() + b"\n" for prompt, acc in replies]
    dump = tmp_path / "0.jsonl"
    dump.write_bytes(b"".join(lines))
    every, by_kind = accuracy_by_kind(dump, {"p1": "list", "p2": "list", "p3": "string", "p4": "boolean"})
    assert every == 0.5
    # A kind without replies and a prompt without a kind have no accuracy of their own.
    assert by_kind == {"list": 0.5, "string": 1.0}


def test_accuracy_without_kinds_is_one_figure(tmp_path):
    dump = tmp_path / "0.jsonl"
    dump.write_bytes(b'{"input": "p", "acc": 1.0}\n')
    assert accuracy_by_kind(dump, {}) == (1.0, {})
