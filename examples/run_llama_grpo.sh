#!/usr/bin/env bash
# The paper's other backbones: GRPO on LLaMA-3-8B-Instruct and LLaMA-3.1-8B-Instruct, one after the other.
#
#   bash examples/prepare_data.sh about-21k
#   bash examples/run_llama_grpo.sh [HYDRA_OVERRIDES]
#
# Models:   meta-llama/Meta-Llama-3-8B-Instruct and Llama-3.1-8B-Instruct (gated: accept the terms, log in to the hub);
#           VERSIONS=3.1 selects one of them
# Hardware: 8 GPUs of 80 GB, 300 GB of host memory, 400 GB of disk
# Memory:   64 GB a GPU while generating
# Time:     about 9 hours each on H100s (estimated: docs/reproduce.md says how)
# LLaMA 3 reads at most 8,192 tokens, so responses of both models have at most 4,096. The chat template is the model's.
# LLaMA has no tokens for the response's tags: they are plain text, and the reward reads the decoded response without
# end markers.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

train() {
  local version="$1" model
  case "$version" in
    3) model=meta-llama/Meta-Llama-3-8B-Instruct ;;
    3.1) model=meta-llama/Llama-3.1-8B-Instruct ;;
  esac
  use "$model" about-21k llama_grpo
  RUN_DIR="$RUN_DIR/$version"
  launch tool_n1_grpo trainer.experiment_name="llama${version}_grpo" data.max_response_length=4096 "${@:2}"
}
sweep VERSIONS "3 3.1" "MODEL_PATH actor_rollout_ref.model.path --model" train "$@"
