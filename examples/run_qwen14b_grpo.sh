#!/usr/bin/env bash
# Tool-N1-14B: GRPO with the binary reward and the paper's settings, on one node.
#
#   bash examples/prepare_data.sh about-21k
#   bash examples/run_qwen14b_grpo.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen2.5-14B-Instruct (MODEL_PATH=… selects another one, or a local folder)
# Hardware: 8 GPUs of 80 GB, 600 GB of host memory, 550 GB of disk
# Memory:   50 GB a GPU while generating: the actor's 30 GB do not fit beside vLLM's 48 GB, so they move to the host
# Time:     about 17 hours on H100s: 145 steps of 7 minutes (both estimated: docs/reproduce.md says how)
# Switches: DRY_RUN=1, CHECK=1, ENGINE=sglang, PAPER=1, PLATFORM=cpu, LOGGERS=… (examples/common.sh)
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

use Qwen/Qwen2.5-14B-Instruct about-21k qwen14b_grpo
launch tool_n1_grpo trainer.experiment_name=qwen14b_grpo platform=8x80gb_offload "$@"
