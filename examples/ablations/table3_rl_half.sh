#!/usr/bin/env bash
# Table 3 of the paper, RL on 50% of the data: GRPO on the half that table3_sft_then_rl.sh uses for GRPO.
#
#   bash examples/prepare_data.sh halves
#   bash examples/ablations/table3_rl_half.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen2.5-7B-Instruct
# Hardware: 8 GPUs of 80 GB, as for examples/run_qwen7b_grpo.sh
# Time:     about 1 hour on H100s: 14 steps (estimated: docs/reproduce.md says how)
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../common.sh"

TRAIN_FILE="${TRAIN_FILE:-$data/halves/test.parquet}"
VAL_FILE="${VAL_FILE:-$data/single-turn-5518/test.parquet}"
use Qwen/Qwen2.5-7B-Instruct halves table3_rl_half
launch tool_n1_grpo trainer.experiment_name=table3_rl_half "$@"
