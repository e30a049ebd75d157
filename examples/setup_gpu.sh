#!/usr/bin/env bash
# Makes the Python environment that trains on GPUs, with one rollout engine: .venv-vllm or .venv-sglang beside setup.py.
#
#   bash examples/setup_gpu.sh vllm|sglang [EXTRAS]     EXTRAS of setup.py, such as dev
#
# Cost: 1 to 5 minutes; 10 GB of disk, most of them shared with uv's cache if that is on the same disk.
# It needs Python 3.12, 3.11 or 3.10, and no GPU. flash-attn comes as verl's prebuilt wheel (Python 3.12 or 3.11), or is
# built, which takes an hour and CUDA 13's nvcc; FLASH_ATTN=0 leaves it out, for a machine that only prepares runs.
# The same command completes what is missing. If it cannot, one line says what is missing, and the exit code is 2.

set -euo pipefail
# shellcheck source=common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

FLASH_ATTN="${FLASH_ATTN:-1}"
FLASH_ATTN_INDEX="${FLASH_ATTN_INDEX:-https://verl-project.github.io/verl-wheelhouse/simple/}"

[[ "${1:-}" =~ ^(vllm|sglang)$ && $# -le 2 ]] ||
  fail "expected vllm or sglang, and extras separated by commas such as dev; got '$*'"
environment="$root/.venv-$1"
python="$environment/bin/python"
uv=("$environment/bin/uv" pip install --quiet --python "$python")  # quiet: errors only

# Python writes bin/activate last: without it, an earlier call was interrupted.
if [[ ! -f "$environment/bin/activate" ]]; then
  system="$(find_python 3.12 3.11 3.10)"
  "$system" -m venv "$environment" || fail "$system cannot make a virtual environment at $environment"
fi
echo "Installing the $1 stack into $environment"
"$python" -m pip install --quiet "$(pins "$python" UV)" || fail "pip cannot install uv"
# pip finds no solution: uv replaces the requirements that exclude each other, each with its reason in setup.py.
pins "$python" GPU_OVERRIDES >"$environment/overrides.txt"
cd "$root"
"${uv[@]}" --override "$environment/overrides.txt" --editable ".[$1,fsdp${2:+,$2}]" ninja wheel ||
  fail "uv cannot install [$1]; the lines above say why"

imports() { "$python" -c "import $1" >/dev/null 2>"$environment/import.log"; }
imports "verl.trainer.main_ppo, $1" || fail "verl and $1 do not import together ($(tail -1 "$environment/import.log"))"

# A wheel that was built for another torch installs, but does not import.
install_flash_attn() {
  local pin
  pin="$(pins "$python" FLASH_ATTN)"
  if "${uv[@]}" --no-deps --only-binary flash-attn --index "$FLASH_ATTN_INDEX" "$pin" && imports flash_attn; then
    return
  fi
  command -v nvcc >/dev/null ||
    fail "all is in place but $pin: $FLASH_ATTN_INDEX has no wheel for this Python and torch, and no nvcc here builds it; install CUDA 13's toolkit and run this again"
  { "${uv[@]}" --no-deps --reinstall --no-binary flash-attn --no-build-isolation "$pin" && imports flash_attn; } ||
    fail "all is in place but $pin, which cannot be built here: the lines above say why"
}

if switch FLASH_ATTN; then
  imports flash_attn || install_flash_attn
fi
echo "GPU environment in place; now: source $environment/bin/activate"
