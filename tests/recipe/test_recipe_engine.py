"""verl with the recipe: the reward, verl's own command, and fused log-probabilities."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from tooln1.config import CONFIGS, compose

INPUTS = ["data.train_files=train.parquet", "data.val_files=test.parquet", "actor_rollout_ref.model.path=model"]


@pytest.mark.parametrize("preset", ["efficient", "paper"])
def test_verl_loads_the_reward_and_the_binary_score_trains(preset):
    from verl.trainer.ppo.reward import get_custom_reward_fn

    reward = get_custom_reward_fn(compose("tool_n1_grpo", [f"preset={preset}"]))
    call = '[{"name": "f", "arguments": {"a": 1}}]'
    right, wrong = f"<think>yes</think><tool_call>{call}</tool_call>", f"<tool_call>{call}</tool_call>"
    for response, score in ((right, 1.0), (wrong, 0.0)):
        result = reward(data_source="toolcall/xlam", solution_str=response, ground_truth=call, extra_info={"index": 0})
        assert result["score"] == result["acc"] == score


def test_fused_log_probs_equal_the_plain_ones(tiny_model, monkeypatch):
    """preset=efficient changes neither the log-probabilities nor their gradients."""
    import torch
    from transformers import AutoModelForCausalLM
    from verl.models.transformers.monkey_patch import apply_monkey_patch

    backend = compose("tool_n1_grpo").actor_rollout_ref.model.fused_kernel_options.impl_backend
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    # verl patches the class; monkeypatch undoes it.
    monkeypatch.setattr(type(model), "forward", type(model).forward)
    ids = torch.randint(model.config.vocab_size, (1, 700), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "position_ids": torch.arange(700)[None], "use_cache": False}

    def gradients(log_probs):
        model.zero_grad()
        log_probs.sum().backward()
        return [parameter.grad.clone() for parameter in model.parameters()]

    logits = model(**inputs).logits / 0.7
    plain = torch.log_softmax(logits, -1).gather(-1, torch.roll(ids, -1, 1)[..., None])[..., 0]
    plain_gradients = gradients(plain)
    apply_monkey_patch(
        model, use_remove_padding=False, ulysses_sp_size=1, use_fused_kernels=True, fused_kernels_backend=backend
    )
    fused = model(**inputs, temperature=0.7, return_dict=True).log_probs
    torch.testing.assert_close(fused, plain)
    torch.testing.assert_close(gradients(fused), plain_gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_verls_own_command_takes_the_recipe():
    command = [*(sys.executable, "-m", "verl.trainer.main_ppo"), "--config-path", str(CONFIGS), "--cfg", "job"]
    command += ["--config-name", "tool_n1_grpo", "rollout_engine=sglang", *INPUTS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert OmegaConf.create(done.stdout).actor_rollout_ref.rollout.name == "sglang"
