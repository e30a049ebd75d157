#!/usr/bin/env bash
# Tool-N1-14B on the paper's machines: GRPO with the binary reward over four nodes, as one Ray cluster.
#
#   sbatch examples/slurm/ray_cluster.sbatch examples/run_qwen14b_grpo_4nodes.sh [HYDRA_OVERRIDES]
#   ray job submit --address http://HEAD:8265 -- bash $PWD/examples/run_qwen14b_grpo_4nodes.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen2.5-14B-Instruct (MODEL_PATH=… selects another one, or a local folder)
# Hardware: 4 nodes of 8 GPUs of 80 GB; checkout, environment, data/ and runs/ at the same path on all of them
# Memory:   55 GB a GPU while generating (7 GB of the actor, vLLM's share of 48 GB), so nothing is offloaded
# Time:     about 5 hours on H100s: 145 steps of 2 minutes (both estimated: docs/reproduce.md says how)
# Switches: DRY_RUN=1, CHECK=1, ENGINE=sglang, PAPER=1, PLATFORM=cpu, LOGGERS=… (examples/common.sh)
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

use Qwen/Qwen2.5-14B-Instruct about-21k qwen14b_grpo_4nodes
launch tool_n1_grpo trainer.experiment_name=qwen14b_grpo_4nodes platform=4x8x80gb "$@"
