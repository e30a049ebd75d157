"""The command and the environment that start verl's own entry points."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from tooln1.config import locate, quote, search_path
from tooln1.errors import UserError
from tooln1.processes import child_environment, temporary_folders
from tooln1.settings import Settings, wandb_mode

# verl's list of modules to import with itself; an entry point would be out of date in an older installation.
_MODULES, _PLUGIN = "VERL_USE_EXTERNAL_MODULES", "tooln1.train.plugin"

_PPO, _SFT = "verl.trainer.main_ppo", "verl.trainer.sft_trainer"


def train_command(
    settings: Settings, variables: Mapping[str, str], validate_first: bool, only_validate: bool = False
) -> list[str]:
    """Return the command of verl's PPO or SFT trainer; a trainer.val_before_train among the user's settings wins.

    Args:
        variables: those of `trainer_environment`. Ray starts the trainer on any node of a cluster, with that node's
            environment, so the configuration carries them as well.
        validate_first: whether PPO validates before it trains.
        only_validate: whether PPO validates and does not train, also against the user's settings.
    """
    folder, name = locate(settings.config)
    configuration = ["--config-path", str(folder), "--config-name", name, search_path()]
    if settings.is_sft:
        return [*_python_of_sft(settings), _SFT, *configuration, *settings.all_overrides]
    return [
        *(sys.executable, "-m", _PPO, *configuration),
        f"trainer.val_before_train={validate_first}",
        *(f"++ray_kwargs.ray_init.runtime_env.env_vars.{key}={quote(value)}" for key, value in variables.items()),
        *settings.all_overrides,
        *(["trainer.val_before_train=True", "trainer.val_only=True"] if only_validate else []),
    ]


def trainer_environment(settings: Settings, metrics: Path, wandb_id: str) -> dict[str, str]:
    """Return what the trainer reads: where its loggers write, and what verl imports besides itself.

    Args:
        metrics: the file of verl's file logger.
        wandb_id: makes all attempts one run on wandb.
    """
    variables = {"VERL_FILE_LOGGER_PATH": str(metrics)}
    if settings.is_long_run:
        others = os.environ.get(_MODULES)
        variables[_MODULES] = f"{others},{_PLUGIN}" if others else _PLUGIN
    if "tensorboard" in settings.composed.trainer.logger:
        variables["TENSORBOARD_DIR"] = str(settings.folder.path / "tensorboard")
    if "wandb" in settings.composed.trainer.logger:
        variables |= {
            "WANDB_MODE": wandb_mode(os.environ),
            "WANDB_DIR": str(settings.folder.path),
            "WANDB_RUN_ID": wandb_id,
            "WANDB_RESUME": "allow",
        }
    return variables


def train_environment(settings: Settings, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of verl's process: this process's, the trainer's and what the platform needs."""
    folder = settings.folder.path
    if settings.is_cpu:
        from tooln1.platforms.environment import cpu_environment

        return {**cpu_environment(folder), **variables, **(_one_rank() if settings.is_sft else {})}
    return {**os.environ, "PYTHONUNBUFFERED": "1", **temporary_folders(), **child_environment(folder), **variables}


def _one_rank() -> dict[str, str]:
    """Return what torchrun sets in a world of one: on the CPU, verl's SFT trainer runs without torchrun."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _python_of_sft(settings: Settings) -> list[str]:
    trainer = settings.composed.trainer
    if trainer.nnodes > 1:
        raise UserError(
            "trainer.nnodes: SFT runs on one node here; on several, start torchrun on each, as tool_n1_sft.yaml shows"
        )
    if settings.is_cpu:
        return [sys.executable, "-m"]
    ranks = ["--standalone", "--nnodes=1", f"--nproc_per_node={trainer.n_gpus_per_node}"]
    return [sys.executable, "-m", "torch.distributed.run", *ranks, "-m"]
