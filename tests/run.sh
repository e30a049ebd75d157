#!/usr/bin/env bash
# Sets up the environment and runs the tests in two processes, from any working directory:
#
#   bash tests/run.sh fast [PYTEST_ARGUMENTS]    the fast tier: one minute, without verl, vLLM, torch or Ray
#   bash tests/run.sh [PYTEST_ARGUMENTS]         everything but the slow tests
#   bash tests/run.sh --run-slow -n 0            the slow tests too, one after the other: real runs, an hour
#   bash tests/run.sh gpu-stack                  in the two environments for GPUs, which it makes (20 GB of disk, an
#                                                index of packages, no GPU): everything that needs no CPU engine
#
# Paths in PYTEST_ARGUMENTS are relative to the repository's root.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
tests=(python -m pytest -n 2 --dist loadfile --no-loadscope-reorder)
if [[ "${1:-}" == gpu-stack ]]; then
  code=0
  for engine in vllm sglang; do
    FLASH_ATTN="${FLASH_ATTN:-0}" bash examples/setup_gpu.sh "$engine" dev
    # shellcheck source=/dev/null
    source ".venv-$engine/bin/activate"
    "${tests[@]}" "${@:2}" || code=$?
  done
  exit "$code"
fi
source examples/setup_cpu.sh cpu,dev
tier=()
if [[ "${1:-}" == fast ]]; then
  tier=(--fast)
  shift
fi
"${tests[@]}" "${tier[@]}" "$@"
