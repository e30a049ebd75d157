#!/usr/bin/env bash
# Sets up the environment and runs the tests in two processes, from any working directory:
#
#   bash tests/run.sh fast [PYTEST_ARGUMENTS]    the fast tier: one minute, without verl, vLLM, torch or Ray
#   bash tests/run.sh [PYTEST_ARGUMENTS]         everything but the slow tests
#   bash tests/run.sh --run-slow -n 0            the slow tests too, one after the other: real runs, an hour
#
# Paths in PYTEST_ARGUMENTS are relative to the repository's root.
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source examples/setup_cpu.sh cpu,dev
tier=()
if [[ "${1:-}" == fast ]]; then
  tier=(--fast)
  shift
fi
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "${tier[@]}" "$@"
