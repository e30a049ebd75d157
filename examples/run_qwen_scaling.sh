#!/usr/bin/env bash
# The paper's study of model sizes: the same GRPO on Qwen2.5-Instruct from 0.5B to 14B, one after the other.
#
#   bash examples/prepare_data.sh about-21k
#   bash examples/run_qwen_scaling.sh [HYDRA_OVERRIDES]
#
# Models:   Qwen/Qwen2.5-{0.5B,1.5B,3B,7B,14B}-Instruct; SIZES="0.5B 3B" selects some of them
# Hardware: 8 GPUs of 80 GB, 600 GB of host memory, 1 TB of disk
# Memory:   50 to 63 GB a GPU while generating
# Time:     about 1, 2, 4, 9 and 17 hours on H100s (estimated: docs/reproduce.md says how)
# The same command resumes a sweep that was stopped: sizes that are complete in RUN_DIR are skipped.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

train() {
  local size="$1" platform=8x80gb
  [[ "$size" != 14B ]] || platform=8x80gb_offload
  use "Qwen/Qwen2.5-$size-Instruct" about-21k qwen_scaling
  RUN_DIR="$RUN_DIR/$size"
  launch tool_n1_grpo trainer.experiment_name="qwen_scaling_$size" platform="$platform" "${@:2}"
}
sweep SIZES "0.5B 1.5B 3B 7B 14B" "MODEL_PATH actor_rollout_ref.model.path --model" train "$@"
