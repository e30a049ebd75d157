"""What a run is asked for: switches in the environment, as recipes in shell set them, and Hydra overrides.

MODEL_PATH, TRAIN_FILE, VAL_FILE    the model and the parquet files
RUN_DIR                             where everything goes (runs/<configuration>)
ENGINE=vllm|sglang  PAPER=1  PLATFORM=cpu    choices of the recipe's groups
LOGGERS=console,file,tensorboard,wandb       where metrics go besides metrics.jsonl
"""

import netrc
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig

from tooln1.config import compose, is_sft, quote
from tooln1.errors import UserError

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

# verl's name for the trainer of trainer.py. It stands here because importing that module imports torch.
LONG_RUN = "long_run"


@dataclass(frozen=True)
class Settings:
    """One run, before anything is started.

    Args:
        config: a configuration of the recipe by name, or a YAML file by path.
        overrides: the user's own, in Hydra's grammar.
        environ: where the switches are read from.
    """

    config: str
    overrides: tuple[str, ...]
    environ: Mapping[str, str]

    @cached_property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.environ.get("RUN_DIR") or Path("runs") / Path(self.config).stem).resolve()

    @property
    def checkpoints(self) -> Path:
        return Path(self.composed.trainer.default_local_dir).resolve()

    @property
    def is_sft(self) -> bool:
        return is_sft(self.composed)

    @property
    def is_cpu(self) -> bool:
        return self.composed.trainer.device == "cpu"

    @property
    def saves_when_stopped(self) -> bool:
        """Whether verl runs with the trainer of this package."""
        return not self.is_sft and self.composed.trainer.v1.trainer_mode == LONG_RUN

    @property
    def is_dry_run(self) -> bool:
        return self._switch("DRY_RUN")

    @property
    def verifies_fully(self) -> bool:
        """Whether the checkpoint to resume from is read entirely. Raises UserError for another word than "full"."""
        value = self.environ.get("VERIFY", "")
        if value not in ("", "full"):
            raise UserError(f"VERIFY={value}: expected full, or nothing")
        return value == "full"

    @cached_property
    def composed(self) -> DictConfig:
        """verl's configuration. Raises UserError for what Hydra refuses, and for a logger that cannot work."""
        config = compose(self.config, self._asked)
        config.trainer.logger = _loggers(config.trainer.logger)
        return config

    @property
    def all_overrides(self) -> list[str]:
        """Everything that is set beside the YAML files, in the order in which verl's entry point gets it."""
        return [*self._asked, f"trainer.logger=[{','.join(self.composed.trainer.logger)}]"]

    @cached_property
    def _asked(self) -> list[str]:
        sft = _names_sft(self.config)
        return [*self._paths(sft), *self._files(sft), *self.overrides, *self._choices(sft)]

    def _paths(self, sft: bool) -> list[str]:
        values = {
            "trainer.default_local_dir": quote(self.folder / "checkpoints"),
            "hydra.run.dir": quote(self.folder / "hydra"),
        }
        loggers = self.environ.get("LOGGERS", "").replace(" ", "")
        if loggers:
            values["trainer.logger"] = f"[{','.join(map(quote, loggers.split(',')))}]"
        if not sft:
            values |= {
                "trainer.rollout_data_dir": quote(self.folder / "rollouts"),
                "trainer.validation_data_dir": quote(self.folder / "validation"),
                "trainer.v1.trainer_mode": LONG_RUN,
            }
        return [f"{key}={value}" for key, value in values.items()]

    def _files(self, sft: bool) -> list[str]:
        keys = {
            "MODEL_PATH": "model.path" if sft else "actor_rollout_ref.model.path",
            "TRAIN_FILE": "data.train_files",
            "VAL_FILE": "data.val_files",
        }
        return [f"{key}={quote(_absolute(value))}" for name, key in keys.items() if (value := self.environ.get(name))]

    def _choices(self, sft: bool) -> list[str]:
        """The groups that the switches choose. They come last: of two choices of a group the later one counts."""
        groups = {"PLATFORM": "sft_platform"} if sft else {"ENGINE": "rollout_engine", "PLATFORM": "platform"}
        chosen = [f"{group}={value}" for name, group in groups.items() if (value := self.environ.get(name))]
        return [*chosen, "preset=paper"] if self._switch("PAPER") and not sft else chosen

    def _switch(self, name: str) -> bool:
        value = self.environ.get(name, "")
        if value not in ("", "0", "1"):
            raise UserError(f"{name}={value}: expected 1 or 0")
        return value == "1"


@cache
def _names_sft(config: str) -> bool:
    return is_sft(compose(config))


def settings_from_environment(config: str, overrides: Sequence[str]) -> Settings:
    """The settings that a command line and the environment of this process ask for."""
    return Settings(config, tuple(overrides), dict(os.environ))


def wandb_mode(environ: Mapping[str, str]) -> str:
    """The user's own WANDB_MODE, or online if an account is set and offline if none is."""
    if environ.get("WANDB_MODE"):
        return environ["WANDB_MODE"]
    host = environ.get("WANDB_BASE_URL", "https://api.wandb.ai").rpartition("/")[2]
    try:
        known = netrc.netrc(environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        known = {}
    return "online" if environ.get("WANDB_API_KEY") or host in known else "offline"


def _loggers(chosen: str | Sequence[str]) -> list[str]:
    """The loggers of a run; "file" is always one of them."""
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    for name in chosen:
        if name not in LOGGERS:
            raise UserError(f"logger {name}: unknown; expected some of {', '.join(LOGGERS)}")
        if LOGGERS[name] and find_spec(LOGGERS[name]) is None:
            raise UserError(f"logger {name}: the package {LOGGERS[name]} is missing; pip install {LOGGERS[name]}")
    return chosen if "file" in chosen else [*chosen, "file"]


def _absolute(value: str) -> str:
    """A path from verl's working directory too; a name on the hub, or a remote address, stays as it is."""
    return str(Path(value).expanduser().resolve()) if Path(value).expanduser().exists() else value
