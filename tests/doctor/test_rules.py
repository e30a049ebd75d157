"""The arithmetic that the planted faults leave out: micro-batches of sequences, sequence parallelism, heads."""

import re

import pytest

from tooln1.config import compose
from tooln1.doctor.findings import Findings
from tooln1.doctor.plan import make_plan
from tooln1.doctor.rules import check_heads, check_rules
from tooln1.errors import UserError

ACTOR, ROLLOUT, REFERENCE = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.ref"
NODE = ["trainer.nnodes=1", "trainer.n_gpus_per_node=8", "data.train_batch_size=64"]
STATIC = [
    f"{ACTOR}.use_dynamic_bsz=false",
    f"{ACTOR}.ppo_micro_batch_size_per_gpu=4",
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=8",
    f"{REFERENCE}.log_prob_micro_batch_size_per_gpu=8",
]


def faults(*overrides):
    config, findings = compose("tool_n1_grpo", [*NODE, *overrides]), Findings()
    check_rules(findings, config, make_plan(config))
    return [item.text for item in findings.faults]


@pytest.mark.parametrize(
    "overrides, expected",
    [
        (STATIC, None),  # 64 × 5 sequences over 8 ranks: 40 for each
        (
            [*STATIC, f"{ACTOR}.ppo_micro_batch_size_per_gpu=3"],
            r"=3: does not divide the 40 .*take one of 1, 2, 4, 5, 8",
        ),
        (
            [*STATIC[:3], f"{REFERENCE}.log_prob_micro_batch_size_per_gpu=null"],
            r"ref\.log_prob_micro\S+=null: expected",
        ),
        ([f"{ACTOR}.ulysses_sequence_parallel_size=2"], None),
        ([f"{ACTOR}.ulysses_sequence_parallel_size=3"], r"sequence_parallel_size=3: does not divide 8 GPUs"),
        # Two GPUs share a sequence, so half of its tokens are enough for each.
        ([f"{ACTOR}.ulysses_sequence_parallel_size=2", f"{ACTOR}.ppo_max_token_len_per_gpu=6144"], None),
        ([f"{ACTOR}.ppo_max_token_len_per_gpu=6144"], r"ppo_max_token_len_per_gpu=6144: .* raise it to 12288"),
        ([f"{ACTOR}.ppo_mini_batch_size=128"], r"=128: more than data\.train_batch_size=64; .* lower it to 64"),
        ([f"{ROLLOUT}.n=1"], r"rollout\.n=1: GRPO compares the replies"),
        (["actor_rollout_ref.model.lora_rank=1024"], r"lora_rank=1024: vLLM takes at most 512"),
    ],
)
def test_what_does_not_add_up_is_a_fault(overrides, expected):
    found = faults(*overrides)
    if expected is None:
        assert found == []
    else:
        assert found and all(re.search(expected, line) or "max_token_len" in line for line in found)
        assert any(re.search(expected, line) for line in found)


@pytest.mark.parametrize(
    "size, expected",
    [
        (1, None),
        (4, None),
        (7, r"neither divides the model's 4 key-value heads nor is a multiple"),  # though it divides the 28 heads
        (8, r"does not divide the model's 28 heads; take one of 1, 2, 4, 7, 14"),
        (14, r"neither divides the model's 4 key-value heads"),
    ],
)
def test_heads_are_shared_out_among_tensor_parallel_ranks(size, expected, make, shape_of):
    findings = Findings()
    plan = make("tool_n1_grpo", f"{ROLLOUT}.tensor_model_parallel_size={size}")
    check_heads(findings, shape_of("Qwen/Qwen2.5-7B-Instruct"), plan)
    found = [item.text for item in findings.faults]
    assert (found == []) if expected is None else re.search(expected, found[0])


def test_supervised_fine_tuning_has_a_plan_too():
    plan = make_plan(compose("tool_n1_sft", ["trainer.n_gpus_per_node=8", "data.train_batch_size=64"]))
    assert (plan.rollout, plan.replies, plan.has_reference, plan.prompts) == (None, 1, False, 64)


@pytest.mark.parametrize("key, value", [(f"{ROLLOUT}.n", "many"), ("data.max_prompt_length", "null")])
def test_a_number_that_is_none_is_named(key, value):
    with pytest.raises(UserError, match=rf"{re.escape(key)}=\S+: expected a whole number"):
        make_plan(compose("tool_n1_grpo", [f"{key}={value}"]))
