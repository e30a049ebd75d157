# Sourced by the run scripts: what they share. `tooln1 train` reads the variables that are exported here, and these
# switches: DRY_RUN=1, ENGINE=sglang, PAPER=1, PLATFORM=cpu, LOGGERS=console,file,tensorboard,wandb.
# shellcheck shell=bash

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

fail() {
  echo "${0##*/}: $1" >&2
  exit 2
}

# need DATA FILE...: the files of a folder below data/. A dry run goes without: it shows the settings before that.
need() {
  local file
  for file in "${@:2}"; do
    [[ -f "$file" || "${DRY_RUN:-}" == 1 ]] ||
      fail "$file: no such file; make it with 'bash $root/examples/prepare_data.sh $1', or set TRAIN_FILE and VAL_FILE"
  done
}

# use MODEL DATA RUN: the model, the folder below data/ and the one below runs/, unless the environment has others.
use() {
  command -v tooln1 >/dev/null || fail "tooln1 is not on PATH: activate its environment (README.md, Installation)"
  export MODEL_PATH="${MODEL_PATH:-$1}"
  export TRAIN_FILE="${TRAIN_FILE:-$root/data/$2/train.parquet}"
  export VAL_FILE="${VAL_FILE:-$(dirname -- "$TRAIN_FILE")/test.parquet}"
  export RUN_DIR="${RUN_DIR:-$root/runs/$3}"
  need "$2" "$TRAIN_FILE" "$VAL_FILE"
}

# finish PID: waits for a run in the background. SIGTERM is passed on, so that it saves a checkpoint; bash alone would end
# and leave it behind. Ctrl-C reaches the run by itself.
finish() {
  local run="$1" code=0
  trap 'kill -TERM "$run"' TERM
  trap : INT
  wait "$run" || code=$?
  # A signal ends the first wait; the run then takes its time.
  while kill -0 "$run" 2>/dev/null; do
    code=0
    wait "$run" || code=$?
  done
  trap - TERM INT
  return "$code"
}

# sft_model RUN_DIR: the model that an SFT run has left, in Hugging Face's form.
sft_model() {
  local tracker="$1/checkpoints/latest_checkpointed_iteration.txt" step=LAST
  if [[ -f "$tracker" ]]; then
    step="$(<"$tracker")"
  elif [[ "${DRY_RUN:-}" != 1 ]]; then
    fail "$tracker: no such file; the SFT run has left no checkpoint"
  fi
  echo "$1/checkpoints/global_step_$step/huggingface"
}
