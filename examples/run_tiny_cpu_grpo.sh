#!/usr/bin/env bash
# Tool-N1 from nothing to a trained model on a CPU: data, SFT warm start, GRPO, validation, export, responses by vLLM.
#
#   bash examples/run_tiny_cpu_grpo.sh [HYDRA_OVERRIDES of GRPO]
#
# Model:    a Qwen2 of 1.5 million parameters, built here; or MODEL_PATH=… and TRAIN_FILE=… of your own
# Hardware: 2 CPU cores, 6 GB of free memory, 7 GB of disk for the installation
# Time:     8 minutes from nothing, under 6 with the environment in place
# Settings: RUN_DIR=runs/tiny  SEED=0  WARM_START_ROWS=…  and those of examples/common.sh
# The same command resumes a run that was stopped.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
source "$root/examples/setup_cpu.sh" cpu

SEED="${SEED:-0}"
choose_run_dir tiny
RUN_DIR="$(realpath -m -- "$RUN_DIR")"
[[ "$SEED" =~ ^[0-9]+$ ]] || fail "SEED=$SEED: expected a whole number, 0 or more"
[[ "${WARM_START_ROWS:-1}" =~ ^[1-9][0-9]*$ ]] ||
  fail "WARM_START_ROWS=$WARM_START_ROWS: expected a number of conversations, 1 or more"
if [[ -f "$RUN_DIR/seed" && "$(<"$RUN_DIR/seed")" != "$SEED" ]]; then
  fail "$RUN_DIR: holds a run with seed $(<"$RUN_DIR/seed"), but SEED is $SEED; choose another RUN_DIR=, or remove it"
fi

if [[ -f "$RUN_DIR/seed" && -n "${WARM_START_ROWS:-}" ]] &&
  ! grep -q "\"sft\": $WARM_START_ROWS\$" "$RUN_DIR/world/stats.json"; then
  fail "$RUN_DIR: holds a run with another warm start than WARM_START_ROWS=$WARM_START_ROWS; choose another RUN_DIR="
fi

world="$RUN_DIR/world" sft="$RUN_DIR/sft" merged="$RUN_DIR/merged" logs="$RUN_DIR/logs"
train="${TRAIN_FILE:-$world/train.parquet}"
val="${VAL_FILE:-$(dirname -- "$train")/test.parquet}"
# Without held-out rows, validation shows whether the model learns its training rows.
[[ -n "${VAL_FILE:-}" || -z "${TRAIN_FILE:-}" || -f "$val" ]] || val="$train"

# The seconds of all attempts; bash counts those of this one.
earlier="$(cat "$RUN_DIR/seconds" 2>/dev/null || echo 0)"
tick() { [[ ! -f "$RUN_DIR/seed" ]] || echo "$((earlier + SECONDS))" >"$RUN_DIR/seconds"; }
trap tick EXIT

# stage COMMAND...: runs a command that ends with this script, even if the script is killed.
stage() {
  tick
  setpriv --pdeathsig KILL "$@" &
  finish $!
}
# grpo MODEL [ARGUMENTS]: `tooln1 train` for this run, starting from MODEL.
grpo() { MODEL_PATH="$1" TRAIN_FILE="$train" VAL_FILE="$val" launch tool_n1_grpo_cpu "data.seed=$SEED" "${@:2}"; }

if switch DRY_RUN || { switch CHECK && [[ -f "$RUN_DIR/seed" ]]; }; then
  grpo "${MODEL_PATH:-$RUN_DIR/model}" "$@"
fi

# What the run does not bring is built, and everything checked, before the folder belongs to this run.
if [[ ! -f "$RUN_DIR/seed" ]]; then
  rm -rf "$RUN_DIR/model" "$world"
  if [[ -z "${MODEL_PATH:-}" ]]; then
    stage python -m tooln1.tiny.model --output "$RUN_DIR/model" --seed "$SEED" >/dev/null
  fi
  if [[ -z "${MODEL_PATH:-}" || -z "${TRAIN_FILE:-}" ]]; then
    stage python "$root/data_prep/synthetic.py" --output "$world" --seed "$SEED" \
      ${WARM_START_ROWS:+--sft "$WARM_START_ROWS"} >/dev/null
  fi
  code=0 check=(--check-only)
  if switch CHECK; then check=(); fi
  (grpo "${MODEL_PATH:-$RUN_DIR/model}" "${check[@]}" "$@") || code=$?
  if ((code)) || switch CHECK; then
    rm -rf "$RUN_DIR/model" "$world"
    exit "$code"
  fi
  mkdir -p "$logs"
  echo "$SEED" >"$RUN_DIR/seed"
fi

if [[ -z "${MODEL_PATH:-}" ]]; then
  if [[ ! -f "$sft/checkpoints/latest_checkpointed_iteration.txt" ]] && ! switch CHECK; then
    stage tooln1 train --run-dir "$sft" --model "$RUN_DIR/model" --train-file "$world/sft.parquet" \
      tool_n1_sft_cpu "trainer.seed=$SEED" >>"$logs/warm_start.log"
  fi
  MODEL_PATH="$(sft_model "$sft")"
fi
if switch CHECK; then
  grpo "$MODEL_PATH" "$@"
fi
tick
grpo "$MODEL_PATH" "$@" &
finish $!

if [[ ! "$merged" -nt "$RUN_DIR/checkpoints/latest_checkpointed_iteration.txt" ]]; then
  rm -rf "$merged" "$RUN_DIR/eval"
  stage tooln1 export "$RUN_DIR" --step last --output "$merged" >>"$logs/export.log"
fi
longest="$(sed -n 's/^ *max_response_length: //p' "$RUN_DIR/config.yaml")"
stage tooln1 eval "$merged" --bench rows --data "$val" --limit 1 --max-tokens "$longest" \
  --output "$RUN_DIR/eval/held_out" >"$logs/eval.log" ||
  echo "no responses by the exported model; see $logs/eval.log"
tick
tooln1 report "$RUN_DIR" --summary --wall-seconds "$(<"$RUN_DIR/seconds")"
