"""`tooln1 train`, up to the point where verl would start: the dry run, and what bad input gets.

Runs of verl itself: test_long_runs_engine.py.
"""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from tooln1.checks import UpcomingRun
from tooln1.cli import main
from tooln1.errors import ProcessError, UserError
from tooln1.settings import Settings
from tooln1.train import launch
from tooln1.train.record import Record

pytestmark = pytest.mark.cpu_engine  # the recipe of most tests


@pytest.fixture
def arguments(tmp_path, tiny_model, tiny_data):
    """The arguments of a run on the tiny model, with others as asked."""
    inputs = {"run_dir": tmp_path / "run", "model": tiny_model, "train_file": tiny_data / "train.parquet"}

    def make(**others):
        chosen = {**inputs, **others}
        return [text for name, value in chosen.items() if value for text in (f"--{name.replace('_', '-')}", str(value))]

    return make


def test_a_dry_run_prints_the_resolved_configuration_and_nothing_else(arguments, tmp_path, capsys):
    main(["train", "tool_n1_grpo_cpu", *arguments(), "--dry-run", "trainer.total_training_steps=3"])
    printed = OmegaConf.create(capsys.readouterr().out)
    assert printed.trainer.total_training_steps == 3
    assert printed.actor_rollout_ref.actor.ppo_mini_batch_size == printed.data.train_batch_size
    assert "${" not in OmegaConf.to_yaml(printed)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes, config, overrides, expected",
    [
        ({"model": None}, "tool_n1_grpo_cpu", [], "actor_rollout_ref.model.path: missing; set --model"),
        ({"model": "empty"}, "tool_n1_grpo_cpu", [], "no config.json"),
        (
            {"train_file": "none.parquet", "val_file": "none.parquet"},
            "tool_n1_grpo_cpu",
            [],
            "none.parquet: no such file",
        ),
        ({"train_file": "none.parquet"}, "tool_n1_sft_cpu", [], "none.parquet: no such file"),
        ({}, "tool_n1_grpo_cpu", ["data.train_batch_size=301"], "300"),
        ({}, "tool_n1_grpo_cpu", ["trainer.no_such_key=1"], "no_such_key"),
        ({}, "tool_n1_grpo_cpy", [], "did you mean tool_n1_grpo_cpu?"),
        (
            {},
            "tool_n1_grpo_cpu",
            ["trainer.resume_mode=resume_path", "trainer.resume_from_path=/none/global_step_3"],
            "trainer.resume_from_path=/none/global_step_3: no such folder",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    changes, config, overrides, expected, arguments, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(["train", config, *arguments(**changes), *overrides])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    # The folder is bound to no run: the corrected command may use it.
    assert not (tmp_path / "run" / "run.json").exists() and not (tmp_path / "run" / "logs").exists()


@pytest.fixture
def settings(tmp_path, tiny_model, tiny_data):
    def make(*overrides):
        return Settings("tool_n1_grpo_cpu", overrides, tmp_path, str(tiny_model), str(tiny_data / "train.parquet"))

    return make


@pytest.fixture
def finished(settings, tmp_path, save):
    """A folder whose run has reached step 4 of 4, in its settings."""
    ours, record = settings("trainer.total_training_steps=4"), Record(settings().folder)
    save(tmp_path / "checkpoints", 4, ranks=1)
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "4.jsonl").write_text("{}\n")
    record.begin(ours, [], 0)
    record.end("finished")
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(ours.composed, resolve=True))
    return ours


def test_a_finished_run_is_not_started_again_unless_more_is_asked_for(finished, settings, capsys):
    assert launch.train(finished) == 0
    assert "finished already, at step 4" in capsys.readouterr().out
    longer, record = settings("trainer.total_training_steps=8"), Record(finished.folder)
    assert launch._is_finished(finished, record, 4) and not launch._is_finished(longer, record, 4)


