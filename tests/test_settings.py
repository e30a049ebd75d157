"""What the arguments of a run become: the folder's places, the inputs, the loggers."""

import pytest
from omegaconf import OmegaConf

from tooln1.config import compose
from tooln1.errors import UserError
from tooln1.settings import Settings

INPUTS = {"model": "Qwen/Qwen2.5-7B-Instruct", "train_file": "train.parquet", "val_file": "test.parquet"}


def settings(config="tool_n1_grpo", *overrides, run_dir="/runs/mine", **inputs):
    return Settings(config, overrides, run_dir, **{**INPUTS, **inputs})


@pytest.mark.parametrize(
    "config, run_dir, overrides, expected",
    [
        (
            "tool_n1_grpo",
            "/runs/mine",
            ["trainer.logger=[console,tensorboard]"],
            {
                "actor_rollout_ref.model.path": "Qwen/Qwen2.5-7B-Instruct",
                "data.train_files": "train.parquet",
                "data.val_files": "test.parquet",
                "trainer.default_local_dir": "/runs/mine/checkpoints",
                "trainer.validation_data_dir": "/runs/mine/validation",
                "trainer.rollout_data_dir": "/runs/mine/rollouts",
                "trainer.v1.trainer_mode": "long_run",
                "trainer.logger": ["console", "tensorboard", "file"],
            },
        ),
        (
            "tool_n1_sft",
            "/runs/mine",
            ["sft_platform=cpu", "trainer.logger=file"],
            {
                "model.path": "Qwen/Qwen2.5-7B-Instruct",
                "trainer.default_local_dir": "/runs/mine/checkpoints",
                "trainer.device": "cpu",
                "trainer.logger": ["file"],
            },
        ),
        # The user's setting wins over an argument.
        (
            "tool_n1_grpo",
            "/it's a ${run}",
            ["data.train_files=other.parquet", "trainer.v1.trainer_mode=sync"],
            {
                "data.train_files": "other.parquet",
                "trainer.v1.trainer_mode": "sync",
                "trainer.default_local_dir": "/it's a ${run}/checkpoints",
            },
        ),
    ],
)
def test_arguments_become_settings(config, run_dir, overrides, expected):
    composed = settings(config, *overrides, run_dir=run_dir).composed
    found = {key: OmegaConf.select(composed, key) for key in expected}
    assert {key: list(value) if OmegaConf.is_list(value) else value for key, value in found.items()} == expected


def test_verl_composes_the_same_configuration_wherever_it_runs(tmp_path, monkeypatch):
    """verl's process composes again, from the same overrides; paths do not depend on its working directory."""
    names = {"it's.parquet", "more.parquet", "reward.py", "model"}
    for name in names:
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    relative = ['data.train_files=["it\'s.parquet",more.parquet]', "reward.custom_reward_function.path=reward.py"]
    ours = settings("tool_n1_grpo", "preset=paper", "trainer.logger=console", *relative, model="model")
    composed, overrides = ours.composed, ours.all_overrides
    monkeypatch.chdir("/")
    assert compose("tool_n1_grpo", overrides) == composed
    named = [*composed.data.train_files, composed.reward.custom_reward_function.path]
    assert {*named, composed.actor_rollout_ref.model.path} == {str(tmp_path / name) for name in names}


@pytest.mark.parametrize(
    "override, key, expected",
    [
        ("trainer.default_local_dir=elsewhere", "trainer.default_local_dir", "{folder}/elsewhere"),  # made by the run
        ("data.custom_cls.path='~/mine.py'", "data.custom_cls.path", "{folder}/mine.py"),
        ("data.train_files=link.parquet", "data.train_files", "{folder}/link.parquet"),  # verl reads the name's ending
        ("data.custom_cls.path=pkg://mine", "data.custom_cls.path", "pkg://mine"),
        ("model.path=Qwen/Qwen3-8B", "model.path", "Qwen/Qwen3-8B"),
        ("trainer.experiment_name=mine.py", "trainer.experiment_name", "mine.py"),  # no path, whatever lies here
    ],
)
def test_paths_and_only_paths_become_absolute(override, key, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.py").touch()
    (tmp_path / "link.parquet").symlink_to("mine.py")
    assert OmegaConf.select(settings("tool_n1_sft", override).composed, key) == expected.format(folder=tmp_path)


@pytest.mark.parametrize(
    "overrides, named",
    [
        (["trainer.logger=[console,wandbb]"], "logger wandbb: unknown"),
        (["trainer.logger=mlflow"], "package mlflow is missing; pip install mlflow"),
        (["trainer.sav_freq=1"], "did you mean trainer.save_freq?"),
    ],
)
def test_a_mistake_is_one_line(overrides, named):
    with pytest.raises(UserError) as error:
        settings("tool_n1_sft", *overrides).composed  # noqa: B018
    assert named in str(error.value) and "\n" not in str(error.value)


def test_the_validation_file_lies_beside_the_training_file(tmp_path):
    (tmp_path / "test.parquet").touch()
    ours = settings("tool_n1_sft", train_file=str(tmp_path / "train.parquet"), val_file=None)
    assert ours.composed.data.val_files == str(tmp_path / "test.parquet")


def test_on_a_cpu_the_engine_knows_the_longest_sequence():
    ours = settings("tool_n1_grpo_cpu", "data.max_prompt_length=1000", "data.max_response_length=200")
    assert ours.composed.actor_rollout_ref.rollout.max_model_len == 1200
    with pytest.raises(UserError, match="data.max_prompt_length=many: expected a whole number"):
        settings("tool_n1_grpo_cpu", "data.max_prompt_length=many").composed  # noqa: B018
