#!/usr/bin/env bash
# Table 5 of the paper: the same GRPO on different training data, one after the other.
#
#   for data in xlam-only toolace-single toolace-only full; do bash examples/prepare_data.sh $data; done
#   bash examples/ablations/table5_mixtures.sh [HYDRA_OVERRIDES]
#
# Data:     xLAM alone; ToolACE's single turns; all of ToolACE; both sources. MIXTURES="…" selects some of them, or
#           other folders of DATA_DIR
# Model:    Qwen/Qwen2.5-7B-Instruct
# Hardware: 8 GPUs of 80 GB, as for examples/run_qwen7b_grpo.sh
# Time:     about 23, 3, 4 and 27 hours on H100s: 7 epochs of each (estimated: docs/reproduce.md says how)
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../common.sh"

train() {
  local mixture="$1"
  use Qwen/Qwen2.5-7B-Instruct "$mixture" table5
  RUN_DIR="$RUN_DIR/$mixture"
  launch tool_n1_grpo trainer.experiment_name="table5_$mixture" "${@:2}"
}
known="xlam-only toolace-single toolace-only full"
MIXTURES="${MIXTURES:-$known}"
for file in "$data"/*/train.parquet; do
  [[ ! -f "$file" ]] || known+=" $(basename -- "$(dirname -- "$file")")"
done
sweep MIXTURES "$known" "TRAIN_FILE data.train_files --train-file" train "$@"
