#!/usr/bin/env bash
# Tool-N1-7B with adapters (LoRA, rank 32), on two GPUs of 24 GB.
#
#   bash examples/prepare_data.sh about-21k
#   bash examples/run_qwen7b_lora_2x24gb.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen2.5-7B-Instruct (MODEL_PATH=… selects another one, or a local folder)
# Hardware: 2 GPUs of 24 GB, such as RTX 4090, 64 GB of host memory, 100 GB of disk
# Memory:   16 GiB a GPU while generating, 23 GiB in the update (tooln1 doctor's estimate). If that is too much,
#           actor_rollout_ref.actor.ulysses_sequence_parallel_size=2 halves the activations
# Time:     about 6 days on RTX 4090s: 145 steps of an hour (both estimated: docs/reproduce.md says how). With a
#           smaller batch, such as data.train_batch_size=128, you see sooner whether it learns.
# Switches: DRY_RUN=1, CHECK=1, ENGINE=sglang, PAPER=1, PLATFORM=cpu, LOGGERS=… (examples/common.sh)
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

use Qwen/Qwen2.5-7B-Instruct about-21k qwen7b_lora_2x24gb
launch tool_n1_grpo trainer.experiment_name=qwen7b_lora_2x24gb lora=rank32 platform=2x24gb "$@"
