"""The estimate for the CPU against memory that is really taken: an update in one process, and with --run-slow a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from step_on_cpu import CONFIG

from tooln1.doctor.examine import examine
from tooln1.doctor.host import CPU_RUN_BYTES, cpu_run
from tooln1.doctor.machine import probe_machine
from tooln1.doctor.shape import read_shape
from tooln1.platforms.environment import cpu_environment
from tooln1.train.metrics import read_metrics

AGREEMENT = 0.2


def test_an_update_takes_what_is_estimated(make, tmp_path):
    sequences, length = 48, 128
    heap = {key: value for key, value in cpu_environment(tmp_path).items() if key.startswith("MALLOC_")}
    script = Path(__file__).with_name("step_on_cpu.py")
    done = subprocess.run(
        [sys.executable, script, str(sequences), str(length)],
        env={**os.environ, **heap},
        capture_output=True,
        text=True,
        check=True,
    )
    grown = json.loads(done.stdout.splitlines()[-1])["grown"]
    # The step has neither a reference, an engine nor the entropy that the recipe logs.
    plan = make("tool_n1_grpo_cpu", has_reference=False, rollout=None, entropy=False, train_tokens=sequences * length)
    expected = cpu_run(read_shape(CONFIG, "m"), plan).bytes - CPU_RUN_BYTES
    assert grown == pytest.approx(expected, rel=AGREEMENT)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [16, 48])
def test_a_whole_run_takes_what_is_estimated(batch, tmp_path):
    """Two steps of the quickstart; the peak is that of all its processes, as summary.json has it."""
    overrides = [f"data.train_batch_size={batch}", "trainer.total_training_steps=2", "trainer.test_freq=-1"]
    subprocess.run(
        [sys.executable, "-m", "tooln1.tiny.run", *overrides],
        env={**os.environ, "RUN_DIR": str(tmp_path), "WARM_START_ROWS": "40"},
        check=True,
        capture_output=True,
    )
    world = tmp_path / "world"
    files = [f"data.train_files={world / 'train.parquet'}", f"data.val_files={world / 'test.parquet'}"]
    model = [f"actor_rollout_ref.model.path={tmp_path / 'warm_start'}"]
    (phase,) = examine("tool_n1_grpo_cpu", [*overrides, *files, *model], probe_machine()).phases
    measured = json.loads((tmp_path / "summary.json").read_text())["peak_memory_gb"]
    assert read_metrics(tmp_path / "metrics")
    assert phase.bytes / 1e9 == pytest.approx(measured, rel=AGREEMENT)
