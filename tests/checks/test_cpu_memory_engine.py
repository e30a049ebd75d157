"""The estimate for the CPU against memory that is really taken: an update in one process, and with --run-slow a run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tooln1.checks.checklist import examine
from tooln1.checks.memory_estimate import cpu_run
from tooln1.checks.model_shape import read_shape
from tooln1.platforms.environment import cpu_environment
from tooln1.settings import Settings

pytestmark = pytest.mark.cpu_engine

AGREEMENT = 0.2
CONFIG = {
    "model_type": "qwen2",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 2000,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
}


def test_an_update_takes_what_is_estimated(make, tmp_path):
    sequences, length = 48, 128
    heap = {key: value for key, value in cpu_environment(tmp_path).items() if key.startswith("MALLOC_")}
    script = Path(__file__).with_name("step_on_cpu.py")
    done = subprocess.run(
        [sys.executable, script, json.dumps(CONFIG), str(sequences), str(length)],
        env={**os.environ, **heap},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    grown = int(done.stdout.splitlines()[-1])
    # The step has neither a reference policy, an engine nor the entropy that the recipe logs.
    less = {"has_reference": False, "rollout": None, "entropy": False, "train_tokens": sequences * length}
    run = make("tool_n1_grpo_cpu", **less, shape=read_shape(CONFIG, "m"))
    parts = cpu_run(run)
    assert grown == pytest.approx(sum(parts.values()) - parts["processes"], rel=AGREEMENT)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [16, 48])
def test_a_whole_run_takes_what_is_estimated(batch, tiny_model, tiny_data, tmp_path):
    """Two steps; run.json has the peak of all processes."""
    overrides = (f"data.train_batch_size={batch}", "trainer.total_training_steps=2", "trainer.test_freq=-1")
    files = {"model": str(tiny_model), "train_file": str(tiny_data / "train.parquet")}
    settings = Settings("tool_n1_grpo_cpu", (*overrides, "trainer.save_freq=2"), tmp_path, **files)
    arguments = [f"--run-dir={tmp_path}", f"--model={settings.model}", f"--train-file={settings.train_file}"]
    command = [sys.executable, "-m", "tooln1.cli", "train", settings.config, *settings.overrides, *arguments]
    subprocess.run(command, check=True, capture_output=True)
    estimate = sum(examine(settings)[1].phases["update"].values())
    measured = json.loads((tmp_path / "run.json").read_text())["peak_memory_gb"]
    assert estimate / 1e9 == pytest.approx(measured, rel=AGREEMENT)
