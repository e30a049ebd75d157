# Sourced by the run scripts: turns environment variables into the arguments of `tooln1 train` and `tooln1 doctor`.
#
#   DRY_RUN=1   print the resolved configuration instead of training; of a script with several runs, the first
#   CHECK=1     run `tooln1 doctor` on exactly the run that would start, or on each of several
#   MODEL_PATH=…  TRAIN_FILE=…  VAL_FILE=…  RUN_DIR=…      other inputs, another run folder
#   ENGINE=sglang  PAPER=1  PLATFORM=cpu                   choices of the recipe's groups
#   LOGGERS=console,file,tensorboard,wandb  VERIFY=full    loggers; read all of the checkpoint before resuming
# shellcheck shell=bash

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

fail() {
  echo "${0##*/}: $1" >&2
  exit 2
}

# switch NAME: whether the variable NAME is 1.
switch() {
  case "${!1:-0}" in
    0) return 1 ;;
    1) ;;
    *) fail "$1=${!1}: expected 1 or 0" ;;
  esac
}

# need DATA FILE...: the files of a folder below data/. A dry run does without: it stops before reading them.
need() {
  local file
  for file in "${@:2}"; do
    [[ -f "$file" ]] || switch DRY_RUN ||
      fail "$file: no such file; make it with 'bash $root/examples/prepare_data.sh $1', or set TRAIN_FILE and VAL_FILE"
  done
}

# use MODEL DATA RUN: the model, the folder below data/ and the one below runs/, unless the environment has others.
use() {
  command -v tooln1 >/dev/null || fail "tooln1 is not on PATH: activate its environment (README.md)"
  MODEL_PATH="${MODEL_PATH:-$1}"
  TRAIN_FILE="${TRAIN_FILE:-$root/data/$2/train.parquet}"
  VAL_FILE="${VAL_FILE:-$(dirname -- "$TRAIN_FILE")/test.parquet}"
  RUN_DIR="${RUN_DIR:-$root/runs/$3}"
  need "$2" "$TRAIN_FILE" "$VAL_FILE"
}

# launch CONFIG [key=value ...]: trains with what use() has set, or shows or checks that run.
launch() {
  local command=(tooln1 train) config="$1" chosen=()
  local inputs=(--run-dir "$RUN_DIR" --model "$MODEL_PATH" --train-file "$TRAIN_FILE")
  [[ -z "${VAL_FILE:-}" ]] || inputs+=(--val-file "$VAL_FILE")
  [[ -z "${LOGGERS:-}" ]] || inputs+=("trainer.logger=[${LOGGERS// /}]")
  # Groups come last: of two choices of a group the later one counts.
  if [[ "$config" == *sft* ]]; then
    [[ -z "${PLATFORM:-}" ]] || chosen+=("sft_platform=$PLATFORM")
  else
    [[ -z "${ENGINE:-}" ]] || chosen+=("rollout_engine=$ENGINE")
    [[ -z "${PLATFORM:-}" ]] || chosen+=("platform=$PLATFORM")
    if switch PAPER; then chosen+=("preset=paper"); fi
  fi
  case "${VERIFY:-}" in
    "") ;;
    full) command+=(--verify-checkpoint) ;;
    *) fail "VERIFY=$VERIFY: expected full, or nothing" ;;
  esac
  if switch DRY_RUN; then
    command=(tooln1 train --dry-run)
  elif switch CHECK; then
    command=(tooln1 doctor)
  fi
  # In a subshell, the run ends with its script, even if the script is killed.
  [[ "$BASHPID" == "$$" ]] || command=(setpriv --pdeathsig KILL "${command[@]}")
  exec "${command[@]}" "${inputs[@]}" "$config" "${@:2}" "${chosen[@]}"
}

# finish PID: waits for a run in the background. SIGTERM is passed on, so that the run saves a checkpoint; bash alone
# would end and leave the run behind. Ctrl-C reaches the run by itself.
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
  elif ! switch DRY_RUN; then
    fail "$tracker: no such file; the SFT run has left no checkpoint"
  fi
  echo "$1/checkpoints/global_step_$step/huggingface"
}
