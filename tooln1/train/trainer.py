"""verl's synchronous trainer for runs that are interrupted: it stops when asked, and keeps the best checkpoint.

   trainer.v1.trainer_mode=long_run

- A file ``stop`` in trainer.default_local_dir asks it to stop: it finishes the running step, saves a checkpoint and
  ends; the file is renamed to ``stopped`` then. A file and not a signal, because the trainer is an actor that Ray may
  place on any node of the cluster, and the folder is what all of them share.
- A complete checkpoint gets a manifest; checkpoints of earlier attempts are rotated like its own.
- A checkpoint that was validated and is better than those before is kept in ``best/``.
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from tooln1.errors import UserError
from tooln1.run_folder import checkpoint_folder
from tooln1.settings import LONG_RUN
from tooln1.train import checkpoints
from tooln1.train.stopping import STOP_FILE, STOPPED_FILE

ACCURACY = "validation/accuracy"

logger = logging.getLogger(__name__)


@register_trainer(LONG_RUN)
class LongRunTrainer(PPOTrainerSync):
    """PPOTrainerSync that answers to ``stop`` and keeps the best checkpoint."""

    def __init__(self, config: DictConfig):
        with open_dict(config):
            # verl compares the mode with this name where synchronous trainers differ from asynchronous ones.
            config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        self._checkpoints = Path(config.trainer.default_local_dir)
        self._saved_step: int | None = None
        self._accuracy: float | None = None

    def _save_checkpoint(self) -> None:
        folder = checkpoint_folder(self._checkpoints, self.global_steps)
        # Of an attempt that went beyond the step it is resumed from. Its files may be linked from best/: writing into
        # them would change that checkpoint as well.
        checkpoints.remove(folder)
        super()._save_checkpoint()
        self._saved_step = self.global_steps
        if self.config.actor_rollout_ref.actor.checkpoint.get("async_save", False):
            return  # the ranks are still writing
        keep = self.config.trainer.get("max_actor_ckpt_to_keep", None)
        with _best_effort("the manifest and the rotation"):
            checkpoints.write_manifest(folder)
            if keep:
                checkpoints.prune(self._checkpoints, keep, self.global_steps)

    def on_train_begin(self) -> None:
        """Do not begin if the stop was asked for while models were loading."""
        super().on_train_begin()
        if self._is_asked_to_stop():
            self.total_training_steps = self.global_steps - 1

    def on_step_end(self) -> None:
        """Save first: who asks to stop may not wait for the weights to reach the rollout engine."""
        if self._is_asked_to_stop() and self.global_steps < self.total_training_steps:
            if self._saved_step != self.global_steps:
                self._save_checkpoint()
            # The loop in fit() ends by itself behind its last step, and logs this one before that.
            self.total_training_steps = self.global_steps
        super().on_step_end()

    def on_train_end(self) -> None:
        """Called by fit() only if the loop ended before the last step."""
        super().on_train_end()
        if self._is_asked_to_stop():
            os.replace(self._checkpoints / STOP_FILE, self._checkpoints / STOPPED_FILE)

    def on_validate_end(self) -> None:
        """Keep the checkpoint that was just validated, if it is the best."""
        super().on_validate_end()
        accuracy, self._accuracy = self._accuracy, None
        if accuracy is not None:
            with _best_effort("keeping the best checkpoint"):
                checkpoints.keep_best(self._checkpoints, self.global_steps, accuracy)

    def _val_metrics_update(
        self,
        data_sources: Sequence[str],
        sample_uids: Sequence[str],
        reward_extra_infos_dict: Mapping[str, Sequence[Any]],
        sample_turns: Sequence[int],
        expected_acc_counts: Mapping[tuple[str, str], int] | None = None,
    ) -> dict[str, float]:
        """verl's metrics by data source, and the accuracy over all replies; one that failed to come counts as wrong."""
        metrics = super()._val_metrics_update(
            data_sources, sample_uids, reward_extra_infos_dict, sample_turns, expected_acc_counts=expected_acc_counts
        )
        right = [value for value in reward_extra_infos_dict.get("acc", ()) if value is not None]
        expected = max(len(right), sum((expected_acc_counts or {}).values()))
        self._accuracy = sum(right) / expected if right else None
        return metrics if self._accuracy is None else metrics | {ACCURACY: self._accuracy}

    def _is_asked_to_stop(self) -> bool:
        return (self._checkpoints / STOP_FILE).exists()


@contextlib.contextmanager
def _best_effort(what: str) -> Iterator[None]:
    """A full disk or a lost mount must not end a run whose checkpoint is saved already."""
    try:
        yield
    except (OSError, UserError) as error:
        logger.warning("%s failed: %s", what, error)
