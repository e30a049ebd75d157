"""The arithmetic that the planted faults leave out: micro-batches, sequence parallelism, heads, numbers."""

import re

import pytest

from tooln1.checks.arithmetic import ACTOR, REFERENCE, ROLLOUT, check_arithmetic, check_model_sizes
from tooln1.checks.findings import FAULT
from tooln1.errors import UserError

BATCH = {"data.train_batch_size": 64}  # on the eight GPUs of the recipe
STATIC = {
    f"{ACTOR}.use_dynamic_bsz": False,
    f"{ACTOR}.ppo_micro_batch_size_per_gpu": 4,
    f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": 8,
    f"{REFERENCE}.log_prob_micro_batch_size_per_gpu": 8,
}


def faults(check, run):
    return [finding.message for finding in check(run) if finding.severity == FAULT]


@pytest.mark.parametrize(
    "changes, expected",
    [
        (STATIC, []),  # 64 × 5 sequences over 8 ranks: 40 for each
        (
            {**STATIC, f"{ACTOR}.ppo_micro_batch_size_per_gpu": 3},
            [r"=3: does not divide the 40 .*take one of 1, 2, 4, 5, 8"],
        ),
        (
            {**STATIC, f"{REFERENCE}.log_prob_micro_batch_size_per_gpu": None},
            [r"ref\.log_prob_micro\S+=null: expected"],
        ),
        ({f"{ACTOR}.ulysses_sequence_parallel_size": 2}, []),
        ({f"{ACTOR}.ulysses_sequence_parallel_size": 3}, [r"sequence_parallel_size=3: does not divide 8 GPUs"]),
        # Two GPUs share a sequence, so half of its tokens are enough for each.
        ({f"{ACTOR}.ulysses_sequence_parallel_size": 2, f"{ACTOR}.ppo_max_token_len_per_gpu": 6144}, []),
        ({f"{ACTOR}.ppo_max_token_len_per_gpu": 6144}, [r"len_per_gpu=6144: .* raise it to 12288"] * 3),
        ({f"{ACTOR}.ppo_mini_batch_size": 128}, [r"=128: more than data\.train_batch_size=64; .* lower it to 64"]),
        ({"trainer.save_freq": -1}, [r"save_freq=-1: no checkpoint would be written"]),
        ({f"{ROLLOUT}.n": 1}, [r"rollout\.n=1: GRPO compares the responses"]),
        ({"actor_rollout_ref.model.lora_rank": 1024}, [r"lora_rank=1024: vLLM takes at most 512"]),
    ],
)
def test_what_does_not_add_up_is_a_fault(changes, expected, make):
    found = faults(check_arithmetic, make(changes=BATCH | changes))
    assert len(found) == len(expected), found
    assert all(re.search(one, line) for one, line in zip(expected, found, strict=True))


@pytest.mark.parametrize(
    "size, expected",
    [
        (1, []),
        (4, []),
        (7, [r"neither divides the model's 4 key-value heads nor is a multiple"]),  # though it divides the 28 heads
        (8, [r"does not divide the model's 28 heads; take one of 1, 2, 4, 7, 14"]),
        (14, [r"neither divides the model's 4 key-value heads"]),
    ],
)
def test_tensor_parallel_ranks_share_the_heads(size, expected, make, shape_of):
    run = make(tensor_parallel=size, shape=shape_of("Qwen/Qwen2.5-7B-Instruct"))
    found = faults(check_model_sizes, run)
    assert len(found) == len(expected) and all(map(re.search, expected, found))


@pytest.mark.parametrize(
    "key", [f"{ROLLOUT}.n", "data.max_prompt_length", "trainer.total_training_steps", "data.train_batch_size"]
)
def test_what_must_be_a_number_is_named(key, make):
    with pytest.raises(UserError, match=rf"{re.escape(key)}=many: expected a whole number, 1 or more"):
        make(changes={key: "many"})


def test_sft_is_a_run_without_rollouts(make):
    run = make("tool_n1_sft", BATCH)
    assert (run.rollout, run.responses, run.has_reference, run.prompts) == (None, 1, False, 64)
    assert faults(check_arithmetic, run) == []
