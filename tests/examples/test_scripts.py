"""Every script of examples/, found and not listed: what it starts composes, and verl accepts it.

Most tests put a stand-in for `tooln1` on PATH and compose what the script asks for in this process, with the launcher's
own code; a dry run of each script by itself takes seconds and is slow in sum. What really training looks like is in
test_real_runs.py.
"""

import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from example_scripts import EXAMPLES, ROOT, SHELL, TRAINING
from omegaconf import OmegaConf

from tooln1.config import validate
from tooln1.settings import Settings

# DESIGN.md's settings of the paper that no machine, model or variant may change.
PAPER = {
    "data.train_batch_size": 1024,
    "data.max_prompt_length": 4096,
    "data.max_response_length": 8192,
    "algorithm.adv_estimator": "grpo",
    "algorithm.use_kl_in_reward": False,
    "actor_rollout_ref.actor.optim.lr": 1e-6,
    "actor_rollout_ref.actor.use_kl_loss": True,
    "actor_rollout_ref.actor.kl_loss_coef": 0.001,
    "actor_rollout_ref.actor.kl_loss_type": "low_var_kl",
    "actor_rollout_ref.actor.entropy_coeff": 0,
    "actor_rollout_ref.actor.use_dynamic_bsz": True,
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": 30720,
    "actor_rollout_ref.actor.strategy": "fsdp",
    "actor_rollout_ref.model.enable_gradient_checkpointing": True,
    "actor_rollout_ref.model.use_remove_padding": True,
    "actor_rollout_ref.model.use_fused_kernels": False,
    "actor_rollout_ref.ref.fsdp_config.param_offload": True,
    "actor_rollout_ref.rollout.name": "vllm",
    "actor_rollout_ref.rollout.n": 5,
    "actor_rollout_ref.rollout.temperature": 0.7,
    "actor_rollout_ref.rollout.tensor_model_parallel_size": 2,
    "actor_rollout_ref.rollout.gpu_memory_utilization": 0.6,
    "actor_rollout_ref.rollout.enable_prefix_caching": False,
    "actor_rollout_ref.rollout.enforce_eager": True,
    "reward.custom_reward_function.path": "pkg://tooln1.reward_score.toolcall_paper",
    "trainer.total_epochs": 7,
    "trainer.save_freq": 10,
    "trainer.test_freq": 10,
    "trainer.n_gpus_per_node": 8,
}

# What a script must change, and only it: a model that reads less, adapters, fewer and smaller GPUs.
LORA = {"actor_rollout_ref.actor.optim.lr": 1e-5}
CHANGED = {
    "run_llama_grpo.sh": {"data.max_response_length": 4096},
    "run_qwen7b_lora_1gpu.sh": {
        **LORA,
        "trainer.n_gpus_per_node": 1,
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
    },
    "run_qwen7b_lora_2x24gb.sh": {
        **LORA,
        "trainer.n_gpus_per_node": 2,
        "actor_rollout_ref.actor.strategy": "fsdp2",
        "actor_rollout_ref.actor.ppo_max_token_len_per_gpu": 12288,
    },
}


def composed(command, **environ):
    """What the launcher makes of a script's call."""
    return Settings(command.config, command.overrides, {**command.environ, **environ}).composed


def different(calls):
    """Those of a script's calls that differ in more than names, model and data; composing one takes a second."""
    names = ("trainer.experiment_name=", "++reward.custom_reward_function.reward_kwargs.variant=")
    kinds = {(c.config, *(text for text in c.overrides if not text.startswith(names))): c for c in calls}
    return list(kinds.values())


# The variable of a script that trains several models, and what it holds by default.
LOOP = re.compile(r"\$\{(SIZES|VERSIONS|VARIANTS|MIXTURES):-([^}]*)\}")


@pytest.fixture(scope="module")
def commands(commands_of):
    """All calls of a script, each script being run once; a dry run of a loop makes its first only, so word by word."""

    @cache
    def calls(script):
        loop = LOOP.search((EXAMPLES / script).read_text())
        words = [{loop[1]: word} for word in loop[2].split()] if loop else [{}]
        return [call for word in words for call in commands_of(script, **word)]

    return calls


def test_every_script_is_of_a_kind_that_is_tested_here():
    others = [path for path in SHELL if path.relative_to(EXAMPLES) not in TRAINING and path.name != "common.sh"]
    assert len(TRAINING) >= 16
    assert not [path for path in others if "tooln1 train" in path.read_text()]


