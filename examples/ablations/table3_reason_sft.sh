#!/usr/bin/env bash
# Table 3 of the paper, Reason-SFT: supervised fine-tuning on distilled reasoning and calls, 100% of the data.
#
#   bash examples/prepare_data.sh sft-reason      # after data_prep/distill.py
#   bash examples/ablations/table3_reason_sft.sh [HYDRA_OVERRIDES]
#
# Model:    Qwen/Qwen2.5-7B-Instruct
# Hardware: 8 GPUs of 80 GB, 200 GB of host memory, 100 GB of disk
# Memory:   35 GB a GPU (15 GB of weights, gradients and optimizer, the rest activations)
# Time:     about 10 minutes on H100s (estimated: docs/reproduce.md says how)
# The paper trained adapters with LLaMA-Factory; docs/reproduce.md lists the differences.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../common.sh"

use Qwen/Qwen2.5-7B-Instruct sft-reason table3_reason_sft
launch tool_n1_sft trainer.experiment_name=table3_reason_sft trainer.total_epochs=3 "$@"
