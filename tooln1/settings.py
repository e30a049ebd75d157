"""The settings of one run: a configuration of the recipe, the user's files, and overrides in Hydra's grammar.

`tooln1 train` and `tooln1 doctor` build the same `Settings` from the same arguments.
"""

import netrc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from tooln1.config import compose, is_sft, leaves, quote
from tooln1.errors import UserError
from tooln1.run_folder import RunFolder

# verl's loggers, each with the package that it imports.
LOGGERS = {
    "console": None,
    "file": None,
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "trackio": "trackio",
    "clearml": "clearml",
}

# Settings that name a file or folder, or several; those that verl writes to.
_PATH = re.compile(r"(\w+\.)*(\w+_)?(path|files?|dir)|data\.tokenizer")
_OUTPUT = re.compile(r"trainer\.(default_local|rollout_data|validation_data)_dir")

# verl's name for the trainer of tooln1/train/trainer.py; importing that module would import torch.
LONG_RUN = "long_run"


@dataclass(frozen=True)
class Settings:
    """One run, before anything starts.

    Args:
        config: a configuration of the recipe by name, or a YAML file by path.
        overrides: the user's settings in Hydra's grammar. They win over everything else.
        run_dir: the run folder (default: runs/ and the configuration's name).
        model: a model's folder, or its name on the Hugging Face hub.
        train_file: a parquet file.
        val_file: a parquet file (default: test.parquet beside a ``train_file`` named train.parquet, if it exists).
        verify_checkpoint: whether to read all of the checkpoint before resuming from it.
        accept_changes: whether to continue a run whose defining settings were others (tooln1/checks/same_run.py).
    """

    config: str
    overrides: tuple[str, ...] = ()
    run_dir: Path | None = None
    model: str | None = None
    train_file: str | None = None
    val_file: str | None = None
    verify_checkpoint: bool = False
    accept_changes: bool = False

    @cached_property
    def folder(self) -> RunFolder:
        return RunFolder(self.run_dir or Path("runs") / Path(self.config).stem)

    @property
    def checkpoints(self) -> Path:
        return Path(self.composed.trainer.default_local_dir).resolve()

    @property
    def is_sft(self) -> bool:
        return _is_sft(self.config)

    @property
    def is_cpu(self) -> bool:
        return self.composed.trainer.device == "cpu"

    @property
    def is_long_run(self) -> bool:
        """Whether verl runs with this package's trainer, which saves a checkpoint when stopped."""
        return not self.is_sft and self.composed.trainer.v1.trainer_mode == LONG_RUN

    @property
    def model_path(self) -> str:
        return self.composed.model.path if self.is_sft else self.composed.actor_rollout_ref.model.path

    @property
    def train_files(self) -> list[str]:
        return _as_list(self.composed.data.train_files)

    @property
    def val_files(self) -> list[str]:
        return _as_list(self.composed.data.val_files)

    @property
    def composed(self) -> DictConfig:
        """verl's configuration. Raises UserError for what Hydra refuses, and for a logger that cannot work."""
        return self._composition[1]

    @property
    def all_overrides(self) -> list[str]:
        """Everything that verl's entry point gets besides the YAML files, in order."""
        return self._composition[0]

    @cached_property
    def _composition(self) -> tuple[list[str], DictConfig]:
        """The overrides and the configuration that they compose."""
        values = self._places | self._inputs
        before = [f"{key}={quote(value)}" for key, value in values.items() if value]
        config = compose(self.config, [*before, *self.overrides])
        rollout = None if self.is_sft else config.actor_rollout_ref.rollout
        if rollout and rollout.max_model_len is None and config.trainer.device == "cpu":
            # vLLM needs memory for a sequence of the model's own limit otherwise, and YAML cannot add the two lengths.
            rollout.max_model_len = sum(
                whole_number(config, f"data.max_{part}_length") for part in ("prompt", "response")
            )
            before.append(f"actor_rollout_ref.rollout.max_model_len={rollout.max_model_len}")
        config.trainer.logger = _loggers(config.trainer.logger)
        after = [f"trainer.logger=[{','.join(config.trainer.logger)}]"]
        # verl's processes run in other folders, and the next attempt may start from another one.
        for key, value in leaves(OmegaConf.to_container(config)):
            if (absolute := absolute_paths(key, value)) != value:
                OmegaConf.update(config, key, absolute)
                after.append(f"{key}={_override_value(absolute)}")
        return [*before, *self.overrides, *after], config

    @property
    def _places(self) -> dict[str, object]:
        """Where verl writes."""
        places = {"trainer.default_local_dir": self.folder.checkpoints, "hydra.run.dir": self.folder.hydra}
        if self.is_sft:
            return places
        return places | {
            "trainer.rollout_data_dir": self.folder.rollouts,
            "trainer.validation_data_dir": self.folder.validation,
            "trainer.v1.trainer_mode": LONG_RUN,
        }

    @property
    def _inputs(self) -> dict[str, str | None]:
        """What verl reads."""
        val_file = self.val_file
        if val_file is None and self.train_file and Path(self.train_file).name == "train.parquet":
            beside = Path(self.train_file).with_name("test.parquet")
            val_file = str(beside) if beside.exists() else None
        return {
            "model.path" if self.is_sft else "actor_rollout_ref.model.path": self.model,
            "data.train_files": self.train_file,
            "data.val_files": val_file,
        }


@cache
def _is_sft(config: str) -> bool:
    return is_sft(compose(config))


def whole_number(config: DictConfig, key: str) -> int:
    """Return a setting. Raises UserError unless it is a whole number, 1 or more."""
    value = OmegaConf.select(config, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{key}={value}: expected a whole number, 1 or more")
    return value


def _as_list(value: str | Sequence[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _loggers(chosen: str | Sequence[str]) -> list[str]:
    """Return the loggers of a run, which always include "file". Raises UserError."""
    names = _as_list(chosen)
    for name in names:
        if name not in LOGGERS:
            raise UserError(f"logger {name}: unknown; expected some of {', '.join(LOGGERS)}")
        if LOGGERS[name] and find_spec(LOGGERS[name]) is None:
            raise UserError(f"logger {name}: the package {LOGGERS[name]} is missing; pip install {LOGGERS[name]}")
    return names if "file" in names else [*names, "file"]


def absolute_paths(key: str, value: Any, absolute: Callable[[str], str] = os.path.abspath) -> Any:
    """Return the value of a setting with every path in it absolute.

    Outputs need not exist. An input that does not exist stays as it is: it may be a model's name on the hub. Links are
    kept by default: verl tells the kind of a file from its name, and the hub's cache names the targets by numbers.
    """
    if isinstance(value, list):
        return [absolute_paths(key, one, absolute) for one in value]
    if not isinstance(value, str) or not value or not _PATH.fullmatch(key) or "${" in value:
        return value
    path = os.path.expanduser(value)
    return absolute(path) if os.path.exists(path) or _OUTPUT.fullmatch(key) else value


def _override_value(value: str | list[str]) -> str:
    return quote(value) if isinstance(value, str) else f"[{','.join(map(quote, value))}]"


def wandb_mode(environ: Mapping[str, str]) -> str:
    """Return the user's WANDB_MODE, else "online" if an account is set up and "offline" if none is."""
    if environ.get("WANDB_MODE"):
        return environ["WANDB_MODE"]
    host = environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rpartition("/")[2]
    try:
        known = netrc.netrc(environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        known = {}
    return "online" if environ.get("WANDB_API_KEY") or host in known else "offline"