@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_a_script_is_clean_and_says_how_to_start_it(script):
    checker = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if checker is None:
        pytest.skip("shellcheck is not installed (it comes with the extra [dev])")
    command = [checker, "--external-sources", "--source-path=SCRIPTDIR", f"--source-path={ROOT}", str(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", TRAINING, ids=str)
def test_a_training_script_is_short_strict_and_says_what_it_costs(script):
    lines = (EXAMPLES / script).read_text().splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    assert len(lines) < 40
    assert f"examples/{script}" in header
    for word in ("Model", "Hardware:", "Time:", "estimated"):
        assert word in header
    assert "set -euo pipefail" in lines
    assert '"$@"' in "\n".join(line for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("script", TRAINING, ids=str)
def test_verl_accepts_what_a_script_starts(script, commands, tiny_model):
    for call in different(commands(script)):
        config = composed(call, MODEL_PATH=str(tiny_model))
        validate(config)
        assert config.data.train_files == call.environ["TRAIN_FILE"]
        assert config.trainer.default_local_dir == f"{call.environ['RUN_DIR']}/checkpoints"


@pytest.mark.parametrize("script", TRAINING, ids=str)
def test_every_run_has_a_folder_and_a_name_of_its_own(script, commands):
    calls = commands(script)
    folders = {Path(call.environ["RUN_DIR"]) for call in calls}
    names = {text for call in calls for text in call.overrides if text.startswith("trainer.experiment_name=")}
    assert len(folders) == len(names) == len(calls) > 0
    assert all(ROOT / "runs" in folder.parents for folder in folders)


@pytest.mark.parametrize("script", TRAINING, ids=str)
def test_the_papers_settings_hold_under_the_papers_switch(script, commands):
    for call in different(commands(script)):
        if call.config != "tool_n1_grpo":
            continue
        config = composed(call, PAPER="1")
        expected = {**PAPER, **CHANGED.get(script.name, {})}
        assert {key: OmegaConf.select(config, key) for key in expected} == expected


def test_the_arguments_of_a_script_come_last_and_as_they_are(commands_of):
    for script in TRAINING:
        words = ["trainer.save_freq=3", "trainer.project_name='two words'"]
        assert list(commands_of(script, *words)[-1].overrides[-2:]) == words


def test_the_environment_chooses_model_files_and_folder(commands_of, tmp_path):
    mine = {"MODEL_PATH": "me/mine", "TRAIN_FILE": str(tmp_path / "t.parquet"), "RUN_DIR": str(tmp_path / "run")}
    (call,) = commands_of("run_qwen7b_grpo.sh", **mine)
    assert {key: call.environ[key] for key in mine} == mine
    assert call.environ["VAL_FILE"] == str(tmp_path / "test.parquet")


@pytest.mark.parametrize(
    "script, models",
    [
        ("run_qwen7b_grpo.sh", ["Qwen/Qwen2.5-7B-Instruct"]),
        ("run_qwen14b_grpo.sh", ["Qwen/Qwen2.5-14B-Instruct"]),
        ("run_qwen7b_grpo_4nodes.sh", ["Qwen/Qwen2.5-7B-Instruct"]),
        ("run_qwen14b_grpo_4nodes.sh", ["Qwen/Qwen2.5-14B-Instruct"]),
        ("run_qwen_scaling.sh", [f"Qwen/Qwen2.5-{size}-Instruct" for size in ("0.5B", "1.5B", "3B", "7B", "14B")]),
        ("run_llama_grpo.sh", ["meta-llama/Meta-Llama-3-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"]),
    ],
)
def test_the_models_are_the_papers(script, models, commands):
    assert [call.environ["MODEL_PATH"] for call in commands(Path(script))] == models


def test_the_four_rewards_are_those_of_the_scorer(commands):
    from tooln1.reward_score.toolcall import compute_score

    calls = commands(Path("ablations/table4_rewards.sh"))
    variants = [composed(call).reward.custom_reward_function.reward_kwargs.variant for call in calls]
    assert len(set(variants)) == 4
    call = '[{"name": "f", "arguments": {}}]'
    scores = {variant: compute_score("x", "<think>so</think>", call, variant=variant)["score"] for variant in variants}
    assert scores == {"binary": 0, "binary_no_reason": 0, "partial_reason": 0.2, "partial_reason_name": 0.2}


@pytest.mark.parametrize("script", TRAINING, ids=str)
def test_missing_data_is_one_line_and_exit_code_2(script, run_script, tmp_path):
    missing = tmp_path / "train.parquet"
    done = run_script(script, TRAIN_FILE=missing, SFT_TRAIN_FILE=missing, RUN_DIR=tmp_path / "run")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{missing}: no such file" in line and "prepare_data.sh" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "script, settings, expected",
    [
        ("run_llama_grpo.sh", {"VERSIONS": "2"}, "VERSIONS=2: expected 3 or 3.1"),
        ("prepare_data.sh", {}, "expected one argument"),
        ("slurm/ray_cluster.sbatch", {}, "expected a script to run"),
    ],
)
def test_a_wrong_call_is_one_line_and_exit_code_2(script, settings, expected, run_script):
    done = run_script(script, **settings)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert expected in line


def test_without_the_environment_a_script_says_so(run_script):
    done = run_script("run_qwen7b_grpo.sh", PATH="/usr/bin:/bin")
    assert done.returncode == 2 and "tooln1 is not on PATH" in done.stderr


# The others take some seconds each, and compose the same above.
DRY_RUNS = [
    pytest.param(path, marks=[] if path.name == "run_qwen7b_grpo.sh" else pytest.mark.slow, id=str(path))
    for path in TRAINING
]


@pytest.mark.parametrize("script", DRY_RUNS)
def test_a_dry_run_prints_the_settings_and_starts_nothing(script, run_script, tmp_path):
    done = run_script(script, "trainer.save_freq=3", DRY_RUN=1, RUN_DIR=tmp_path / "run", timeout=600)
    assert done.returncode == 0, done.stderr
    assert "  save_freq: 3\n" in done.stdout
    assert list(tmp_path.iterdir()) == []
