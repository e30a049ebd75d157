"""Exporting: which checkpoint is taken, what is refused, and what a failure leaves behind."""

import os
import shutil
from contextlib import nullcontext

import pytest
from oracle import Oracle

from tooln1.cli import main
from tooln1.errors import ProcessError, UserError
from tooln1.eval import run as eval_module
from tooln1.eval.rows import Rows
from tooln1.export import export as export_module
from tooln1.export.export import export, export_best, find_checkpoint
from tooln1.files import write_json
from tooln1.report.evaluation import read_evaluations
from tooln1.run_folder import find_run

FILE = "chat_template.jinja"


@pytest.mark.parametrize(
    "step, expected",
    [("best", "best/global_step_2"), ("last", "global_step_4"), ("2", "global_step_2"), ("4", "global_step_4")],
)
def test_a_step_is_found_by_number_best_or_last(step, expected, run_dir):
    assert find_checkpoint(run_dir / "checkpoints", step) == run_dir / "checkpoints" / expected


def test_a_best_step_that_was_rotated_away_is_found_beside_the_rotation(run_dir):
    shutil.rmtree(run_dir / "checkpoints" / "global_step_2")
    assert find_checkpoint(run_dir / "checkpoints", "2") == run_dir / "checkpoints" / "best" / "global_step_2"


def test_without_a_best_step_the_last_is_taken(run_dir):
    (run_dir / "checkpoints" / "best.json").unlink()
    assert find_checkpoint(run_dir / "checkpoints", "best").name == "global_step_4"


@pytest.mark.parametrize(
    "folder, options, expected",
    [
        ("run", ["--step", "3"], "no checkpoint 3; the steps with one are: 2, 4"),
        ("run", ["--step", "worst"], "expected a number, best or last"),
        ("run", ["--step", "last"], "global_step_4: not usable (no shard of a model in it); take another with --step"),
        ("none", [], "none: no checkpoints/ in it"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(folder, options, expected, run_dir, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["export", str(run_dir.parent / folder), *options, "--output", str(tmp_path / "models" / "mine")])
    assert stop.value.code == 2 and not (tmp_path / "models").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


@pytest.mark.parametrize("error, code", [(UserError("no"), 2), (ProcessError("no"), 1), (KeyboardInterrupt(), 130)])
def test_a_failure_on_the_way_is_one_line_and_leaves_nothing(error, code, run_dir, tmp_path, monkeypatch, capsys):
    def fail(_checkpoint, target, _log):
        target.mkdir()
        (target / "half").touch()
        raise error

    monkeypatch.setattr(export_module, "find_fault", lambda _checkpoint: None)
    monkeypatch.setattr(export_module, "merge", fail)
    with pytest.raises(SystemExit) as stop:
        main(["export", str(run_dir), "--output", str(tmp_path / "models" / "mine")])
    assert stop.value.code == code and len(capsys.readouterr().err.splitlines()) == 1
    assert os.listdir(tmp_path / "models") == []


@pytest.fixture
def exported(monkeypatch):
    """The exported models, whose weights are left out."""
    models = []
    monkeypatch.setattr(export_module, "find_fault", lambda _checkpoint: None)
    monkeypatch.setattr(export_module, "merge", lambda _checkpoint, target, _log: (models.append(1), target.mkdir()))
    monkeypatch.setattr(export_module, "check_model_folder", lambda _folder: None)
    monkeypatch.setattr(export_module, "write_prompt", lambda model, _files: (model / FILE).write_text("own"))
    return models


def test_a_run_is_evaluated_into_its_folder_and_its_report_and_card_tell_it(run_dir, exported, tiny_data, monkeypatch):
    pytest.importorskip("openai", reason="needs OpenAI's client")
    rows = Rows(tiny_data / "test.parquet")
    with Oracle() as oracle:
        oracle.know(rows)
        monkeypatch.setattr(eval_module, "served", lambda *_: nullcontext(oracle.url))
        options = ["--bench", "rows", "--data", str(tiny_data / "test.parquet"), "--limit", "1"]
        main(["eval", str(run_dir), *options])
        asked = oracle.asked.total()
        main(["eval", str(run_dir), *options])
        assert asked and oracle.asked.total() == asked and exported == [1]
        for text in (run_dir / "eval" / "step_2" / "summary.md", run_dir / "eval" / "step_2" / "merged" / "README.md"):
            assert "toolcall/synthetic: integer" in text.read_text()
        assert [one.name for one in read_evaluations(find_run(run_dir))] == ["step_2"]
        # The same step, trained again, is another model.
        (run_dir / "eval" / "step_2" / "merged" / "exported_from.txt").write_text("another")
        os.utime(run_dir / "checkpoints" / "best" / "global_step_2", (1, 1))
        with pytest.raises(SystemExit):
            main(["eval", str(run_dir), *options])


def test_exporting_the_same_checkpoint_again_writes_only_the_card(run_dir, exported, tmp_path):
    output = tmp_path / "mine"
    export(run_dir, "best", output)
    summary = {"model": "m", "created": "2026", "benchmarks": {}, "published": []}
    write_json(run_dir / "eval" / "step_2" / "summary.json", summary)
    assert "Not evaluated on a benchmark" in (output / "README.md").read_text()
    export(run_dir, "best", output)
    assert exported == [1] and "Not evaluated on a benchmark" not in (output / "README.md").read_text()
    os.utime(run_dir / "checkpoints" / "best" / "global_step_2", (1, 1))  # the step was trained again
    with pytest.raises(UserError, match="mine: exists already"):
        export(run_dir, "best", output)
    assert export_best(run_dir) == (run_dir / "eval" / "step_2" / "merged", run_dir / "eval" / "step_2")


def test_an_output_that_exists_is_refused(run_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "find_fault", lambda _checkpoint: None)
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match="mine: exists already"):
        export(run_dir, "best", tmp_path / "mine")
