#!/usr/bin/env bash
# Makes the Python environment of BFCL's official evaluator, which `tooln1 eval --bench bfcl` runs.
#
#   bash examples/setup_bfcl.sh [FOLDER]     FOLDER: .venv-bfcl beside setup.py by default
#
# Cost: 2 minutes, 0.6 GB of disk; under a second if the environment is in place. It needs Python 3.11 or 3.12.
# It leaves out sentence-transformers and faiss-cpu, which bring torch and serve only bfcl-eval's memory categories.
# If something is missing, one line says what, and the exit code is 2.

set -euo pipefail

# shellcheck source=common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
environment="${1:-$root/.venv-bfcl}"

# What else bfcl-eval requires.
required() {
  "$python" - <<'PYTHON'
import importlib.metadata

LEFT_OUT = ("sentence-transformers", "faiss-cpu")
wanted = importlib.metadata.requires("bfcl-eval")
print("\n".join(text for text in wanted if "extra ==" not in text and not text.startswith(LEFT_OUT)))
PYTHON
}

python="$environment/bin/python"
# Python writes bin/activate last: without it, an earlier call was interrupted.
if [[ ! -f "$environment/bin/activate" ]]; then
  system="$(find_python 3.11 3.12)"
  "$system" -m venv "$environment" || fail "$system cannot make a virtual environment at $environment"
fi

stamp="$environment/tooln1-bfcl.txt"
pinned="$(pins "$python" BFCL)"
if [[ -f "$stamp" && "$(cat "$stamp")" == "$pinned" ]]; then
  echo "BFCL environment in place: $environment"
  exit
fi
rm -f "$stamp"
bfcl="$(grep '^bfcl-eval==' <<<"$pinned")"
echo "Installing $bfcl into $environment"
"$python" -m pip install --quiet --no-deps "$bfcl" || fail "pip cannot install $bfcl"
required >"$environment/required.txt"
grep -v '^bfcl-eval==' <<<"$pinned" >"$environment/pinned.txt"
"$python" -m pip install --quiet -r "$environment/required.txt" -r "$environment/pinned.txt" ||
  fail "pip cannot install what $bfcl requires"
BFCL_PROJECT_ROOT="$environment" "$python" -P -c 'import bfcl_eval.eval_checker.eval_runner' ||
  fail "the evaluator does not import in $environment: remove it and run this again"
echo "$pinned" >"$stamp"
echo "BFCL environment in place: $environment"
