#!/usr/bin/env bash
# Serves a model and lets an ordinary OpenAI client call tools with it: a question, the call, the tool's result, the next
# question; the same answer streamed; a question that no tool fits.
#
#   bash examples/serve_and_call.sh [MODEL [OPTIONS of tooln1 serve]]
#
# Model:    the quickstart's, runs/tiny/merged, by default
# Hardware: 2 CPU cores and 4 GB of free memory for the tiny model
# Time:     half a minute, nearly all of it for vLLM to start
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
if [[ $# -eq 0 ]]; then
    set -- "${RUN_DIR:-$root/runs/tiny}/merged"
    if [[ ! -d $1 ]]; then
        echo "error: $1: no such folder; run bash examples/run_tiny_cpu_grpo.sh first, or name a model" >&2
        exit 2
    fi
fi

[[ -n "${VIRTUAL_ENV:-}" || ! -f "$root/.venv/bin/activate" ]] || source "$root/.venv/bin/activate"
exec python "$root/examples/serve_and_call.py" "$@"
