"""What a run is asked for: a configuration of the recipe, the user's paths, and settings in Hydra's grammar.

`tooln1 train` and `tooln1 doctor` build the same `Settings` from the same arguments.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tooln1.config import compose, is_sft, quote
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

# verl's name for the trainer of tooln1/train/trainer.py. It stands here because importing that module imports torch.
LONG_RUN = "long_run"


@dataclass(frozen=True)
class Settings:
    """One run, before anything starts.

    Args:
        config: a configuration of the recipe by name, or a YAML file by path.
        overrides: the user's own, in Hydra's grammar. They win over everything else.
        run_dir: the run folder (default: runs/ and the configuration's name).
        model: a model's folder, or its name on the Hugging Face hub.
        train_file: a parquet file.
        val_file: a parquet file (default: test.parquet beside a ``train_file`` called train.parquet, if it exists).
        verify_checkpoint: whether the checkpoint to resume from is read entirely.
    """

    config: str
    overrides: tuple[str, ...] = ()
    run_dir: Path | None = None
    model: str | None = None
    train_file: str | None = None
    val_file: str | None = None
    verify_checkpoint: bool = False

    @cached_property
    def folder(self) -> RunFolder:
        return RunFolder(self.run_dir or Path("runs") / Path(self.config).stem)

    @property
    def checkpoints(self) -> Path:
        return Path(self.composed.trainer.default_local_dir).resolve()

    @property
    def is_sft(self) -> bool:
        return _names_sft(self.config)

    @property
    def is_cpu(self) -> bool:
        return self.composed.trainer.device == "cpu"

    @property
    def is_long_run(self) -> bool:
        """Whether verl runs with the trainer of this package, which saves a checkpoint when stopped."""
        return not self.is_sft and self.composed.trainer.v1.trainer_mode == LONG_RUN

    @property
    def model_path(self) -> str:
        return self.composed.model.path if self.is_sft else self.composed.actor_rollout_ref.model.path

    @property
    def train_files(self) -> list[str]:
        return _names(self.composed.data.train_files)

    @property
    def val_files(self) -> list[str]:
        return _names(self.composed.data.val_files)

    @property
    def composed(self) -> DictConfig:
        """verl's configuration. Raises UserError for what Hydra refuses, and for a logger that cannot work."""
        return self._composition[1]

    @property
    def all_overrides(self) -> list[str]:
        """Everything that is set besides the YAML files, in the order in which verl's entry point gets it."""
        return [*self._composition[0], f"trainer.logger=[{','.join(self.composed.trainer.logger)}]"]

    def whole_number(self, key: str) -> int:
        """Return a setting, for instance "data.train_batch_size". Raises UserError unless it is 1 or more."""
        return _whole_number(self.composed, key)

    @cached_property
    def _composition(self) -> tuple[list[str], DictConfig]:
        """The overrides and what they compose."""
        before = [*self._places, *self._inputs]
        config = compose(self.config, [*before, *self.overrides])
        if config.trainer.device == "cpu" and not self.is_sft:
            # vLLM reserves memory by the longest sequence, and YAML cannot add prompt and response.
            length = sum(_whole_number(config, f"data.max_{part}_length") for part in ("prompt", "response"))
            before.append(f"actor_rollout_ref.rollout.max_model_len={length}")
            config = compose(self.config, [*before, *self.overrides])
        config.trainer.logger = _loggers(config.trainer.logger)
        return [*before, *self.overrides], config

    @property
    def _places(self) -> list[str]:
        values = {
            "trainer.default_local_dir": quote(self.folder.checkpoints),
            "hydra.run.dir": quote(self.folder.hydra),
        }
        if not self.is_sft:
            values |= {
                "trainer.rollout_data_dir": quote(self.folder.rollouts),
                "trainer.validation_data_dir": quote(self.folder.validation),
                "trainer.v1.trainer_mode": LONG_RUN,
            }
        return [f"{key}={value}" for key, value in values.items()]

    @property
    def _inputs(self) -> list[str]:
        val_file = self.val_file
        if val_file is None and self.train_file and Path(self.train_file).name == "train.parquet":
            beside = Path(self.train_file).with_name("test.parquet")
            val_file = str(beside) if beside.exists() else None
        values = {
            "model.path" if self.is_sft else "actor_rollout_ref.model.path": self.model,
            "data.train_files": self.train_file,
            "data.val_files": val_file,
        }
        return [f"{key}={quote(_absolute(value))}" for key, value in values.items() if value]


@cache
def _names_sft(config: str) -> bool:
    return is_sft(compose(config))


def _whole_number(config: DictConfig, key: str) -> int:
    value = OmegaConf.select(config, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{key}={value}: expected a whole number, 1 or more")
    return value


def _names(files: str | Sequence[str] | None) -> list[str]:
    return [files] if isinstance(files, str) else list(files or ())


def _loggers(chosen: str | Sequence[str]) -> list[str]:
    """Return the loggers of a run; "file" is always one of them. Raises UserError."""
    chosen = _names(chosen)
    for name in chosen:
        if name not in LOGGERS:
            raise UserError(f"logger {name}: unknown; expected some of {', '.join(LOGGERS)}")
        if LOGGERS[name] and find_spec(LOGGERS[name]) is None:
            raise UserError(f"logger {name}: the package {LOGGERS[name]} is missing; pip install {LOGGERS[name]}")
    return chosen if "file" in chosen else [*chosen, "file"]


def _absolute(value: str) -> str:
    """Return a path that verl's working directory cannot change; a name on the hub stays as it is."""
    path = Path(value).expanduser()
    return str(path.resolve()) if path.exists() else value
