"""What a command line asks for, and what it becomes for verl."""

import pytest
from omegaconf import OmegaConf

from tooln1.config import compose
from tooln1.errors import UserError
from tooln1.settings import Settings
from tooln1.train.verl_command import train_command, train_environment, trainer_environment, wandb_mode

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
        # The user's own setting wins over a path.
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


def test_verl_composes_the_same_configuration():
    """verl's process composes again, from the same overrides."""
    ours = settings("tool_n1_grpo", "trainer.save_freq=3", "preset=paper", "trainer.logger=console")
    assert compose("tool_n1_grpo", ours.all_overrides) == ours.composed


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
        settings("tool_n1_grpo", *overrides).composed  # noqa: B018
    assert named in str(error.value) and "\n" not in str(error.value)


def test_a_relative_folder_is_valid_from_verls_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert settings(model="model").composed.actor_rollout_ref.model.path == str(tmp_path / "model")


def test_the_validation_file_lies_beside_the_training_file(tmp_path):
    (tmp_path / "test.parquet").touch()
    ours = settings(train_file=str(tmp_path / "train.parquet"), val_file=None)
    assert ours.composed.data.val_files == str(tmp_path / "test.parquet")


def test_on_a_cpu_the_engine_knows_the_longest_sequence():
    ours = settings("tool_n1_grpo_cpu", "data.max_prompt_length=1000", "data.max_response_length=200")
    assert ours.composed.actor_rollout_ref.rollout.max_model_len == 1200
    with pytest.raises(UserError, match="data.max_prompt_length=many: expected a whole number"):
        settings("tool_n1_grpo_cpu", "data.max_prompt_length=many").composed  # noqa: B018


@pytest.mark.parametrize(
    "environ, expected",
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "x"}, "online"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "x"}, "disabled"),
        ({"netrc": "machine api.wandb.ai login user password x"}, "online"),
        ({"netrc": "machine example.org login user password x"}, "offline"),
        ({"netrc": "machine"}, "offline"),  # a broken file is no account
        ({"netrc": "machine w.example.org login u password x", "WANDB_BASE_URL": "https://w.example.org"}, "online"),
    ],
)
def test_wandb_is_offline_unless_an_account_is_set(environ, expected, tmp_path):
    path = tmp_path / "netrc"
    path.write_text(environ.pop("netrc", ""))
    path.chmod(0o600)
    assert wandb_mode({"NETRC": str(path), **environ}) == expected


def test_the_trainer_finds_its_plugin_and_loggers_their_places_on_every_node(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("VERL_USE_EXTERNAL_MODULES", "mine")
    ours = settings("tool_n1_grpo", "trainer.logger=[tensorboard,wandb]")
    variables = trainer_environment(ours, tmp_path / "metrics.jsonl", "abc")
    assert variables == {
        "VERL_FILE_LOGGER_PATH": str(tmp_path / "metrics.jsonl"),
        "TENSORBOARD_DIR": "/runs/mine/tensorboard",
        "WANDB_MODE": "offline",
        "WANDB_DIR": "/runs/mine",
        "WANDB_RUN_ID": "abc",
        "WANDB_RESUME": "allow",
        "VERL_USE_EXTERNAL_MODULES": "mine,tooln1.train.plugin",
    }
    command = train_command(ours, variables, validate_first=False)
    composed = compose("tool_n1_grpo", command[command.index("tool_n1_grpo") + 2 :])  # what follows the search path
    assert composed.ray_kwargs.ray_init.runtime_env.env_vars == variables
    assert composed.trainer.val_before_train is False
    assert variables.items() <= train_environment(ours, variables).items()


def test_another_trainer_of_verls_needs_no_plugin(tmp_path):
    sync = settings("tool_n1_grpo", "trainer.v1.trainer_mode=sync")
    assert set(trainer_environment(sync, tmp_path / "metrics.jsonl", "abc")) == {"VERL_FILE_LOGGER_PATH"}


def test_an_owed_validation_is_all_that_a_run_at_its_end_does():
    command = train_command(settings("tool_n1_grpo", "trainer.val_before_train=False"), {}, True, only_validate=True)
    trainer = compose("tool_n1_grpo", command[command.index("tool_n1_grpo") + 2 :]).trainer
    assert (trainer.val_before_train, trainer.val_only) == (True, True)


def test_the_platform_without_an_accelerator_gets_its_environment(tmp_path):
    on_cpu = settings("tool_n1_grpo", "platform=cpu", run_dir=tmp_path)
    assert train_environment(on_cpu, {})["VERL_PLATFORM"] == "cpu"
    assert "VERL_PLATFORM" not in train_environment(settings(), {})


@pytest.mark.parametrize(
    "overrides, expected",
    [
        ([], ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=8", "-m"]),
        (["sft_platform=cpu"], ["-m", "verl.trainer.sft_trainer"]),
    ],
)
def test_sft_starts_as_many_ranks_as_there_are_gpus(overrides, expected):
    command = train_command(settings("tool_n1_sft", *overrides), {}, True)
    assert command[1 : 1 + len(expected)] == expected
    assert "verl.trainer.sft_trainer" in command


def test_sft_on_several_nodes_is_refused():
    with pytest.raises(UserError, match="trainer.nnodes: SFT runs on one node"):
        train_command(settings("tool_n1_sft", "trainer.nnodes=2"), {}, True)
