"""The switches in the environment and what they become for verl."""

import pytest
from omegaconf import OmegaConf

from tooln1.errors import UserError
from tooln1.train.settings import Settings, wandb_mode
from tooln1.train.verl_command import train_command, train_environment, trainer_environment

FILES = {"MODEL_PATH": "Qwen/Qwen2.5-7B-Instruct", "TRAIN_FILE": "train.parquet", "VAL_FILE": "test.parquet"}


def settings(config="tool_n1_grpo", *overrides, **environ):
    return Settings(config, overrides, {**FILES, "RUN_DIR": "/runs/mine", **environ})


@pytest.mark.parametrize(
    "config, environ, overrides, expected",
    [
        (
            "tool_n1_grpo",
            {"LOGGERS": "console, tensorboard"},
            [],
            {
                "actor_rollout_ref.model.path": "Qwen/Qwen2.5-7B-Instruct",
                "data.train_files": "train.parquet",
                "data.val_files": "test.parquet",
                "trainer.default_local_dir": "/runs/mine/checkpoints",
                "trainer.validation_data_dir": "/runs/mine/validation",
                "trainer.rollout_data_dir": "/runs/mine/rollouts",
                "trainer.v1.trainer_mode": "long_run",
                "actor_rollout_ref.rollout.name": "vllm",
                "trainer.device": "cuda",
                "trainer.logger": ["console", "tensorboard", "file"],
            },
        ),
        (
            "tool_n1_sft",
            {"PLATFORM": "cpu", "LOGGERS": "file"},
            [],
            {
                "model.path": "Qwen/Qwen2.5-7B-Instruct",
                "trainer.default_local_dir": "/runs/mine/checkpoints",
                "trainer.device": "cpu",
                "trainer.logger": ["file"],
            },
        ),
        # The user's own word counts more than a path in the environment, and a choice of a group less than its switch.
        (
            "tool_n1_grpo",
            {"PLATFORM": "cpu", "RUN_DIR": "/it's a ${run}"},
            [
                "data.train_files=other.parquet",
                "trainer.v1.trainer_mode=sync",
                "platform=4x8x80gb",
                "trainer.logger=console",
            ],
            {
                "data.train_files": "other.parquet",
                "trainer.v1.trainer_mode": "sync",
                "trainer.device": "cpu",
                "trainer.logger": ["console", "file"],
                "trainer.default_local_dir": "/it's a ${run}/checkpoints",
            },
        ),
        ("tool_n1_grpo", {"ENGINE": "sglang"}, [], {"actor_rollout_ref.rollout.name": "sglang"}),
    ],
)
def test_switches_become_settings(config, environ, overrides, expected):
    composed = settings(config, *overrides, **environ).composed
    found = {key: OmegaConf.select(composed, key) for key in expected}
    assert {key: list(value) if OmegaConf.is_list(value) else value for key, value in found.items()} == expected


def test_what_the_command_line_says_is_what_was_composed():
    """verl's process composes anew, from the same overrides."""
    from tooln1.config import compose

    ours = settings("tool_n1_grpo", "trainer.save_freq=3", PAPER="1", LOGGERS="console")
    assert compose("tool_n1_grpo", ours.all_overrides) == ours.composed


def test_how_thoroughly_a_checkpoint_is_checked_is_one_word():
    assert settings(VERIFY="full").verifies_fully and not settings().verifies_fully
    with pytest.raises(UserError, match="VERIFY=all: expected full"):
        settings(VERIFY="all").verifies_fully  # noqa: B018


@pytest.mark.parametrize(
    "environ, overrides, named",
    [
        ({"LOGGERS": "console,wandbb"}, [], "logger wandbb: unknown"),
        ({"LOGGERS": "mlflow"}, [], "package mlflow is missing; pip install mlflow"),
        ({"PAPER": "yes"}, [], "PAPER=yes: expected 1 or 0"),
        ({"ENGINE": "tgi"}, [], "rollout_engine/tgi"),
        ({}, ["trainer.sav_freq=1"], "did you mean trainer.save_freq?"),
    ],
)
def test_a_mistake_is_one_line(environ, overrides, named):
    with pytest.raises(UserError) as error:
        settings("tool_n1_grpo", *overrides, **environ).composed  # noqa: B018
    assert named in str(error.value) and "\n" not in str(error.value)


def test_a_folder_of_the_users_own_is_seen_from_verls_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    found = settings(MODEL_PATH="model").composed
    assert found.actor_rollout_ref.model.path == str(tmp_path / "model")


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


def test_the_trainer_finds_its_plugin_and_loggers_their_places_on_every_node(tmp_path):
    ours = settings(LOGGERS="tensorboard,wandb", WANDB_MODE="offline", VERL_USE_EXTERNAL_MODULES="mine")
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
    from tooln1.config import compose

    overrides = command[command.index("tool_n1_grpo") + 2 :]  # what follows the search path
    composed = compose("tool_n1_grpo", overrides)
    assert composed.ray_kwargs.ray_init.runtime_env.env_vars == variables
    assert composed.trainer.val_before_train is False
    assert variables.items() <= train_environment(ours, variables).items()


def test_another_trainer_of_verls_needs_no_plugin(tmp_path):
    sync = settings("tool_n1_grpo", "trainer.v1.trainer_mode=sync")
    assert set(trainer_environment(sync, tmp_path / "metrics.jsonl", "abc")) == {"VERL_FILE_LOGGER_PATH"}


def test_the_platform_without_an_accelerator_gets_its_environment(tmp_path):
    on_cpu = settings(PLATFORM="cpu", RUN_DIR=str(tmp_path))
    assert train_environment(on_cpu, {})["VERL_PLATFORM"] == "cpu"
    assert "VERL_PLATFORM" not in train_environment(settings(), {})


@pytest.mark.parametrize(
    "overrides, environ, expected",
    [
        ([], {}, ["-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=8", "-m"]),
        ([], {"PLATFORM": "cpu"}, ["-m", "verl.trainer.sft_trainer"]),
    ],
)
def test_sft_starts_as_many_ranks_as_there_are_gpus(overrides, environ, expected):
    command = train_command(settings("tool_n1_sft", *overrides, **environ), {}, True)
    assert command[1 : 1 + len(expected)] == expected
    assert "verl.trainer.sft_trainer" in command


def test_sft_on_several_nodes_is_refused():
    with pytest.raises(UserError, match="trainer.nnodes: SFT runs on one node"):
        train_command(settings("tool_n1_sft", "trainer.nnodes=2"), {}, True)
