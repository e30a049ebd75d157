"""The command and the environment with which verl's own entry points are started."""

import os
import socket
import sys
from pathlib import Path

from tooln1.config import locate, quote, search_path
from tooln1.errors import UserError
from tooln1.processes import child_environment
from tooln1.train.settings import Settings, wandb_mode

# verl's list of modules to import with itself; an entry point would be out of date in an older installation.
_MODULES, _PLUGIN = "VERL_USE_EXTERNAL_MODULES", "tooln1.train.plugin"

_PPO, _SFT = "verl.trainer.main_ppo", "verl.trainer.sft_trainer"


def train_command(settings: Settings, variables: dict[str, str], validate_first: bool) -> list[str]:
    """Starts verl's PPO or SFT trainer; a trainer.val_before_train among the user's settings wins.

    Args:
        variables: those of `trainer_environment`. Ray starts the trainer on any node of a cluster, with that node's
            environment, so they are part of the configuration as well.
        validate_first: whether PPO validates before it trains.
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
    ]


def trainer_environment(settings: Settings, metrics: Path, wandb_id: str) -> dict[str, str]:
    """What the trainer reads: where its loggers write, and what verl imports besides itself.

    Args:
        metrics: the file of verl's file logger.
        wandb_id: makes all attempts one run there.
    """
    variables = {"VERL_FILE_LOGGER_PATH": str(metrics)}
    if settings.saves_when_stopped:
        others = settings.environ.get(_MODULES)
        variables[_MODULES] = f"{others},{_PLUGIN}" if others else _PLUGIN
    if "tensorboard" in settings.composed.trainer.logger:
        variables["TENSORBOARD_DIR"] = str(settings.folder / "tensorboard")
    if "wandb" in settings.composed.trainer.logger:
        variables |= {
            "WANDB_MODE": wandb_mode(settings.environ),
            "WANDB_DIR": str(settings.folder),
            "WANDB_RUN_ID": wandb_id,
            "WANDB_RESUME": "allow",
        }
    return variables


def train_environment(settings: Settings, variables: dict[str, str]) -> dict[str, str]:
    """The whole environment of verl's process: this process's, the trainer's and what the platform needs."""
    if settings.is_cpu:
        from tooln1.platforms.cpu.environment import cpu_environment

        own = one_rank_environment() if settings.is_sft else {}
        return cpu_environment(settings.folder) | variables | own
    return {**os.environ, "PYTHONUNBUFFERED": "1", **child_environment(settings.folder), **variables}


def one_rank_environment() -> dict[str, str]:
    """What torchrun sets for the only process of a world: verl's SFT trainer on the CPU runs without it."""
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
