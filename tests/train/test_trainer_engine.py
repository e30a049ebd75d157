"""LongRunTrainer in verl's own loop: stopping when asked, saving, keeping the best.

The loop, the saving and the validation's metrics are verl's; only what needs Ray's actors (models, rollouts, updates)
is replaced. tests/train/test_long_runs.py runs everything for real.
"""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tooln1.config import compose
from tooln1.errors import UserError
from tooln1.run_folder import checkpoint_steps, tracked_step
from tooln1.settings import LONG_RUN
from tooln1.train import checkpoints


@pytest.fixture(scope="module")
def verl():
    """verl's trainers, and the plugin's among them."""
    from verl.trainer.ppo import v1

    import tooln1.train.plugin  # noqa: F401

    return v1


def test_the_plugin_makes_the_trainer_known(verl):
    assert verl.get_trainer_cls(LONG_RUN).__name__ == "LongRunTrainer"


def test_the_plugin_itself_imports_nothing_heavy():
    code = "import sys, tooln1.train.plugin; print({'torch', 'ray', 'verl', 'hydra'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class Actors:
    """Writes what the ranks would write."""

    def save_checkpoint(self, path, *_, **__):
        Path(path).mkdir(parents=True)
        torch.save({"path": path}, Path(path) / "model_world_size_1_rank_0.pt")
        (Path(path) / "fsdp_config.json").write_text("{}")


@pytest.fixture(scope="module")
def recipe():
    files = ["data.train_files=a", "data.val_files=b", "actor_rollout_ref.model.path=c"]
    return compose("tool_n1_grpo", [*files, "trainer.val_before_train=false", "trainer.total_epochs=1000"])


@pytest.fixture
def rehearse(verl, recipe, tmp_path, monkeypatch):
    """Runs the loop; ``at`` maps steps to what happens meanwhile, ``accuracies`` steps to what validation finds."""
    import transfer_queue

    monkeypatch.setattr(transfer_queue, "kv_clear", lambda **_: None)

    class Rehearsal(verl.get_trainer_cls(LONG_RUN)):
        def step(self, metrics, timing_raw):
            self.trained.append(self.global_steps)
            self.at.get(self.global_steps, lambda: None)()
            return SimpleNamespace(keys=[], partition_id="train")

        def _validate(self):
            right = self.accuracies[self.global_steps]
            responses = [float(place < right * 10) for place in range(10)]
            uids = [str(place) for place in range(10)]
            return self._val_metrics_update(["source"] * 10, uids, {"reward": responses, "acc": responses}, [])

        def _compute_metrics(self, *_, **__):
            pass

    def run(total=6, save_freq=2, test_freq=2, keep=2, at=(), accuracies=None, start=0):
        config = recipe.copy()
        config.trainer.merge_with(
            {
                "default_local_dir": str(tmp_path),
                "save_freq": save_freq,
                "test_freq": test_freq,
                "max_actor_ckpt_to_keep": keep,
                "logger": [],
                "v1": {"trainer_mode": LONG_RUN},
            }
        )
        trainer = Rehearsal(config)
        trainer.trained, trainer.at, trainer.accuracies = [], dict(at), accuracies or dict.fromkeys(range(99), 0.5)
        trainer.global_steps, trainer.total_training_steps, trainer.steps_per_epoch = start, total, total
        trainer.actor_rollout_wg, trainer.train_dataloader = Actors(), SimpleNamespace(state_dict=dict)
        trainer.checkpoint_manager = SimpleNamespace(update_weights=lambda _step: None)
        trainer._init_dump_executor()
        trainer.fit(None)
        return trainer

    return run


def test_a_run_that_nobody_stops_goes_to_its_end(rehearse, tmp_path):
    assert rehearse().trained == [1, 2, 3, 4, 5, 6]
    assert tracked_step(tmp_path) == 6
    assert checkpoint_steps(tmp_path) == [4, 6]
    assert not (tmp_path / "stopped").exists()


@pytest.mark.parametrize(
    "stop_at, trained, saved",
    [
        (3, [1, 2, 3], 3),  # between two saves
        (4, [1, 2, 3, 4], 4),  # saved in any case
        (1, [1], 1),
        (6, [1, 2, 3, 4, 5, 6], 6),  # the last one
    ],
)
def test_the_running_step_is_finished_and_saved(stop_at, trained, saved, rehearse, tmp_path):
    trainer = rehearse(at={stop_at: (tmp_path / "stop").touch})
    assert trainer.trained == trained
    assert tracked_step(tmp_path) == saved
    assert checkpoints.find_fault(tmp_path / f"global_step_{saved}") is None
    # A run that was at its end anyway is finished, not stopped.
    assert (tmp_path / "stopped").exists() == (stop_at != 6)


