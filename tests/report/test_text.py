"""The run as text: `--text`, and the closing table with summary.json."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from verl_run import write_lines

from tooln1.files import write_json
from tooln1.report.facts import gather_facts
from tooln1.report.text import format_text, write_summary

KINDS = ("string", "list", "no_call")


@pytest.fixture
def quickstart(copied):
    """A run of the quickstart: rows with kinds, a warm start, an exported model and its responses."""
    rows = pq.read_table(copied / "test.parquet").to_pylist()
    for number, row in enumerate(rows):
        row["extra_info"]["kind"] = KINDS[number % 3]
        row["data_source"] = "toolcall/synthetic"
    for dump in (copied / "validation").glob("*.jsonl"):  # verl's order is not that of the file
        dump.write_text("".join(reversed(dump.read_text().splitlines(keepends=True))))
    pq.write_table(pa.Table.from_pylist(rows), copied / "test.parquet")
    write_json(copied / "run.json", {"peak_memory_gb": 3.25, "seconds_to_first_step": 56.78})
    write_json(copied / "sft" / "run.json", {"peak_memory_gb": 2.0})
    (copied / "merged").mkdir()
    results = [
        {"id": "test/1", "response": None},
        {"id": "test/2", "response": "<think>a</think>\n\n\n<tool_call>[]</tool_call>"},
        {"id": "test/0", "response": "x" * 1000},
        {"id": "test/3", "response": "not shown"},
    ]
    write_lines(copied / "eval" / "held_out" / "results.jsonl", results)
    return copied


def test_summary_json_holds_the_figures_of_the_run(quickstart, load):
    run = load(quickstart)
    run.record["wall_seconds"] = 301.5
    write_summary(run)
    summary = json.loads((quickstart / "summary.json").read_text())
    assert summary["seed"] == 0 and summary["steps"] == 12
    assert (summary["val_acc_before"], summary["val_acc_after"]) == (run.accuracy[0], run.accuracy[12])
    for when, step in (("before", 0), ("after", 12)):
        by_kind = summary[f"val_acc_{when}_by_kind"]
        assert list(by_kind) == list(KINDS)  # in the order of the validation file
        # 10 rows: four of the first kind, three of the others.
        assert sum(by_kind[kind] * size for kind, size in zip(KINDS, (4, 3, 3), strict=True)) == pytest.approx(
            10 * run.accuracy[step]
        )
    assert summary["reward_by_step"] == {str(step): pytest.approx(value) for step, value in run.reward.items()}
    assert summary["seconds_per_step"] == 6.5
    assert (summary["seconds_to_first_step"], summary["wall_seconds"]) == (56.78, 301.5)
    assert summary["peak_memory_gb"] == 3.25  # the larger of run and warm start
    assert summary["checkpoint"] == str(quickstart / "checkpoints" / "global_step_12")
    assert summary["merged"] == str(quickstart / "merged")


def test_the_closing_table_shows_kinds_rewards_times_examples_and_places(quickstart, load):
    run = load(quickstart)
    run.record["wall_seconds"] = 301.5
    text = write_summary(run)
    lines = text.splitlines()
    assert lines[1] == "Validation accuracy before and after GRPO (12 steps)"
    assert lines[3].split() == ["kind", "of", "task", "before", "after"]
    assert [line.split()[0] for line in lines[5:9]] == [*KINDS, "all"]
    first, *_, last = run.reward.values()
    assert lines[10].startswith("Reward by step   ") and lines[10].endswith(f"   {first:.2f} → {last:.2f}")
    assert lines[11:13] == ["Seconds a step   6.5", "To the first     56.8 s"]
    assert lines[13:15] == ["The whole run    301.5 s", "Peak memory      3.2 GB"]
    prompts = pq.read_table(quickstart / "test.parquet")["prompt"].to_pylist()
    assert f"> {prompts[2][-1]['content']}\n<think>a</think> <tool_call>[]</tool_call>\n" in text
    assert f"> {prompts[0][-1]['content']}\n{'x' * 399}…\n" in text and "not shown" not in text
    assert f"model        {quickstart / 'merged'}" in lines and f"rollouts     {quickstart / 'rollouts'}" in lines


def test_the_closing_table_of_a_run_that_did_not_validate_has_dashes(tmp_path, load):
    write_lines(tmp_path / "metrics.jsonl", [{"step": 1, "data": {"critic/score/mean": 0.5}}])
    text = write_summary(load(tmp_path))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["val_acc_before"] is summary["val_acc_after"] is summary["checkpoint"] is summary["merged"] is None
    assert "all                -      -" in text and "Peak memory      - GB" in text


def test_the_text_holds_facts_tables_settings_and_notes(run_folder, load):
    run = load(run_folder)
    text, facts = format_text([run]), gather_facts(run)
    shown = (facts.values["Final validation accuracy"], "12 of 12", "toolcall/xlam", "wrong arguments", "groups mixed")
    for value in (*shown, "data.train_batch_size: – → 6", "the first mistake", facts.notes[0]):
        assert value in text
    assert all(len(line) <= 320 for line in text.splitlines())
