#!/usr/bin/env bash
# Sets up the environment and runs the tests in two processes, from any working directory:
#
#   bash tests/run.sh [PYTEST_ARGUMENTS]     paths are relative to the repository's root; without any, all tests run
#   bash tests/run.sh --run-slow -n 0        the real runs too, one after the other
set -euo pipefail

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source examples/setup_cpu.sh cpu,dev
python -m pytest -n 2 --dist loadfile "$@"
