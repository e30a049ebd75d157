"""The summary of a run: accuracy, times, changed settings, evaluations, and notes on what is missing."""

import json
import shutil

import pytest
from omegaconf import OmegaConf
from verl_run import write_lines, write_run

from tooln1.eval.summary import published, summarise
from tooln1.files import write_json
from tooln1.report.charts import make_charts
from tooln1.report.facts import gather_facts
from tooln1.report.run_data import load_runs


def test_accuracy_is_that_of_the_dumps_and_agrees_with_verls_metrics(run_folder, load):
    run = load(run_folder)
    assert list(run.accuracy) == [0, 4, 8, 12]
    for step, dump in run.validation.items():
        assert run.accuracy[step] == dump.accuracy
        for source, (count, right) in dump.by_source.items():
            assert run.accuracy_by_source[source][step] == pytest.approx(right / count)


def test_without_dumps_accuracy_is_the_mean_of_the_sources(tmp_path, load):
    data = {"val-core/a/acc/mean@1": 0.2, "val-core/b/acc/mean@1": 0.6, "val-aux/a/score/mean@1": 9.0}
    write_lines(tmp_path / "metrics.jsonl", [{"step": 5, "data": data}])
    run = load(tmp_path)
    assert run.accuracy == {5: pytest.approx(0.4)}
    assert run.accuracy_by_source == {"a": {5: 0.2}, "b": {5: 0.6}}


def test_sources_come_from_the_parquet_files(run_folder, load):
    dump = load(run_folder).rollouts[1]
    assert set(dump.by_source) <= {"toolcall/xlam", "toolcall/toolace_single_turn"}
    assert {group["source"] for group in dump.shown} == set(dump.by_source)


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path, run_folder):
    paths = [shutil.copytree(run_folder, tmp_path / parent / "run") for parent in ("a", "b")]
    assert [run.name for run in load_runs(paths)] == ["a/run", "b/run"]


def test_only_settings_that_were_given_are_changed(tmp_path, load):
    facts = gather_facts(load(write_run(tmp_path / "run", steps=4, whole_config=True)))
    changed = {key: (default, value) for key, default, value in facts.changed}
    assert facts.recipe == "tool_n1_grpo_cpu"
    assert changed["data.train_batch_size"] == ("16", "6")
    # The mini-batch size follows from the batch size by interpolation.
    assert "actor_rollout_ref.actor.ppo_mini_batch_size" not in changed


def test_for_an_unknown_configuration_the_overrides_are_the_changed_settings(run_folder, load):
    facts = gather_facts(load(run_folder))
    assert ("data.train_batch_size", "–", "6") in facts.changed
    assert facts.recipe == "Hydra's defaults"


def test_run_json_is_shown(copied, load):
    record = {
        "start": "2026-01-01T10:00:00+0000",
        "end": "2026-01-01T12:30:00+0000",
        "attempts": [{"start": "2026-01-01T08:00:00+0000", "end": "2026-01-01T09:30:00+0000"}],
        "versions": {"verl": "0.9.1", "torch": "2.13.0"},
        "git_commit": "abc",
        "hardware": {"cpu": "EPYC", "gpus": ["H200", "H200"]},
        "peak_memory_gb": 3.0,
        "changes": [
            {"step": 4, "key": "data.seed", "old": None, "new": 1},
            {"step": 4, "key": "a.b", "old": 2, "new": 3},
        ],
    }
    write_json(copied / "run.json", record)
    write_json(copied / "sft" / "run.json", {"peak_memory_gb": 4.0})
    values = gather_facts(load(copied)).values
    assert values["Time"] == "4.0 h"
    assert values["Versions"] == "verl 0.9.1, torch 2.13.0"
    assert values["Hardware"] == "cpu EPYC, gpus H200, H200"
    assert values["Git commit"] == "abc"
    assert values["Memory at the peak"] == "4.0 GB"
    assert values["Changed after step 4"] == "data.seed – → 1, a.b 2 → 3"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"start": 3, "end": "x", "attempts": 5, "hardware": null, "peak_memory_gb": "much"}']
)
def test_a_run_json_of_another_program_does_no_harm(text, copied, load):
    (copied / "run.json").write_text(text)
    assert gather_facts(load(copied)).values["Time"] == "1 min 18 s"