def test_a_run_that_saves_nothing_is_saved_when_it_is_stopped(rehearse, tmp_path):
    rehearse(save_freq=-1, test_freq=-1, at={2: (tmp_path / "stop").touch})
    assert checkpoint_steps(tmp_path) == [2]


def test_a_request_before_the_first_step_trains_none(rehearse, tmp_path):
    (tmp_path / "stop").touch()
    assert rehearse().trained == []
    assert (tmp_path / "stopped").exists() and checkpoint_steps(tmp_path) == []


def test_a_checkpoint_without_room_is_not_begun(rehearse, tmp_path, monkeypatch):
    def fill():
        size = sum(path.stat().st_size for path in (tmp_path / "global_step_2").rglob("*.*"))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size - 1))

    monkeypatch.setattr(checkpoints, "_LEAST_ROOM", 1)
    with pytest.raises(UserError, match="needed for the next checkpoint; make room, .* resumes from step 2"):
        rehearse(at={3: fill})
    assert checkpoint_steps(tmp_path) == [2] and checkpoints.find_fault(tmp_path / "global_step_2") is None


def test_the_best_is_what_validation_says(rehearse, tmp_path):
    rehearse(total=8, accuracies={2: 0.3, 4: 0.7, 6: 0.7, 8: 0.6}, keep=1)
    assert checkpoints.read_best(tmp_path) == {"step": 4, "accuracy": 0.7}
    assert checkpoint_steps(tmp_path) == [8] and checkpoint_steps(tmp_path / "best") == [4]
    assert checkpoints.find_fault(tmp_path / "best" / "global_step_4", full=True) is None


def test_validation_between_saves_cannot_make_a_best(rehearse, tmp_path):
    rehearse(save_freq=4, test_freq=2, total=4, accuracies={2: 0.9, 4: 0.1})
    assert checkpoints.read_best(tmp_path)["step"] == 4


def test_every_checkpoint_has_a_manifest_and_those_of_earlier_attempts_rotate(rehearse, tmp_path):
    rehearse(total=4, keep=2)
    trainer = rehearse(total=8, keep=2, start=4)
    assert trainer.trained == [5, 6, 7, 8]
    assert checkpoint_steps(tmp_path) == [6, 8]
    assert all((tmp_path / f"global_step_{step}" / "manifest.json").exists() for step in (6, 8))


def test_training_a_step_again_leaves_the_best_as_it_was(rehearse, tmp_path):
    """The files of best/ are links: saving the step once more must not write into them."""
    rehearse(total=4, accuracies={2: 0.3, 4: 0.7})
    best = tmp_path / "best" / "global_step_4" / "actor" / "model_world_size_1_rank_0.pt"
    before, inode = best.read_bytes(), best.stat().st_ino
    rehearse(total=4, start=2, accuracies={4: 0.2})
    again = tmp_path / "global_step_4" / "actor" / "model_world_size_1_rank_0.pt"
    assert best.read_bytes() == before and best.stat().st_ino == inode != again.stat().st_ino


def test_a_full_disk_while_keeping_the_best_does_not_end_the_run(rehearse, monkeypatch, caplog):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoints, "keep_best", fail)
    assert rehearse(total=4).trained == [1, 2, 3, 4]
    assert "keeping the best checkpoint failed" in caplog.text


@pytest.mark.parametrize(
    "infos, expected_counts, accuracy",
    [
        ({"reward": [1.0, 0.0], "acc": [1.0, 0.0]}, None, 0.5),
        # A response that never came is missing in the list, or None in it.
        ({"reward": [1.0, 0.0], "acc": [1.0, None]}, {("s", "0"): 1, ("s", "1"): 1}, 0.5),
        ({"reward": [1.0, 0.0], "acc": [1.0, 0.0]}, {("s", "0"): 2, ("s", "1"): 2}, 0.25),
    ],
)
def test_the_accuracy_is_over_all_rows(infos, expected_counts, accuracy, rehearse):
    from tooln1.train.trainer import ACCURACY

    trainer = rehearse(total=1, test_freq=-1)
    metrics = trainer._val_metrics_update(["s", "s"], ["0", "1"], infos, [], expected_acc_counts=expected_counts)
    assert metrics[ACCURACY] == accuracy
