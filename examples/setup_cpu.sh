#!/usr/bin/env bash
# Makes the Python environment in which tooln1 runs without a GPU, or completes the active one.
#
#   bash examples/setup_cpu.sh [EXTRAS]     EXTRAS of setup.py, such as cpu,dev (cpu is always installed)
#   source examples/setup_cpu.sh EXTRAS     the same, and activates the environment
#
# Cost: 2 to 3 minutes on 2 cores; 7 GB of disk during the installation, then 4.2 GB; under a second if all is in place.
# The environment is the active one (a virtual environment, or conda's unless it is the base), otherwise .venv beside
# setup.py, made with Python 3.11 or 3.12. Exit code 2 and one line say what is missing.

# Only for torch's CPU build, and only if no configured package source has it.
TORCH_CPU_INDEX="${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}"

setup_cpu_root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"

# conda's base environment does not count: the whole machine shares it.
setup_cpu_conda() {
  [[ -z "${VIRTUAL_ENV:-}" && -n "${CONDA_PREFIX:-}" && "${CONDA_DEFAULT_ENV:-base}" != base ]]
}

if [[ "${BASH_SOURCE[0]}" != "$0" ]]; then
  # Sourced: a child process does the work, so that strict mode and exit do not reach the calling shell.
  TORCH_CPU_INDEX="$TORCH_CPU_INDEX" bash "${BASH_SOURCE[0]}" "$@" || return
  if ! setup_cpu_conda; then
    # shellcheck source=/dev/null
    source "${VIRTUAL_ENV:-$setup_cpu_root/.venv}/bin/activate"
  fi
  return
fi

set -euo pipefail

fail() {
  echo "setup_cpu: $1" >&2
  exit 2
}

# Every pin in setup.py has wheels for these versions.
python_fits() {
  "$1" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null
}

make_venv() {
  local candidate
  for candidate in python3.11 python3.12 python3; do
    python_fits "$candidate" || continue
    "$candidate" -m venv "$1" >/dev/null 2>&1 && return
    fail "$candidate cannot make a virtual environment at $1: install its venv package (Debian: python3-venv), check that the folder can be written"
  done
  fail "no Python 3.11 or 3.12 on PATH (tried python3.11, python3.12, python3): install one, or activate an environment that has it"
}

if (($# > 1)); then
  fail "expected at most one argument, extras separated by commas such as cpu,dev; got $#"
fi
if setup_cpu_conda; then
  environment="$CONDA_PREFIX"
elif [[ -n "${VIRTUAL_ENV:-}" ]]; then
  environment="$VIRTUAL_ENV"
else
  environment="$setup_cpu_root/.venv"
  # Python writes bin/activate last: without it, the folder is what an interrupted call left.
  [[ -f "$environment/bin/activate" ]] || make_venv "$environment"
fi

python="$environment/bin/python"
python_fits "$python" || fail "$environment has no working Python 3.11 or 3.12: deactivate or remove it, and run this again"
"$python" -c 'import pip' 2>/dev/null || fail "$environment has no pip: run '$python -m ensurepip', or deactivate it"
exec "$python" "$setup_cpu_root/examples/install_cpu.py" "${1:-cpu}" --torch-index "$TORCH_CPU_INDEX"
