"""The command and the environment that start verl."""

import pytest

from tooln1.config import compose
from tooln1.errors import UserError
from tooln1.settings import Settings, wandb_mode
from tooln1.train.verl_command import train_command, train_environment, trainer_environment


def settings(config="tool_n1_grpo", *overrides, run_dir="/runs/mine"):
    return Settings(config, overrides, run_dir, "Qwen/Qwen2.5-7B-Instruct", "train.parquet", "test.parquet")


def composed(command):
    """What verl composes from a command."""
    return compose("tool_n1_grpo", command[command.index("tool_n1_grpo") + 2 :])  # after the search path


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


def test_every_node_gets_the_plugin_and_the_places_of_the_loggers(tmp_path, monkeypatch):
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
    config = composed(command)
    assert config.ray_kwargs.ray_init.runtime_env.env_vars == variables
    assert config.trainer.val_before_train is False
    assert variables.items() <= train_environment(ours, variables).items()


def test_verls_other_trainers_need_no_plugin(tmp_path):
    sync = settings("tool_n1_grpo", "trainer.v1.trainer_mode=sync")
    assert set(trainer_environment(sync, tmp_path / "metrics.jsonl", "abc")) == {"VERL_FILE_LOGGER_PATH"}


def test_a_finished_run_that_owes_a_validation_only_validates():
    command = train_command(settings("tool_n1_grpo", "trainer.val_before_train=False"), {}, True, only_validate=True)
    trainer = composed(command).trainer
    assert (trainer.val_before_train, trainer.val_only) == (True, True)


def test_the_cpu_platform_gets_its_environment(tmp_path):
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
