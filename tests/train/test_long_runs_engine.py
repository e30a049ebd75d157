"""Runs of verl that are interrupted, for real: `tooln1 train` on the tiny model, signals, damage, and the rerun.

GRPO on the CPU: a minute or two each on two idle cores. What the trainer does step by step is in test_trainer.py.
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tooln1.files import read_jsonl
from tooln1.processes import find_left_over_processes
from tooln1.run_folder import REWARD, RunFolder, checkpoint_folder, checkpoint_steps, tracked_step
from tooln1.train import checkpoints

pytestmark = [pytest.mark.slow, pytest.mark.cpu_engine]

SMALL = [
    "data.train_batch_size=4",
    "data.val_max_samples=14",
    "actor_rollout_ref.rollout.n=2",
    "trainer.save_freq=2",
    "trainer.test_freq=2",
]
PATIENCE = 1500  # seconds, on a machine that does other things too


def steps_with(key, folder):
    """The steps of metrics.jsonl that have a metric."""
    path = folder / "metrics.jsonl"
    lines = (line.value for line in read_jsonl(path)) if path.exists() else ()
    return [line["step"] for line in lines if key in line["data"]]


class Run:
    """`tooln1 train` as the leader of a process group, as a batch system starts it."""

    def __init__(self, folder, config, *overrides, model, train_file):
        self.folder, self.checkpoints = folder, folder / "checkpoints"
        inputs = ["--run-dir", str(folder), "--model", str(model), "--train-file", str(train_file)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tooln1.cli", "train", *inputs, config, *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder.parent,
            start_new_session=True,
        )

    def steps(self):
        return steps_with(REWARD, self.folder)

    def record(self):
        return RunFolder(self.folder).read_record()

    def wait_for(self, condition):
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.process.stdout.read()[-3000:]
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.1)

    def end(self):
        """The exit code and what was said. Nothing may be left behind."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        assert find_left_over_processes(self.folder) == []
        return self.process.returncode, said


@pytest.fixture
def train(tmp_path, tiny_model, tiny_data):
    """Starts GRPO in one folder; a run that a failed test leaves is ended."""
    runs = []

    def start(*overrides):
        inputs = {"model": tiny_model, "train_file": tiny_data / "train.parquet"}
        runs.append(Run(tmp_path / "it's a run", "tool_n1_grpo_cpu", *SMALL, *overrides, **inputs))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def test_a_run_is_preempted_damaged_resumed_and_finished(train):
    first = train("trainer.total_training_steps=40")
    first.wait_for(lambda: len(first.steps()) >= 3)
    # To the whole group, as batch systems do: verl's own processes must not hear of it.
    os.killpg(first.process.pid, signal.SIGTERM)
    code, said = first.end()
    assert code == os.EX_TEMPFAIL, said
    last = first.steps()[-1]
    assert 3 <= last < 40 and f"step {last} is saved" in said
    assert tracked_step(first.checkpoints) == last
    assert checkpoints.find_fault(checkpoint_folder(first.checkpoints, last), full=True) is None
    assert first.record()["exit"] == "preempted"
    assert len(list(read_jsonl(first.folder / "rollouts" / f"{last}.jsonl"))) == 8  # nothing of the last step is lost

    # The newest is damaged; the run resumes from the one before.
    broken = checkpoint_folder(first.checkpoints, last)
    shard = broken / "actor" / "model_world_size_1_rank_0.pt"
    os.truncate(shard, shard.stat().st_size - 1000)
    before = checkpoint_steps(first.checkpoints)[-2]
    second = train(f"trainer.total_training_steps={last + 1}")
    code, said = second.end()
    assert code == 0, said
    (line,) = [line for line in said.splitlines() if "not usable" in line]
    assert str(broken) in line and shard.name in line and f"{broken.name}.damaged" in line
    assert f"resuming from step {before}" in said
    assert second.steps() == list(range(1, last + 2))
    assert checkpoint_steps(second.checkpoints)[-1] == last + 1
    told = second.record()
    assert (told["exit"], told["resumed_from"], told["attempts"][0]["exit"]) == ("finished", before, "preempted")
    best = checkpoints.read_best(second.checkpoints)
    assert checkpoints.find_fault(checkpoint_folder(second.checkpoints / "best", best["step"]), full=True) is None
    assert json.loads((second.checkpoints / "best.json").read_text()) == best
    assert (second.folder / "config.yaml").exists() and (second.folder / "report.html").exists()

    third = train(f"trainer.total_training_steps={last + 1}")
    code, said = third.end()
    assert code == 0 and "finished already" in said


def test_a_second_signal_stops_at_once(train):
    run = train("trainer.total_training_steps=40")
    run.wait_for(lambda: len(run.steps()) >= 1)
    run.process.send_signal(signal.SIGTERM)
    run.wait_for((run.checkpoints / "stop").exists)
    time.sleep(2.5)  # signals closer together are taken for one
    run.process.send_signal(signal.SIGTERM)
    code, said = run.end()
    # On a fast machine the step is over before the second signal comes.
    assert code == 128 + signal.SIGTERM or (code == os.EX_TEMPFAIL and (run.checkpoints / "stopped").exists()), said


def test_sft_resumes_from_its_checkpoint(tmp_path, tiny_model, tiny_data):
    folder = tmp_path / "sft"
    asked = ["sft_platform=cpu", "data.train_batch_size=4", "trainer.save_freq=5"]
    inputs = {"model": tiny_model, "train_file": tiny_data / "sft.parquet"}
    code, said = Run(folder, "tool_n1_sft", *asked, "trainer.total_training_steps=10", **inputs).end()
    assert code == 0, said
    newest = folder / "checkpoints" / "global_step_10" / "optim_world_size_1_rank_0.pt"
    os.truncate(newest, newest.stat().st_size - 100)
    code, said = Run(folder, "tool_n1_sft", *asked, "trainer.total_training_steps=11", **inputs).end()
    assert code == 0 and "resuming from step 5" in said and "global_step_10.damaged" in said, said
    assert steps_with("train/loss", folder) == list(range(1, 12))
