#!/usr/bin/env bash
# Sets up the environment and runs the tests, from any working directory:
#
#   bash tests/run.sh [PYTEST_ARGUMENTS]     paths are relative to the repository's root; without any, all tests run
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source examples/setup_cpu.sh cpu,dev
python -m pytest "$@"
