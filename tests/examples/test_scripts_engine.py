"""What the scripts of examples/ launch composes, verl accepts it, and it has the paper's settings."""

import pytest
import yaml
from example_scripts import TRAINING, launched
from omegaconf import OmegaConf

from tooln1.cli import main

# DESIGN.md's settings of the paper, which no machine, model or variant may change.
PAPER = """
data: {train_batch_size: 1024, max_prompt_length: 4096, max_response_length: 8192}
algorithm: {adv_estimator: grpo, use_kl_in_reward: false}
actor_rollout_ref:
  model: {enable_gradient_checkpointing: true, use_remove_padding: true, use_fused_kernels: false}
  actor:
    optim: {lr: 1e-6}
    use_kl_loss: true
    kl_loss_coef: 0.001
    kl_loss_type: low_var_kl
    entropy_coeff: 0
    ppo_mini_batch_size: 256
    use_dynamic_bsz: true
    ppo_max_token_len_per_gpu: 30720
    strategy: fsdp
    fsdp_config: {strategy: fsdp, param_offload: false, optimizer_offload: false}
  ref:
    fsdp_config: {strategy: fsdp, param_offload: true}
  rollout:
    name: vllm
    n: 5
    temperature: 0.7
    tensor_model_parallel_size: 2
    gpu_memory_utilization: 0.6
    enable_prefix_caching: false
    enforce_eager: true
reward: {custom_reward_function: {path: pkg://tooln1.reward_score.toolcall_paper}}
trainer: {total_epochs: 7, save_freq: 10, test_freq: 10, n_gpus_per_node: 8}
"""

# What a script must change: for a model that reads less, for adapters, and for fewer and smaller GPUs.
OFFLOADED = "{actor_rollout_ref: {actor: {fsdp_config: {param_offload: true, optimizer_offload: true}}}}"
ADAPTERS = "{actor_rollout_ref: {actor: {optim: {lr: 1e-5}}}}"
CHANGED = {
    "run_llama_grpo.sh": ["{data: {max_response_length: 4096}}"],
    "run_qwen14b_grpo.sh": [OFFLOADED],
    "run_qwen7b_lora_1gpu.sh": [
        *(OFFLOADED, ADAPTERS),
        "{actor_rollout_ref: {rollout: {tensor_model_parallel_size: 1}}, trainer: {n_gpus_per_node: 1}}",
    ],
    "run_qwen7b_lora_2x24gb.sh": [
        *(OFFLOADED, ADAPTERS),
        "{actor_rollout_ref: {actor: {strategy: fsdp2, fsdp_config: {strategy: fsdp2}}}}",
        "{actor_rollout_ref: {ref: {fsdp_config: {strategy: fsdp2}}}, trainer: {n_gpus_per_node: 2}}",
        "{actor_rollout_ref: {actor: {ppo_max_token_len_per_gpu: 12288}}}",
    ],
}


@pytest.fixture
def dry_run(tmp_path, capsys):
    """Runs a script's `tooln1 train --dry-run …` in this process, and returns the configurations that it prints."""

    def run(script, **variables):
        configs = []
        for arguments in launched(tmp_path, script, DRY_RUN=1, **variables):
            main(arguments)
            configs.append(OmegaConf.create(yaml.safe_load(capsys.readouterr().out)))
        return configs

    return run


@pytest.mark.parametrize("script", TRAINING, ids=str)
def test_verl_accepts_every_script_with_the_papers_settings(script, dry_run):
    *sft, config = dry_run(script, PAPER=1)
    assert [first.trainer.experiment_name for first in sft] == ["table3_sft_half"] * ("then_rl" in script.name)
    if "actor_rollout_ref" not in config:
        assert config.checkpoint.save_contents[-1] == "hf_model"  # GRPO starts from it
        return
    expected = OmegaConf.merge(config, *map(OmegaConf.create, [PAPER, *CHANGED.get(script.name, [])]))
    assert OmegaConf.to_yaml(config) == OmegaConf.to_yaml(expected)


@pytest.mark.parametrize("variables", [{}, {"ENGINE": "sglang"}, {"PLATFORM": "cpu"}], ids=str)
def test_verl_accepts_the_other_choices(variables, dry_run):
    (config,) = dry_run("run_qwen7b_lora_2x24gb.sh", **variables)
    assert config.actor_rollout_ref.rollout.name == variables.get("ENGINE", "vllm")
    assert config.trainer.device == variables.get("PLATFORM", "cuda")
