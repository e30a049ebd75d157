#!/usr/bin/env bash
# Table 3 of the paper, Reason-SFT + RL: supervised fine-tuning on one half of the data, then GRPO on the other half.
#
#   bash examples/prepare_data.sh sft-reason-half      # after data_prep/distill.py; makes data/halves too
#   bash examples/ablations/table3_sft_then_rl.sh [HYDRA_OVERRIDES of GRPO]
#
# Model:    Qwen/Qwen2.5-7B-Instruct
# Hardware: 8 GPUs of 80 GB, as for examples/run_qwen7b_grpo.sh
# Time:     about 10 minutes, then 1 hour on H100s (estimated: docs/reproduce.md says how)
# Settings: SFT_TRAIN_FILE=… selects other conversations for SFT; TRAIN_FILE and VAL_FILE are for GRPO
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../common.sh"

TRAIN_FILE="${TRAIN_FILE:-$data/halves/test.parquet}"
VAL_FILE="${VAL_FILE:-$data/single-turn-5518/test.parquet}"
use Qwen/Qwen2.5-7B-Instruct halves table3_sft_then_rl
conversations="${SFT_TRAIN_FILE:-$data/sft-reason-half/train.parquet}"
need sft-reason-half "$conversations"

RUN_DIR="$RUN_DIR/sft" TRAIN_FILE="$conversations" VAL_FILE='' \
  launch tool_n1_sft trainer.experiment_name=table3_sft_half trainer.total_epochs=3 &
finish $! || code=$?
# A check continues with GRPO.
((${code:-0} == 0)) || switch CHECK || exit "$code"

MODEL_PATH="$(sft_model "$RUN_DIR/sft")"
RUN_DIR="$RUN_DIR/rl" launch tool_n1_grpo trainer.experiment_name=table3_sft_then_rl "$@" &
finish $! || code=$?
exit "${code:-0}"
