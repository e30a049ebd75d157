"""The quick checks of `tooln1 train`: faults are raised, warnings are returned, and nothing heavy is imported."""

import os
import subprocess
import sys

import pytest

from tooln1.checks import QUICK, UpcomingRun, refuse_faults
from tooln1.errors import UserError
from tooln1.settings import Settings


def refuse(settings):
    return refuse_faults(UpcomingRun(settings), QUICK)


@pytest.fixture
def settings(model, parquet, tmp_path):
    files = {name: str(parquet(f"{name}.parquet", [5] * 20)) for name in ("train", "test")}

    def build(*overrides, config="tool_n1_grpo_cpu", **inputs):
        inputs = {"model": str(model), "train_file": files["train"], "val_file": files["test"]} | inputs
        return Settings(config, overrides, tmp_path / "run", **inputs)

    return build


@pytest.mark.cpu_engine
def test_every_fault_is_named_on_a_line_of_its_own(settings):
    with pytest.raises(UserError) as error:
        refuse(settings("data.train_batch_size=21", model=None))
    model, rows = str(error.value).split("\n")
    assert model.startswith("actor_rollout_ref.model.path: missing; set --model")
    assert rows.startswith("data.train_files: 20 rows, fewer than the data.train_batch_size=21 of one batch")


def test_a_run_on_gpus_is_not_held_up_by_the_machine_it_is_started_from(settings):
    # No GPU, another engine's packages: the doctor's matter. A run may be started from a machine without GPUs.
    lengths = ["data.max_prompt_length=100", "data.max_response_length=100", "data.train_batch_size=16"]
    ours = settings(*lengths, "trainer.test_freq=15", "trainer.save_freq=10", config="tool_n1_grpo")
    (warning,) = refuse(ours)
    assert warning.startswith("trainer.test_freq=15: no multiple of trainer.save_freq=10")


def test_sft_needs_conversations(settings):
    with pytest.raises(
        UserError, match=r"train\.parquet: column messages: missing; expected messages, found data_source"
    ):
        refuse(settings("data.train_batch_size=16", "data.max_length=100", config="tool_n1_sft", val_file=None))


@pytest.mark.cpu_engine
def test_nothing_heavy_is_imported(settings):
    # With the variable set, importing the CPU platform would import torch.
    ours = settings()
    code = f"""
import sys
from tooln1.checks import QUICK, UpcomingRun, refuse_faults
from tooln1.settings import Settings
ours = Settings({ours.config!r}, (), {str(ours.run_dir)!r}, {ours.model!r}, {ours.train_file!r})
found = refuse_faults(UpcomingRun(ours), QUICK)
assert found == [], found
heavy = {{"torch", "verl", "vllm", "ray", "transformers"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "VERL_PLATFORM": "cpu"}, check=True)
