"""verl's synchronous trainer for long runs: it stops on request and keeps the best checkpoint.

   trainer.v1.trainer_mode=long_run

- A file ``stop`` in trainer.default_local_dir makes the trainer finish its step, save a checkpoint, rename the file to
  ``stopped`` and end. It is a file and not a signal because Ray may place the trainer on any node of a cluster, and the
  folder is what all nodes share.
- Each complete checkpoint gets a manifest, and checkpoints of earlier attempts are rotated too.
- The checkpoint with the highest validation accuracy so far is kept in ``best/``.
- A checkpoint for which the disk has no room is not begun: the run ends with one line that says so.
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
from tooln1.run_folder import ACCURACY, checkpoint_folder
from tooln1.settings import LONG_RUN
from tooln1.train import checkpoints
from tooln1.train.stopping import STOP_FILE, STOPPED_FILE

logger = logging.getLogger(__name__)


@register_trainer(LONG_RUN)
class LongRunTrainer(PPOTrainerSync):
    """PPOTrainerSync that looks for the file ``stop`` and keeps the best checkpoint."""

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
        # An earlier attempt may have gone beyond the step this one resumed from. best/ may link its files, so they are
        # removed and not overwritten.
        checkpoints.remove(folder)
        checkpoints.require_room(self._checkpoints)
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
        """Do not begin if the request to stop came while models were loading."""
        super().on_train_begin()
        if self._is_asked_to_stop():
            self.total_training_steps = self.global_steps - 1

    def on_step_end(self) -> None:
        """Save before anything else: the batch system may not wait until the engine has the weights."""
        if self._is_asked_to_stop() and self.global_steps < self.total_training_steps:
            if self._saved_step != self.global_steps:
                self._save_checkpoint()
            # The loop in fit() ends after its last step and still logs this one.
            self.total_training_steps = self.global_steps
        super().on_step_end()

    def on_train_end(self) -> None:
        """Confirm the stop; fit() calls this only if the loop ended early."""
        super().on_train_end()
        if self._is_asked_to_stop():
            os.replace(self._checkpoints / STOP_FILE, self._checkpoints / STOPPED_FILE)

    def on_validate_end(self) -> None:
        """Keep the checkpoint that was just validated if it is the best."""
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
        """Add the accuracy over all rows to verl's metrics; a row without a response counts as wrong."""
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
    """Log an error instead of ending a run whose checkpoint is already saved: a full disk, a lost mount."""
    try:
        yield
    except (OSError, UserError) as error:
        logger.warning("%s failed: %s", what, error)
