"""`tooln1 doctor` from outside: findings, tables and exit code, with nothing that a library prints in between."""

import os
import re
import subprocess
import sys

import pytest

from tooln1.doctor.main import doctor

LINE = re.compile(r"(ok|warning|fault) +\w+ +\S.*")


def run(*arguments):
    clean = {key: value for key, value in os.environ.items() if key not in ("VERL_PLATFORM", "RAY_ADDRESS")}
    return subprocess.run(
        [sys.executable, "-m", "tooln1.cli", "doctor", *arguments], env=clean, capture_output=True, text=True
    )


def test_a_good_run_is_called_good(tiny_model, tiny_data, tmp_path):
    done = run(
        "tool_n1_grpo_cpu",
        f"actor_rollout_ref.model.path={tiny_model}",
        f"data.train_files={tiny_data / 'train.parquet'}",
        f"data.val_files={tiny_data / 'test.parquet'}",
        f"trainer.default_local_dir={tmp_path / 'checkpoints'}",
        "trainer.total_training_steps=64",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    findings, facts, memory, closing = done.stdout.split("\n\n")
    assert all(LINE.fullmatch(line) for line in findings.splitlines())
    # 300 rows in batches of 16 of five replies each.
    for row in (r"sequences a step +80", r"steps an epoch +18", r"steps in total +64", r"checkpoints kept +2"):
        assert re.search(row, facts)
    assert memory.splitlines()[-1].startswith("total")
    assert closing.startswith("no faults")
    assert done.stderr == ""


def test_a_run_for_another_machine_can_be_planned_here(config_only, capsys):
    model = config_only("Qwen/Qwen2.5-7B-Instruct")
    overrides = [f"actor_rollout_ref.model.path={model}", "trainer.n_gpus_per_node=8", "trainer.nnodes=1"]
    assert doctor("tool_n1_grpo", overrides, gpus=8, gpu_memory=80) == 0
    said = capsys.readouterr().out
    # Of this machine's packages, and of files that are not here, there are warnings only.
    assert "warning  model      on this machine: " in said and "no faults" in said
    assert re.search(r"parameters +7,615,616,512", said)
    assert doctor("tool_n1_grpo", overrides, gpus=8, gpu_memory=16) == 2
    assert re.search(r"fault +memory +update: about ", capsys.readouterr().out)
    assert doctor("tool_n1_grpo", overrides, gpus=4, gpu_memory=80) == 2
    assert "trainer.n_gpus_per_node=8: 4 GPUs are there" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["tool_n1_sft", "tool_n1_sft_cpu"])
def test_supervised_fine_tuning_is_examined_too(recipe, tiny_model, tiny_data, tmp_path, capsys):
    overrides = [
        f"model.path={tiny_model}",
        f"data.train_files={tiny_data / 'sft.parquet'}",
        f"trainer.default_local_dir={tmp_path / 'sft'}",
        "data.train_batch_size=16",
    ]
    assert doctor(recipe, overrides, gpus=8, gpu_memory=80) == 0, capsys.readouterr().out
    wrong = [override for override in overrides if "train_files" not in override]
    path = f"data.train_files={tiny_data / 'train.parquet'}"
    doctor(recipe, [*wrong, path], gpus=8, gpu_memory=80)
    assert "column messages: missing; expected data.messages_key=messages" in capsys.readouterr().out


def test_a_key_that_only_verls_code_knows_is_no_fault(config_only, capsys):
    # verl/trainer/ppo/reward.py reads reward_kwargs; no file of verl's has it.
    model = config_only("Qwen/Qwen3-0.6B")
    variant = "+reward.custom_reward_function.reward_kwargs={variant: binary_no_reason}"
    assert doctor("tool_n1_grpo", [f"actor_rollout_ref.model.path={model}", variant], gpus=8, gpu_memory=80) == 0
    assert "reward_kwargs" not in capsys.readouterr().out
