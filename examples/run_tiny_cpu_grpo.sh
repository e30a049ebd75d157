#!/usr/bin/env bash
# Tool-N1 from nothing to a trained checkpoint, on a CPU: data, warm start, GRPO, validation, merge, answers by vLLM.
#
#   bash examples/run_tiny_cpu_grpo.sh [HYDRA_OVERRIDES]
#
# Model:    a Qwen2 of two million parameters, built here; or MODEL_PATH=… and TRAIN_FILE=… of your own
# Hardware: 2 CPU cores, 8 GB of free memory, 7 GB of disk for the installation
# Time:     under 15 minutes from nothing, under 8 with the environment in place
# Settings: RUN_DIR=runs/tiny  SEED=0  MODEL_PATH=  TRAIN_FILE=  VAL_FILE=
# A run that was stopped goes on when the same command is given again.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
source "$root/examples/setup_cpu.sh" cpu

export RUN_DIR="${RUN_DIR:-$root/runs/tiny}"
exec python -m tooln1.tiny.run "$@"
