#!/usr/bin/env bash
# Tool-N1 from nothing to a trained checkpoint, on a CPU: data, warm start, GRPO, validation, merge, answers by vLLM.
#
#   bash examples/run_tiny_cpu_grpo.sh [HYDRA_OVERRIDES]
#
# Model:    a Qwen2 of 1.5 million parameters, built here; or MODEL_PATH=… and TRAIN_FILE=… of your own
# Hardware: 2 CPU cores, 6 GB of free memory, 7 GB of disk for the installation
# Time:     8 minutes from nothing, under 6 with the environment in place
# Settings: RUN_DIR=runs/tiny  SEED=0  MODEL_PATH=  TRAIN_FILE=  VAL_FILE=
# A run that was stopped goes on when the same command is given again.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/examples/setup_cpu.sh" cpu

export RUN_DIR="${RUN_DIR:-$root/runs/tiny}"
exec python -m tooln1.tiny.run "$@"
