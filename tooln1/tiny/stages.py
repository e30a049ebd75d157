"""The stages of the quickstart, each a command that a user could type, with the settings of its YAML file.

A stage that is complete is not repeated: what it made stands in the run folder, written whole or not at all.
"""

import os
import shutil
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tooln1.config import CONFIGS, compose, quote
from tooln1.errors import UserError
from tooln1.export.merge import merger_command
from tooln1.train.checkpoints import folder_of, tracked_step

ROOT = Path(__file__).resolve().parents[2]
GRPO, SFT = "tool_n1_grpo_cpu", "tool_n1_sft_cpu"


@dataclass(frozen=True)
class Run:
    """What a run was asked for, and where it keeps things."""

    folder: Path
    seed: int
    model_path: str | None = None
    train_file: Path | None = None
    val_file: Path | None = None
    warm_start_rows: int | None = None
    overrides: tuple[str, ...] = field(default_factory=tuple)

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics"

    @property
    def validation(self) -> Path:
        return self.folder / "validation"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def merged(self) -> Path:
        return self.folder / "merged"

    @property
    def made_of(self) -> dict[str, object]:
        """What the run's folder is bound to."""
        return {
            "seed": self.seed,
            "model_path": self.model_path,
            "train_file": str(self.train_file) if self.train_file else None,
        }

    @property
    def is_tiny_world(self) -> bool:
        """Whether the model is the tiny one, warm-started here."""
        return self.model_path is None

    @property
    def start_model(self) -> str:
        """The model that GRPO starts from."""
        return self.model_path or str(self.folder / "warm_start")

    @property
    def train(self) -> Path:
        return self.train_file or self.folder / "world" / "train.parquet"

    @property
    def val(self) -> Path:
        """The validation file: the one that was named, else test.parquet beside the training file, else that itself."""
        if self.val_file:
            return self.val_file
        beside = self.train.with_name("test.parquet")
        return beside if self.train_file is None or beside.exists() else self.train

    @cached_property
    def max_model_len(self) -> int:
        """The longest sequence, prompt and response together; Hydra's YAML cannot add them up."""
        config = compose(GRPO, self.overrides)
        return whole_number(config, "data.max_prompt_length") + whole_number(config, "data.max_response_length")

    @cached_property
    def config(self) -> DictConfig:
        """verl's configuration as the GRPO stage will compose it. Raises UserError for an override that it refuses."""
        return compose(GRPO, self.grpo_overrides)

    @property
    def grpo_overrides(self) -> list[str]:
        """What the run sets beside the YAML; the user's own settings come last."""
        return [
            f"data.train_files={quote(self.train)}",
            f"data.val_files={quote(self.val)}",
            f"data.seed={self.seed}",
            f"actor_rollout_ref.model.path={quote(self.start_model)}",
            f"actor_rollout_ref.actor.fsdp_config.seed={self.seed}",
            f"actor_rollout_ref.actor.data_loader_seed={self.seed}",
            f"actor_rollout_ref.rollout.seed={self.seed}",
            f"actor_rollout_ref.rollout.max_model_len={self.max_model_len}",
            f"trainer.default_local_dir={quote(self.checkpoints)}",
            f"trainer.validation_data_dir={quote(self.validation)}",
            f"trainer.rollout_data_dir={quote(self.folder / 'rollouts')}",
            f"hydra.run.dir={quote(self.folder / 'hydra')}",
            *self.overrides,
        ]


def whole_number(config: DictConfig, key: str) -> int:
    """The setting ``key``, for instance "data.train_batch_size". Raises UserError unless it is 1 or more."""
    value = OmegaConf.select(config, key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{key}={value}: expected a whole number, 1 or more")
    return value


def model_command(run: Run) -> list[str]:
    """Builds the untrained tokenizer and model."""
    return [sys.executable, "-m", "tooln1.tiny.model", "--output", str(run.folder / "model"), "--seed", str(run.seed)]


def data_command(run: Run) -> list[str]:
    """Writes the synthetic world."""
    script = ROOT / "data_prep" / "synthetic.py"
    rows = [] if run.warm_start_rows is None else ["--sft", str(run.warm_start_rows)]
    return [sys.executable, str(script), "--output", str(run.folder / "world"), "--seed", str(run.seed), *rows]


def sft_command(run: Run) -> list[str]:
    """Teaches the format and part of the skill with verl's SFT trainer."""
    return [
        *(sys.executable, "-m", "verl.trainer.sft_trainer"),
        *("--config-path", str(CONFIGS), "--config-name", SFT),
        f"data.train_files={quote(run.folder / 'world' / 'sft.parquet')}",
        f"model.path={quote(run.folder / 'model')}",
        f"trainer.default_local_dir={quote(run.folder / 'sft')}",
        f"trainer.seed={run.seed}",
        f"engine.seed={run.seed}",
        f"hydra.run.dir={quote(run.folder / 'hydra')}",
    ]


def keep_warm_start(run: Run) -> None:
    """Move the SFT trainer's Hugging Face folder to where GRPO expects it; the rest of its checkpoint is not needed."""
    step = max((run.folder / "sft").glob("global_step_*"), key=_step)
    os.replace(step / "huggingface", run.folder / "warm_start")
    shutil.rmtree(run.folder / "sft")


def grpo_command(run: Run, val_before_train: bool) -> list[str]:
    """Trains with GRPO: verl's own entry point. A val_before_train among the user's settings wins."""
    return [
        *(sys.executable, "-m", "verl.trainer.main_ppo"),
        *("--config-path", str(CONFIGS), "--config-name", GRPO),
        f"trainer.val_before_train={val_before_train}",
        *run.grpo_overrides,
    ]


def validation_command(run: Run) -> list[str]:
    """Validates the last checkpoint without training."""
    return [*grpo_command(run, True), "trainer.val_before_train=True", "trainer.val_only=True"]


def latest_checkpoint(run: Run) -> Path | None:
    """The checkpoint that verl resumes from: the one its tracker file names, if it is there."""
    step = tracked_step(run.checkpoints)
    folder = None if step is None else folder_of(run.checkpoints, step)
    return folder if folder and folder.is_dir() else None


def merge_command(run: Run, target: Path) -> list[str]:
    """Turns the last checkpoint's shards into a Hugging Face folder with verl's merger."""
    return merger_command(latest_checkpoint(run), target)


def generate_command(run: Run) -> list[str]:
    """Asks the merged checkpoint through vLLM."""
    return [
        *(sys.executable, "-m", "tooln1.tiny.generate", str(run.merged), str(run.val)),
        *("--max-tokens", str(run.config.data.max_response_length)),
        *("--max-model-len", str(run.max_model_len), "--output", str(run.folder / "replies.jsonl")),
    ]


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("global_step_"))
