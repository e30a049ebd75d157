#!/usr/bin/env bash
# A newer backbone: GRPO with the paper's settings on Qwen3-8B.
#
#   bash examples/prepare_data.sh about-21k
#   bash examples/run_qwen3_grpo.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen3-8B (MODEL_PATH=… selects another one, or a local folder)
# Hardware: 8 GPUs of 80 GB, 350 GB of host memory, 350 GB of disk
# Memory:   64 GB a GPU while generating (16 GB of weights, gradients and optimizer; vLLM's share of 48 GB)
# Time:     about 17 hours on H100s, if responses are three times as long as Qwen2.5's (estimated: docs/reproduce.md)
# Thinking mode stays on: Qwen3 writes <think>…</think> before its answer, as the reward expects.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

use Qwen/Qwen3-8B about-21k qwen3_grpo
launch tool_n1_grpo trainer.experiment_name=qwen3_grpo \
  +data.apply_chat_template_kwargs.enable_thinking=true "$@"