@pytest.mark.parametrize(
    "remove, note",
    [
        ("metrics.jsonl", "no metrics"),
        ("rollouts", "no rollouts"),
        ("validation", "no validation responses"),
        ("hydra", "no configuration"),
        ("train.parquet", "data.train_files"),
        (None, "no evaluation"),
    ],
)
def test_a_missing_part_is_noted_and_the_rest_is_read(remove, note, copied, load):
    if remove:
        path = copied / remove
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    notes = gather_facts(load(copied)).notes
    assert any(one.startswith(note) for one in notes), notes


@pytest.mark.parametrize("variant, noted", [("binary", True), ("binary_no_reason", False)])
def test_scores_of_another_reward_are_noted_unless_the_variant_explains_them(variant, noted, copied, load):
    dump = copied / "rollouts" / "1.jsonl"
    dump.write_text(dump.read_text().replace('"score": 0.0', '"score": 1.0', 1))
    config = OmegaConf.load(copied / "hydra" / ".hydra" / "config.yaml")
    config.reward = {"custom_reward_function": {"reward_kwargs": {"variant": variant}}}
    OmegaConf.save(config, copied / "config.yaml")
    assert any("another reward" in note for note in gather_facts(load(copied)).notes) == noted


def test_a_killed_run_says_at_which_step_it_is(copied, load):
    metrics = copied / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join(lines[:6]) + lines[6][:50])
    for step in range(6, 13):
        (copied / "rollouts" / f"{step}.jsonl").unlink()
    facts = gather_facts(load(copied))
    assert facts.values["Steps"] == "5 of 12"
    assert "the run is at step 5 of 12" in facts.notes
    assert any("unfinished" in note for note in facts.notes)


def test_a_run_of_the_sft_trainer_has_its_loss_and_misses_no_rollouts(tmp_path, load):
    write_lines(tmp_path / "metrics.jsonl", [{"step": step, "data": {"train/loss": 1 / step}} for step in (1, 2, 3)])
    config = {"trainer": {"total_training_steps": 3}, "model": {"path": "mine"}, "data": {"train_files": ["a.parquet"]}}
    (tmp_path / "config.yaml").write_text(json.dumps(config))
    run = load(tmp_path)
    facts = gather_facts(run)
    assert facts.values["Steps"] == "3 of 3" and facts.values["Model"] == "mine"
    assert not [note for note in facts.notes if "rollouts" in note or "validation" in note]
    assert [chart.key for chart in make_charts([run])] == ["sft_loss"]


class Averages:
    """What `tooln1.eval.summary` asks of a benchmark."""

    name = "bfcl"

    def groups(self, categories):
        return {"non_live": categories["simple"]["accuracy"], "mine": 0.5, "accuracy": 0.85}

    def impossible(self):
        return {}


def evaluated(id, category, correct, error=None):
    row = {"category": category, "id": id, "repeat": 0, "correct": correct, "error": error}
    return {**row, "finish_reason": "stop"}


def test_evaluations_are_shown_beside_the_papers_figures(copied, load):
    rows = [evaluated(id, "simple", id > 0, "" if id else "wrong_tool") for id in range(10)]
    part = summarise(Averages(), [*rows, evaluated(10, "irrelevance", None)], {})
    summary = {"model": "m", "created": "2026", "benchmarks": {"bfcl": part}, "published": published()}
    write_json(copied / "eval" / "last" / "summary.json", summary)
    accuracies, comparison, mistakes = load(copied).evaluations[0].tables
    assert accuracies.rows == [
        ["simple", "90.00", "59.58 to 98.21", "9", "10", "0"],
        ["irrelevance", "–", "–", "0", "0", "1"],
        ["non_live", "90.00", "59.58 to 98.21", "", "", ""],
        ["mine", "50.00", "", "", "", ""],
        ["accuracy", "85.00", "", "", "", ""],
    ]
    assert comparison.head == ["model", "simple", "non_live", "accuracy"]
    paper = ["Tool-N1-7B (paper)", "77.00", "89.25", "84.82"]
    assert comparison.rows[:2] == [["this run", "90.00", "90.00", "85.00"], paper]
    assert mistakes.rows == [["another tool, a call too many, or one too few", "1"]]


@pytest.mark.parametrize("text", ["", "[]", '{"benchmarks": 3}', '{"benchmarks": {"bfcl": 3}}'])
def test_an_evaluation_of_another_shape_becomes_a_note(text, copied, load):
    path = copied / "eval" / "last" / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    run = load(copied)
    assert run.evaluations == [] and any("eval/last/summary.json: cannot be read" in note for note in run.files.notes)
