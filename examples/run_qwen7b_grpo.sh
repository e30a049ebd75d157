#!/usr/bin/env bash
# Tool-N1-7B: GRPO with the binary reward and the paper's settings, on one node.
#
#   bash examples/prepare_data.sh about-21k
#   bash examples/run_qwen7b_grpo.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen2.5-7B-Instruct (MODEL_PATH=… selects another one, or a local folder)
# Hardware: 8 GPUs of 80 GB, 300 GB of host memory, 300 GB of disk
# Memory:   63 GB a GPU while generating (15 GB of weights, gradients and optimizer; vLLM's share of 48 GB)
# Time:     about 9 hours on H100s: 145 steps of under 4 minutes (both estimated: docs/reproduce.md says how)
# Switches: DRY_RUN=1, CHECK=1, ENGINE=sglang, PAPER=1, PLATFORM=cpu, LOGGERS=… (examples/common.sh)
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

use Qwen/Qwen2.5-7B-Instruct about-21k qwen7b_grpo
launch tool_n1_grpo trainer.experiment_name=qwen7b_grpo "$@"
