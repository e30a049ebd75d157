#!/usr/bin/env bash
# Table 4 of the paper: the same GRPO with each of the four rewards, one after the other.
#
#   bash examples/prepare_data.sh about-21k
#   bash examples/ablations/table4_rewards.sh [HYDRA_OVERRIDES]
#
# Rewards:  partial_reason, partial_reason_name, binary_no_reason, binary (docs/reward.md); VARIANTS="…" selects some
# Model:    Qwen/Qwen2.5-7B-Instruct
# Hardware: 8 GPUs of 80 GB, as for examples/run_qwen7b_grpo.sh
# Time:     about 9 hours each on H100s (estimated: docs/reproduce.md says how)
# Each validation logs the variant's score, which trains the run, and acc, the binary reward, which compares the four.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../common.sh"

kwargs=reward.custom_reward_function.reward_kwargs
train() {
  local variant="$1"
  use Qwen/Qwen2.5-7B-Instruct about-21k table4
  RUN_DIR="$RUN_DIR/$variant"
  launch tool_n1_grpo trainer.experiment_name="table4_$variant" \
    "++$kwargs.variant=$variant" "${@:2}"
}
sweep VARIANTS "partial_reason partial_reason_name binary_no_reason binary" "$kwargs $kwargs.variant" train "$@"