def test_a_finished_run_of_other_settings_is_refused(finished, settings, capsys):
    paper = settings("trainer.total_training_steps=4", "preset=paper")
    with pytest.raises(UserError, match="reward.custom_reward_function.path .*toolcall -> .*toolcall_paper"):
        launch.train(paper)
    with pytest.raises(UserError, match="complete at step 4, no step left for the changed settings"):
        launch.train(dataclasses.replace(paper, accept_changes=True))
    assert "finished already" not in capsys.readouterr().out


def test_an_accepted_change_is_noted_before_config_yaml_changes(finished, settings, tmp_path, monkeypatch):
    def run(*_):
        (tmp_path / "config.yaml.seen").write_text(json.dumps(Record(finished.folder).read()["changes"]))

    monkeypatch.setattr(launch, "_run", run)
    ours = settings("trainer.total_training_steps=8", "data.train_batch_size=8")
    assert launch.train(dataclasses.replace(ours, accept_changes=True)) == 0
    changes = json.loads((tmp_path / "config.yaml.seen").read_text())
    assert {"step": 4, "key": "data.train_batch_size", "old": 16, "new": 8} in changes
    # From now on the run is this one.
    launch.check(UpcomingRun(ours))
    with pytest.raises(UserError, match="data.train_batch_size 8 -> 16"):
        launch.check(UpcomingRun(finished))


def test_a_template_that_opens_the_reasoning_is_told_to_the_reward_and_changes_no_run(
    settings, tmp_path, monkeypatch, tiny_model
):
    model = shutil.copytree(tiny_model, tmp_path / "model")
    template = model / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\\n'", "assistant\\n<think>\\n'"))
    monkeypatch.setattr(launch, "_run", lambda *_: (tmp_path / "metrics.jsonl").write_text("{}\n"))
    ours = settings(f"actor_rollout_ref.model.path={model}")
    assert launch.train(ours) == 0
    command = Record(ours.folder).read()["verl_command"]
    key = "reward.custom_reward_function.reward_kwargs.prompt_opens_think"
    assert f"++{key}=true" in command
    assert OmegaConf.select(OmegaConf.load(ours.folder.config), key) is True
    launch.check(UpcomingRun(ours))


@pytest.mark.parametrize(
    "log, free, expected",
    [
        ("UserError: 0.00 GB free on this disk", 10, UserError),
        ("RuntimeError: PytorchStreamWriter failed writing file data/3: file write failed", 10, UserError),
        ("OSError: [Errno 28] No space left on device", 10, UserError),
        ("OSError: [Errno 28] No space left on device", 10**12, ProcessError),  # on another disk
        ("KeyError: 'x'", 10, ProcessError),
    ],
)
def test_a_run_that_a_full_disk_ended_says_so_on_one_line(log, free, expected, settings, tmp_path, save, monkeypatch):
    def fail(*_):
        save(tmp_path / "checkpoints", 4, ranks=1)
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free, total=free, used=0))
        raise ProcessError(f"verl ended with exit code 1:\n  {log}")

    monkeypatch.setattr(launch, "_run", fail)
    with pytest.raises(expected) as error:
        launch.train(settings())
    if expected is UserError:
        assert "make room, and the same command resumes from step 4" in str(error.value)


def test_a_run_that_only_validates_names_no_checkpoint(settings, monkeypatch, capsys):
    monkeypatch.setattr(launch, "_run", lambda *_: None)
    assert launch.train(settings("trainer.val_only=true")) == 0
    printed = capsys.readouterr().out
    assert "no checkpoint was written" in printed and "None" not in printed and "tooln1 export" not in printed


def test_a_checkpoint_of_other_ranks_is_refused(settings, tmp_path, save):
    save(tmp_path / "checkpoints", 4, ranks=2)
    with pytest.raises(UserError, match="saved by 2 ranks, this run has 1"):
        launch.train(settings())


def test_a_fresh_start_is_not_mixed_with_an_earlier_run(settings, tmp_path, save):
    save(tmp_path / "checkpoints", 4, ranks=1)
    with pytest.raises(UserError, match="choose another run folder"):
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


def test_attempts_are_one_run_for_wandb(settings, tmp_path):
    first = launch._wandb_id(settings().folder)
    assert first and launch._wandb_id(settings().folder) == first
