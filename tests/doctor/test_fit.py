"""What does not fit is named with its largest part and a setting; the recipes' own machines are large enough."""

import dataclasses
import re

import pytest

from tooln1.doctor.checkpoints import checkpoint_bytes, kept_checkpoints
from tooln1.doctor.findings import Findings
from tooln1.doctor.fit import check_fit
from tooln1.doctor.host import with_mean_prompt
from tooln1.doctor.machine import planned_machine


@pytest.fixture
def lines(make, shape_of):
    """The faults and warnings of a model on a machine."""

    def check(name, machine, *overrides, **changes):
        findings, plan = Findings(planning=True), make("tool_n1_grpo", *overrides, **changes)
        check_fit(findings, shape_of(name), plan, machine, mean_prompt=None, flash_attention=True)
        return [item.text for item in findings.faults + findings.warnings]

    return check


SEVEN, FOURTEEN = "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-14B-Instruct"


@pytest.mark.parametrize("name", [SEVEN, FOURTEEN])
def test_the_recipes_fit_on_a_node_of_eight_large_gpus(name, lines):
    assert lines(name, planned_machine(8, 80), "trainer.n_gpus_per_node=8", "trainer.nnodes=1") == []


@pytest.mark.parametrize(
    "name, gpus, gib, overrides, changes, expected",
    [
        (SEVEN, 8, 24, [], {}, r"update: about .* largest part is activations .*: lower actor\.ppo_max_token_len"),
        (SEVEN, 2, 80, [], {}, r"update: about .* largest part is optimizer .*: more GPUs, or LoRA"),
        (SEVEN, 8, 48, [], {"fused": False}, r"update: .* logits .*: model\.use_fused_kernels=true"),
        (SEVEN, 8, 80, [], {"checkpointing": False}, r"activations .*: model\.enable_gradient_checkpointing=true"),
        (SEVEN, 8, 80, ["actor_rollout_ref.rollout.gpu_memory_utilization=0.95"], {}, r"generation: .* engine's share"),
        (
            SEVEN,
            8,
            80,
            ["actor_rollout_ref.rollout.gpu_memory_utilization=0.1"],
            {},
            r"KV cache: .* raise rollout\.gpu",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_change(name, gpus, gib, overrides, changes, expected, lines):
    sizes = [f"trainer.n_gpus_per_node={gpus}", "trainer.nnodes=1"]
    found = lines(name, planned_machine(gpus, gib), *sizes, *overrides, **changes)
    assert [line for line in found if re.search(expected, line)], found


def test_a_cache_for_the_prompts_but_not_for_the_models_whole_length(lines):
    # Between the 12,288 tokens of a sequence and the 32,768 that the model could read, for which vLLM wants room.
    share = "actor_rollout_ref.rollout.gpu_memory_utilization=0.15"
    found = lines(SEVEN, planned_machine(8, 80), share, "actor_rollout_ref.rollout.tensor_model_parallel_size=2")
    assert [line for line in found if line.startswith("KV cache: ")] != []


def test_an_average_prompt_counts_only_where_the_batch_does_not_fill_the_budget(make):
    plan = make(mini_batch=8, replies=2, nodes=1, gpus_per_node=1, train_tokens=10_000, log_prob_tokens=500)
    small = with_mean_prompt(dataclasses.replace(plan, prompt_length=300, response_length=100), 50.0)
    assert (small.train_tokens, small.log_prob_tokens) == (16 * 150, 500)
    assert with_mean_prompt(plan, None) is plan


def test_a_checkpoint_holds_weights_and_moments_of_every_copy(make, shape_of):
    shape = shape_of(SEVEN)
    plan = make(nodes=1, gpus_per_node=8, shard=8, save_contents=("model", "optimizer", "extra"))
    assert checkpoint_bytes(shape, plan) == shape.parameters * (4 + 8)
    assert checkpoint_bytes(shape, dataclasses.replace(plan, shard=4)) == 2 * shape.parameters * (4 + 8)
    assert checkpoint_bytes(shape, dataclasses.replace(plan, save_contents=("hf_model",))) == shape.parameters * 2


@pytest.mark.parametrize(
    "save_every, keep, steps, expected",
    [
        (10, None, 145, 15),  # 14 times ten steps, and the last
        (10, 2, 145, 2),
        (10, 1, 145, 2),  # the old one goes after the new one is there
        (100, 3, 145, 2),
        (10, None, None, None),
        (-1, None, 145, 0),
    ],
)
def test_how_many_checkpoints_lie_there(save_every, keep, steps, expected, make):
    assert kept_checkpoints(make(save_every=save_every, keep=keep), steps) == expected
