#!/usr/bin/env bash
# Tool-N1-7B with adapters (LoRA, rank 32), on one GPU of 80 GB.
#
#   bash examples/prepare_data.sh about-21k
#   bash examples/run_qwen7b_lora_1gpu.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen2.5-7B-Instruct (MODEL_PATH=… selects another one, or a local folder)
# Hardware: 1 GPU of 80 GB, 100 GB of host memory, 100 GB of disk
# Memory:   49 GiB while generating, 52 GiB in the update (tooln1 doctor's estimate)
# Time:     about 2 days on an H100: 145 steps of 22 minutes (both estimated: docs/reproduce.md says how)
# Switches: DRY_RUN=1, CHECK=1, ENGINE=sglang, PAPER=1, PLATFORM=cpu, LOGGERS=… (examples/common.sh)
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

use Qwen/Qwen2.5-7B-Instruct about-21k qwen7b_lora_1gpu
launch tool_n1_grpo trainer.experiment_name=qwen7b_lora_1gpu lora=rank32 platform=1x80gb "$@"
