# Sourced by the run scripts: turns environment variables into the arguments of `tooln1 train` and `tooln1 doctor`.
#
#   DRY_RUN=1   print the resolved configuration instead of training; of several runs, the first
#   CHECK=1     run `tooln1 doctor` on exactly the run that would start; of several runs, on each
#   MODEL_PATH=…  TRAIN_FILE=…  VAL_FILE=…  RUN_DIR=…      other inputs, another run folder
#   ENGINE=vllm|sglang  PAPER=1  PLATFORM=cpu              choices of the recipe's groups
#   LOGGERS=console,file,tensorboard,wandb  VERIFY=full    loggers; read all of the checkpoint before resuming
#   ACCEPT_CHANGES=1  continue the run of RUN_DIR under other settings; the step is marked in its report
#   DATA_DIR=data     the folder of prepared data
# shellcheck shell=bash

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
data="${DATA_DIR:-$root/data}"

fail() {
  echo "${0##*/}: $1" >&2
  exit 2
}

# switch NAME: true if the variable NAME is 1.
switch() {
  case "${!1:-0}" in
    0) return 1 ;;
    1) ;;
    *) fail "$1=${!1}: expected 1 or 0" ;;
  esac
}

# find_python VERSION...: prints the first Python on PATH of one of these versions, such as 3.12.
find_python() {
  local version candidate
  for version in "$@"; do
    for candidate in "python$version" python3; do
      if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
        echo "$candidate"
        return
      fi
    done
  done
  fail "no Python of these versions on PATH: $*; install one"
}

# pins PYTHON NAME: prints what setup.py's NAME holds, a line each.
pins() {
  "$1" -c 'import runpy, sys; found = runpy.run_path(sys.argv[1])[sys.argv[2]]
print(found if isinstance(found, str) else "\n".join(found))' "$root/setup.py" "$2"
}

# need DATA FILE...: requires files of DATA_DIR/DATA. A dry run does not read them, and the doctor reports them itself.
need() {
  local file
  for file in "${@:2}"; do
    [[ -f "$file" ]] || switch DRY_RUN || switch CHECK ||
      fail "$file: no such file; make it with '${DATA_DIR:+DATA_DIR=$DATA_DIR }bash $root/examples/prepare_data.sh $1', \
or set DATA_DIR, or TRAIN_FILE and VAL_FILE of a single run"
  done
}

# choose_run_dir NAME: sets RUN_DIR to runs/NAME, unless the environment sets it. PAPER=1 is another run.
choose_run_dir() {
  local suffix=
  if switch PAPER; then suffix=_paper; fi
  RUN_DIR="${RUN_DIR:-$root/runs/$1$suffix}"
}

# use MODEL DATA RUN: sets the model, the files of DATA_DIR/DATA and the run folder, unless the environment sets them.
use() {
  command -v tooln1 >/dev/null || fail "tooln1 is not on PATH: activate its environment (README.md)"
  MODEL_PATH="${MODEL_PATH:-$1}"
  TRAIN_FILE="${TRAIN_FILE:-$data/$2/train.parquet}"
  VAL_FILE="${VAL_FILE:-$(dirname -- "$TRAIN_FILE")/test.parquet}"
  choose_run_dir "$3"
  need "$2" "$TRAIN_FILE" "$VAL_FILE"
}

# launch CONFIG [key=value ...]: trains with the settings of use(), or shows or checks that run.
launch() {
  local command=(tooln1 train) config="$1" chosen=()
  local inputs=(--run-dir "$RUN_DIR" --model "$MODEL_PATH" --train-file "$TRAIN_FILE")
  [[ -z "${VAL_FILE:-}" ]] || inputs+=(--val-file "$VAL_FILE")
  if switch ACCEPT_CHANGES; then inputs+=(--accept-changes); fi
  [[ -z "${LOGGERS:-}" ]] || inputs+=("trainer.logger=[${LOGGERS// /}]")
  # Groups come last: Hydra takes the last of several choices.
  if [[ "$config" == *sft* ]]; then
    [[ -z "${PLATFORM:-}" ]] || chosen+=("sft_platform=$PLATFORM")
  else
    case "${ENGINE:-}" in
      "") ;;
      vllm) chosen+=("rollout_engine=null") ;;
      sglang) chosen+=("rollout_engine=sglang") ;;
      *) fail "ENGINE=$ENGINE: expected vllm or sglang" ;;
    esac
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
  # In a subshell, the run must end with its script, even if the script is killed.
  [[ "$BASHPID" == "$$" ]] || command=(setpriv --pdeathsig KILL "${command[@]}")
  exec "${command[@]}" "${inputs[@]}" "$config" "${@:2}" "${chosen[@]}"
}

# sweep VARIABLE "MEMBER ..." "VARIED ..." FUNCTION [ARGUMENTS]: calls FUNCTION MEMBER ARGUMENTS, which launches a run, for
# one member after another: all, or those that VARIABLE names. VARIED are the variables and settings in which the members
# differ; the user must not give them to all. Everything wrong with any member is told before the first run.
# A run that failed or was stopped ends the sweep; a check continues with the next run.
sweep() {
  local variable="$1" known="$2" varied="$3" run="$4" name members code=0
  shift 4
  for name in $varied; do
    if [[ "$name" == [A-Z]* && -n "${!name:-}" || " $* " == *" "?(+)?(+)"$name"[=\ ]* ]]; then
      fail "$name is given, but the runs of this sweep differ in it ($variable selects some): leave it out"
    fi
  done
  read -ra members <<<"${!variable:-$known}"
  for name in "${members[@]:-}"; do
    [[ -n "$name" && " $known " == *" $name "* ]] || fail "$variable=$name: expected ${known// / or }"
  done
  for name in "${members[@]}"; do
    (
      # shellcheck disable=SC2329  # "$run" calls it
      launch() { :; }
      "$run" "$name" "$@"
    ) || exit
  done
  for name in "${members[@]}"; do
    "$run" "$name" "$@" &
    finish $! || code=$?
    if switch DRY_RUN || { ((code)) && ! switch CHECK; }; then break; fi
  done
  return "$code"
}

# finish PID: waits for a run in the background and passes SIGTERM on, so that the run saves a checkpoint. Without this,
# bash would end and leave the run behind. Ctrl-C reaches the run directly.
finish() {
  local run="$1" code=0
  trap 'kill -TERM "$run"' TERM
  trap : INT
  wait "$run" || code=$?
  # A signal ends wait before the run ends.
  while kill -0 "$run" 2>/dev/null; do
    code=0
    wait "$run" || code=$?
  done
  trap - TERM INT
  return "$code"
}

# sft_model RUN_DIR: prints the path of the Hugging Face model that an SFT run has saved.
sft_model() {
  local tracker="$1/checkpoints/latest_checkpointed_iteration.txt" step=LAST
  if [[ -f "$tracker" ]]; then
    step="$(<"$tracker")"
  elif switch DRY_RUN; then
    :
  elif switch CHECK; then
    # The doctor examines the model that SFT starts from: its size is the same.
    echo "$MODEL_PATH"
    return
  else
    fail "$tracker: no such file; the SFT run has saved no checkpoint"
  fi
  echo "$1/checkpoints/global_step_$step/huggingface"
}
