"""`tooln1 doctor` from outside: findings, tables and exit code, with nothing that a library prints in between."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from published_models import MODELS

from tooln1.checks import doctor
from tooln1.settings import Settings

LINE = re.compile(r"(ok|warning|fault) +\w+ +\S.*")


@pytest.fixture
def seven(tmp_path):
    """A folder with the config.json of a published model of seven billion parameters, and nothing else."""
    (tmp_path / "7b").mkdir()
    (tmp_path / "7b" / "config.json").write_text(json.dumps(MODELS["Qwen/Qwen2.5-7B-Instruct"][0]))
    return str(tmp_path / "7b")


def start(*arguments):
    clean = {key: value for key, value in os.environ.items() if key not in ("VERL_PLATFORM", "RAY_ADDRESS")}
    command = [sys.executable, "-m", "tooln1.cli", "doctor", *map(str, arguments)]
    return subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.cpu_engine
def test_a_good_run_is_called_good(tiny_model, tiny_data, tmp_path):
    run = ["--run-dir", tmp_path / "a run", "--model", tiny_model, "--train-file", tiny_data / "train.parquet"]
    process = start("tool_n1_grpo_cpu", *run, "trainer.total_training_steps=64")
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stdout + stderr
    findings, facts, memory, closing = stdout.split("\n\n")
    assert all(LINE.fullmatch(line) for line in findings.splitlines())
    # 300 rows in batches of 16 of five responses each.
    for row in (r"sequences a step +80", r"steps an epoch +18", r"steps in total +64", r"checkpoints kept +3"):
        assert re.search(row, facts)
    assert memory.splitlines()[-1].startswith("total")
    assert closing.startswith("no faults")
    assert stderr == ""


def test_ctrl_c_ends_it_with_one_line(seven):
    process = start("tool_n1_grpo", "--model", seven, "--gpus", "8")
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():  # imported with verl
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stdout, stderr) == (130, "", "interrupted\n")


def test_a_run_for_another_machine_can_be_planned_here(seven, tmp_path, capsys):
    settings = Settings("tool_n1_grpo", (), tmp_path / "run", model=seven)
    assert doctor(settings, gpus=8, gpu_memory=80) == 0
    said = capsys.readouterr().out
    # This machine's packages, and files that are not here, are warnings only.
    assert "warning  model      on this machine: " in said and "no faults" in said
    assert re.search(r"parameters +7,615,616,512", said)
    assert doctor(settings, gpus=8, gpu_memory=16) == 2
    assert re.search(r"fault +memory +update: about ", capsys.readouterr().out)
    assert doctor(settings, gpus=4, gpu_memory=80) == 2
    assert "trainer.n_gpus_per_node=8: 4 GPUs are there" in capsys.readouterr().out


@pytest.mark.parametrize("recipe", ["tool_n1_sft", pytest.param("tool_n1_sft_cpu", marks=pytest.mark.cpu_engine)])
def test_sft_is_checked_too(recipe, tiny_model, tiny_data, tmp_path, capsys):
    files = {"model": str(tiny_model), "train_file": str(tiny_data / "sft.parquet")}
    settings = Settings(recipe, ("data.train_batch_size=16", "data.max_length=512"), tmp_path / "sft", **files)
    assert doctor(settings, gpus=8, gpu_memory=80) == 0, capsys.readouterr().out


def test_a_key_that_only_verls_code_knows_is_no_fault(seven, tmp_path, capsys):
    # verl/trainer/ppo/reward.py reads reward_kwargs; no file of verl's has it.
    variant = "+reward.custom_reward_function.reward_kwargs={variant: binary_no_reason}"
    assert doctor(Settings("tool_n1_grpo", (variant,), tmp_path / "run", model=seven), gpus=8, gpu_memory=80) == 0
    assert "reward_kwargs" not in capsys.readouterr().out
