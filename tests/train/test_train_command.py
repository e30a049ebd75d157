"""`tooln1 train`, up to the point where verl would start: the dry run, and what bad input gets.

Runs of verl itself: test_long_runs.py.
"""

import json
import os

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from tooln1.cli import main
from tooln1.settings import Settings
from tooln1.train import launch, record

SWITCHES = ("MODEL_PATH", "TRAIN_FILE", "VAL_FILE", "RUN_DIR", "ENGINE", "PAPER", "PLATFORM", "LOGGERS", "DRY_RUN")


@pytest.fixture
def switches(tmp_path, monkeypatch, tiny_model, tiny_data):
    """Sets the switches of a run on the tiny model, and others as asked."""
    for name in SWITCHES:
        monkeypatch.delenv(name, raising=False)

    def set_them(**others):
        files = {"TRAIN_FILE": tiny_data / "train.parquet", "VAL_FILE": tiny_data / "test.parquet"}
        for name, value in {"MODEL_PATH": tiny_model, **files, "RUN_DIR": tmp_path / "run", **others}.items():
            monkeypatch.setenv(name, str(value))

    return set_them


def run(*arguments):
    """The exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main(["train", *arguments])
    return stop.value.code


def test_a_dry_run_prints_the_resolved_configuration_and_nothing_else(switches, tmp_path, capsys):
    switches(DRY_RUN="1")
    main(["train", "tool_n1_grpo_cpu", "trainer.total_training_steps=3"])
    printed = OmegaConf.create(capsys.readouterr().out)
    assert printed.trainer.total_training_steps == 3
    assert printed.actor_rollout_ref.actor.ppo_mini_batch_size == printed.data.train_batch_size
    assert "${" not in OmegaConf.to_yaml(printed)
    assert not (tmp_path / "run").exists()


def no_model(tmp_path):
    return {"MODEL_PATH": ""}


def empty_model(tmp_path):
    (tmp_path / "model").mkdir()
    return {"MODEL_PATH": tmp_path / "model"}


def no_file(tmp_path):
    return {"TRAIN_FILE": tmp_path / "none.parquet"}


def nothing(tmp_path):
    return {}


@pytest.mark.parametrize(
    "change, config, overrides, expected",
    [
        (no_model, "tool_n1_grpo_cpu", [], "actor_rollout_ref.model.path: missing; set MODEL_PATH"),
        (empty_model, "tool_n1_grpo_cpu", [], "no config.json"),
        (no_file, "tool_n1_grpo_cpu", [], "none.parquet: no such file"),
        (no_file, "tool_n1_sft_cpu", [], "none.parquet: no such file"),
        (nothing, "tool_n1_grpo_cpu", ["data.train_batch_size=301"], "300 rows, fewer than the 301 of one batch"),
        (nothing, "tool_n1_grpo_cpu", ["trainer.no_such_key=1"], "no_such_key"),
        (nothing, "tool_n1_grpo_cpy", [], "did you mean tool_n1_grpo_cpu?"),
        (
            nothing,
            "tool_n1_grpo_cpu",
            ["trainer.resume_mode=resume_path", "trainer.resume_from_path=/none/global_step_3"],
            "trainer.resume_from_path=/none/global_step_3: no such folder",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(change, config, overrides, expected, switches, tmp_path, capsys):
    switches(**change(tmp_path))
    assert run(config, *overrides) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    # The folder is bound to no run: the corrected command may use it.
    assert not (tmp_path / "run" / "run.json").exists() and not (tmp_path / "run" / "logs").exists()


@pytest.fixture
def settings(tmp_path, tiny_model, tiny_data):
    files = {"TRAIN_FILE": str(tiny_data / "train.parquet"), "VAL_FILE": str(tiny_data / "test.parquet")}
    environ = {"MODEL_PATH": str(tiny_model), "RUN_DIR": str(tmp_path), **files}

    def make(*overrides, **switches):
        return Settings("tool_n1_grpo_cpu", overrides, {**environ, **switches})

    return make


def test_another_run_in_the_folder_is_refused(settings, tmp_path):
    record.begin(tmp_path, {"config": "tool_n1_grpo", "model_path": "other", "train_files": []}, {})
    with pytest.raises(launch.UserError, match="holds a run with config tool_n1_grpo, asked for is tool_n1_grpo_cpu"):
        launch.train(settings())


def test_a_finished_run_is_not_started_again_unless_more_is_asked_for(settings, tmp_path, save, capsys):
    save(tmp_path / "checkpoints", 4, ranks=1)
    ours = settings("trainer.total_training_steps=4")
    record.begin(tmp_path, launch._made_of(ours), {"total_training_steps": 4, "total_epochs": 100})
    record.end(tmp_path, "finished")
    assert launch.train(ours) == 0
    assert "finished already, at step 4" in capsys.readouterr().out
    assert launch._is_finished(ours, 4) and not launch._is_finished(settings("trainer.total_training_steps=8"), 4)
    record.end(tmp_path, "preempted")
    assert not launch._is_finished(ours, 4)


def test_a_checkpoint_of_other_ranks_is_refused(settings, tmp_path, save):
    save(tmp_path / "checkpoints", 4, ranks=2)
    with pytest.raises(launch.UserError, match="saved by 2 ranks, this run has 1"):
        launch.train(settings())


def test_a_fresh_start_is_not_mixed_with_an_earlier_run(settings, tmp_path, save):
    save(tmp_path / "checkpoints", 4, ranks=1)
    with pytest.raises(launch.UserError, match="choose another RUN_DIR"):
        launch.train(settings("trainer.resume_mode=disable"))


@pytest.mark.parametrize(
    "step, validated, overrides, expected",
    [
        (0, [], [], True),
        (0, [0], [], False),
        (32, [0], [], True),  # saved, and stopped before it was validated
        (32, [0, 32], [], False),
        (16, [0], [], False),  # not to be validated
        (50, [0], ["trainer.total_training_steps=50"], True),  # the last step always is
        (50, [0], ["trainer.total_training_steps=50", "trainer.test_freq=-1"], False),
    ],
)
def test_a_validation_that_is_owed_comes_first(step, validated, overrides, expected, settings, tmp_path):
    (tmp_path / "validation").mkdir()
    for done in validated:
        (tmp_path / "validation" / f"{done}.jsonl").write_text(json.dumps({"acc": 1.0}) + "\n")
    assert launch._owes_validation(settings(*overrides), step) is expected


def test_the_length_of_a_run_follows_from_rows_and_epochs(settings, tiny_data):
    rows = pq.read_metadata(tiny_data / "train.parquet").num_rows
    ours = settings("trainer.total_training_steps=null", "trainer.total_epochs=3", "data.train_batch_size=7")
    assert launch._total_steps(ours) == rows // 7 * 3


def test_attempts_are_one_run_for_wandb(tmp_path):
    first = launch._wandb_id(tmp_path)
    assert first and launch._wandb_id(tmp_path) == first
    assert os.listdir(tmp_path) == ["wandb_run_id"]
