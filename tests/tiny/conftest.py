"""A run folder as verl leaves it, written by hand."""

import json

import pytest

from tooln1.tiny.stages import Run
from tooln1.train.metrics import REWARD, STEP_SECONDS


@pytest.fixture
def run(tmp_path):
    return Run(folder=tmp_path / "run", seed=0)


@pytest.fixture
def checkpoint(run):
    """Writes a checkpoint of a step, as far as anything here looks at it."""

    def write(step):
        (run.checkpoints / f"global_step_{step}" / "actor").mkdir(parents=True)
        (run.checkpoints / "latest_checkpointed_iteration.txt").write_text(str(step))

    return write


@pytest.fixture
def attempt(run):
    """Writes the metrics of one attempt at GRPO: (step, reward, seconds) each."""

    def write(number, steps):
        lines = [json.dumps({"step": s, "data": {REWARD: r, STEP_SECONDS: t}}) + "\n" for s, r, t in steps]
        run.metrics.mkdir(parents=True, exist_ok=True)
        (run.metrics / f"attempt-{number:03d}.jsonl").write_text("".join(lines))

    return write


@pytest.fixture
def validation(run):
    """Writes the dump of a validation: (prompt, accuracy) each."""

    def write(step, replies):
        lines = [json.dumps({"input": prompt, "acc": acc}, ensure_ascii=False) + "\n" for prompt, acc in replies]
        run.validation.mkdir(parents=True, exist_ok=True)
        (run.validation / f"{step}.jsonl").write_text("".join(lines), encoding="utf-8")

    return write
