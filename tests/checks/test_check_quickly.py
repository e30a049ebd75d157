"""`check_quickly`: the first fault is raised, warnings are returned, and nothing heavy is imported."""

import os
import subprocess
import sys

import pytest

from tooln1.checks import check_quickly
from tooln1.errors import UserError
from tooln1.settings import Settings


@pytest.fixture
def settings(model, parquet, tmp_path):
    files = {name: str(parquet(f"{name}.parquet", [5] * 20)) for name in ("train", "test")}

    def build(*overrides, config="tool_n1_grpo_cpu", **inputs):
        inputs = {"model": str(model), "train_file": files["train"], "val_file": files["test"]} | inputs
        return Settings(config, overrides, tmp_path / "run", **inputs)

    return build


@pytest.mark.parametrize(
    "overrides, inputs, expected",
    [
        ([], {"model": None}, r"actor_rollout_ref\.model\.path: missing; set --model"),
        (["data.train_batch_size=21"], {}, r"data\.train_files: 20 rows, fewer than .*=21 of one batch"),
    ],
)
def test_the_first_fault_is_one_line_before_the_tokenizer_starts(overrides, inputs, expected, settings, monkeypatch):
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("too early"))
    with pytest.raises(UserError, match=expected) as error:
        check_quickly(settings(*overrides, **inputs))
    assert "\n" not in str(error.value)


def test_a_run_on_gpus_is_not_held_up_by_the_machine_it_is_started_from(settings):
    # No GPU, another engine's packages: the doctor's matter. A run may be started from a machine without GPUs.
    lengths = ["data.max_prompt_length=100", "data.max_response_length=100", "data.train_batch_size=16"]
    ours = settings(*lengths, "trainer.test_freq=15", "trainer.save_freq=10", config="tool_n1_grpo")
    (warning,) = check_quickly(ours)
    assert warning.startswith("trainer.test_freq=15: no multiple of trainer.save_freq=10")


def test_sft_needs_conversations(settings):
    with pytest.raises(UserError, match=r"train\.parquet: column messages: missing; expected data\.messages_key"):
        check_quickly(settings("data.train_batch_size=16", "data.max_length=100", config="tool_n1_sft", val_file=None))


@pytest.mark.cpu_engine
def test_nothing_heavy_is_imported(settings):
    # With the variable set, importing the CPU platform would import torch.
    ours = settings()
    code = f"""
import sys
from tooln1.checks import check_quickly
from tooln1.settings import Settings
found = check_quickly(Settings({ours.config!r}, (), {str(ours.run_dir)!r}, {ours.model!r}, {ours.train_file!r}))
assert found == [], found
heavy = {{"torch", "verl", "vllm", "ray", "transformers"}} & set(sys.modules)
sys.exit(f"imported: {{heavy}}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "VERL_PLATFORM": "cpu"}, check=True)
