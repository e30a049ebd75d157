#!/usr/bin/env bash
# Table 3 of the paper, RL: GRPO on 100% of the 5,518 single-turn rows.
#
#   bash examples/prepare_data.sh single-turn-5518
#   bash examples/ablations/table3_rl.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen2.5-7B-Instruct
# Hardware: 8 GPUs of 80 GB, as for examples/run_qwen7b_grpo.sh
# Time:     about 2 hours on H100s: 35 steps (estimated: docs/reproduce.md says how)
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../common.sh"

use Qwen/Qwen2.5-7B-Instruct single-turn-5518 table3_rl
launch tool_n1_grpo trainer.experiment_name=table3_rl "$@"
