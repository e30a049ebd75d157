"""The summary: accuracy, times, settings that differ, evaluations, and what is missing."""

import json
import shutil

import pytest
from verl_run import write_lines

from tooln1.eval.summary import published, summarise
from tooln1.files import write_text
from tooln1.report.text import format_text, sparkline


@pytest.fixture
def copied(run_folder, tmp_path):
    """A copy of the run, which the test may change."""
    return shutil.copytree(run_folder, tmp_path / "run")


def test_accuracy_is_that_of_verls_metrics_and_of_the_dumps(run_folder, load):
    run = load(run_folder)
    assert list(run.facts.accuracy) == [0, 4, 8, 12]
    for step, scan in run.validation.items():
        assert run.facts.accuracy[step] == scan.accuracy
        for source, (count, right) in scan.by_source.items():
            assert run.facts.accuracy_by_source[source][step] == pytest.approx(right / count)


def test_without_dumps_accuracy_is_the_mean_over_the_sources(tmp_path, load):
    data = {"val-core/a/acc/mean@1": 0.2, "val-core/b/acc/mean@1": 0.6, "val-aux/a/score/mean@1": 9.0}
    write_lines(tmp_path / "metrics.jsonl", [{"step": 5, "data": data}])
    facts = load(tmp_path).facts
    assert facts.accuracy == {5: pytest.approx(0.4)}
    assert facts.accuracy_by_source == {"a": {5: 0.2}, "b": {5: 0.6}}


def test_only_settings_that_were_given_differ(run_folder, load):
    facts = load(run_folder).facts
    differences = {key: (default, value) for key, default, value in facts.differences}
    assert facts.compared_with == "tool_n1_grpo_cpu"
    assert differences["data.train_batch_size"] == ("16", "6")
    # It follows from the batch size by interpolation.
    assert "actor_rollout_ref.actor.ppo_mini_batch_size" not in differences


def test_settings_of_an_unknown_configuration_are_hydras_overrides(copied, load):
    hydra = copied / "hydra" / ".hydra"
    (hydra / "hydra.yaml").write_text("hydra: {job: {config_name: mine}}")
    (hydra / "overrides.yaml").write_text("- data.train_batch_size=6\n")
    facts = load(copied).facts
    assert facts.differences == [("data.train_batch_size", "–", "6")]
    assert facts.compared_with == "Hydra's defaults"


def test_what_run_json_says_is_shown(copied, load):
    record = {
        "start": "2026-01-01T10:00:00+0000",
        "end": "2026-01-01T12:30:00+0000",
        "attempts": [{"start": "2026-01-01T08:00:00+0000", "end": "2026-01-01T09:30:00+0000"}],
        "versions": {"verl": "0.9.1", "torch": "2.13.0"},
        "git_commit": "abc",
        "hardware": {"cpu": "EPYC", "gpus": ["H200", "H200"]},
    }
    (copied / "run.json").write_text(json.dumps(record))
    values = load(copied).facts.values
    assert values["Time"] == "4.0 h"
    assert values["Versions"] == "verl 0.9.1, torch 2.13.0"
    assert values["Hardware"] == "cpu EPYC, gpus H200, H200"
    assert values["Git commit"] == "abc"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"start": 3, "end": "x", "attempts": 5, "hardware": null}'])
def test_a_run_json_of_another_shape_does_no_harm(text, copied, load):
    (copied / "run.json").write_text(text)
    assert load(copied).facts.values["Time"] == "1 min 18 s"


@pytest.mark.parametrize(
    "remove, note",
    [
        ("metrics.jsonl", "no metrics"),
        ("rollouts", "no rollouts"),
        ("validation", "no validation replies"),
        ("hydra", "no configuration"),
        ("train.parquet", "data.train_files"),
        (None, "no evaluation"),
    ],
)
def test_what_is_missing_is_said_and_the_rest_is_shown(remove, note, run_folder, copied, load):
    # The copy's configuration names the copy's own files.
    config = copied / "hydra" / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace(str(run_folder), str(copied)))
    if remove:
        path = copied / remove
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run = load(copied)
    assert any(one.startswith(note) for one in run.notes), run.notes
    assert note in format_text([run])


def test_a_run_that_was_killed_says_where_it_stands(copied, load):
    metrics = copied / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(b"".join(lines[:6]) + lines[6][:50])
    for step in range(6, 13):
        (copied / "rollouts" / f"{step}.jsonl").unlink()
    run = load(copied)
    assert run.facts.values["Steps"] == "5 of 12"
    assert any("stands at step 5 of 12" in note for note in run.notes)
    assert any("unfinished" in note for note in run.notes)


class Averages:
    """What `tooln1.eval.summary` asks of a benchmark."""

    name = "bfcl"

    def groups(self, categories):
        return {"non_live": categories["non_live_simple"]["accuracy"], "mine": 0.5, "accuracy": 0.85}

    def impossible(self):
        return {}


def evaluated(category, correct, error=None):
    return {"category": category, "id": "a", "correct": correct, "error": error, "finish_reason": "stop"}


def test_evaluations_stand_beside_the_papers_figures(copied, load):
    rows = [evaluated("non_live_simple", True)] * 9 + [evaluated("non_live_simple", False, "wrong_tool")]
    part = summarise(Averages(), [*rows, evaluated("irrelevance", None)], {})
    summary = {"model": "m", "created": "2026", "benchmarks": {"bfcl": part}, "published": published()}
    path = copied / "eval" / "last" / "summary.json"
    write_text(path, json.dumps(summary))
    categories, comparison = load(copied).evaluations[0].tables
    assert categories.rows == [
        ["non_live_simple", "90.0 %", "59.6 % – 98.2 %", "9 / 10", "0"],
        ["irrelevance", "–", "–", "0 / 0", "1"],
        ["accuracy", "85.0 %", "", "", ""],
    ]
    assert categories.errors["wrong_tool"] == 1
    assert comparison.head == ["model", "non_live", "accuracy"]
    assert comparison.rows[:2] == [["this run", "90.0 %", "85.0 %"], ["Tool-N1-7B", "89.2 %", "84.8 %"]]


@pytest.mark.parametrize("text", ["", "[]", '{"benchmarks": 3}', '{"benchmarks": {"bfcl": 3}}'])
def test_an_evaluation_of_another_shape_becomes_a_note(text, copied, load):
    path = copied / "eval" / "last" / "summary.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert any("eval/last/summary.json: cannot be read" in note for note in load(copied).notes)


def test_the_text_holds_the_same_figures(run_folder, load):
    run = load(run_folder)
    text = format_text([run])
    for value in (run.facts.values["Final validation accuracy"], "12 of 12", "wrong arguments", "toolcall/xlam"):
        assert value in text
    assert all(len(line) <= 320 for line in text.splitlines())


def test_a_sparkline_is_as_wide_as_a_line():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert len(sparkline([0.5] * 1000)) <= 60
