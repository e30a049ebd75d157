#!/usr/bin/env bash
# Makes the Python environment of BFCL's official evaluator, which `tooln1 eval --bench bfcl` calls.
#
#   bash examples/setup_bfcl.sh [FOLDER]     FOLDER: .venv-bfcl beside setup.py unless named
#
# Cost: 2 minutes, 0.6 GB of disk; under a second once all is in place. It needs Python 3.11 or 3.12. Left out are
# sentence-transformers and faiss-cpu: bfcl-eval requires them for its memory categories alone, and with them torch.
# Exit code 2 and one line say what is missing.

set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
environment="${1:-$root/.venv-bfcl}"

fail() {
  echo "setup_bfcl: $1" >&2
  exit 2
}

find_python() {
  local candidate
  for candidate in python3.11 python3.12 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or 3.12 on PATH (tried python3.11, python3.12, python3): install one"
}

# The pins of setup.py, and what else bfcl-eval requires, as pip requirements.
pins() {
  "$1" -c 'import runpy, sys; print("\n".join(runpy.run_path(sys.argv[1])["BFCL"]))' "$root/setup.py"
}
required() {
  "$python" - <<'PYTHON'
import importlib.metadata

LEFT_OUT = ("sentence-transformers", "faiss-cpu")
wanted = importlib.metadata.requires("bfcl-eval")
print("\n".join(text for text in wanted if "extra ==" not in text and not text.startswith(LEFT_OUT)))
PYTHON
}

python="$environment/bin/python"
# Python writes bin/activate last: without it, what stands there is what an interrupted call left.
if [[ ! -f "$environment/bin/activate" ]]; then
  system="$(find_python)"
  "$system" -m venv "$environment" || fail "$system cannot make a virtual environment at $environment"
fi

stamp="$environment/tooln1-bfcl.txt"
pinned="$(pins "$python")"
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
