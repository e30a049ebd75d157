#!/usr/bin/env bash
# Makes the data of one experiment: DATA_DIR/NAME/{train,test}.parquet, by default in data/. Existing files are kept.
#
#   bash examples/prepare_data.sh NAME
#
# NAME: about-21k, full, xlam-only, toolace-only, toolace-single, single-turn-5518 (docs/data.md has the rules), halves,
#       sft-no-reason, sft-reason, sft-reason-half
# Cost: minutes and 2 GB. ToolACE and xLAM come from the Hugging Face hub (for xLAM, accept the terms and log in), or
#       from TOOLACE_INPUT=FILE and XLAM_INPUT=FILE. sft-reason and sft-reason-half need data/distilled/responses.jsonl
#       from data_prep/distill.py.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($# == 1)) || fail "expected one argument, the name of the data; got $#"

# make NAME SCRIPT ARGUMENTS: runs a script of data_prep/, unless its output exists.
make() {
  [[ -f "$data/$1/train.parquet" ]] || python "$root/data_prep/$2.py" --output "$data/$1" "${@:3}"
}
toolace() { make toolace toolace ${TOOLACE_INPUT:+--input "$TOOLACE_INPUT"}; }
xlam() { make xlam xlam ${XLAM_INPUT:+--input "$XLAM_INPUT"}; }
# mix NAME "SOURCE ..." ARGUMENTS: prepares the sources and mixes them. A failed step ends the script with its exit code:
# the functions are not joined by &&, which would turn `set -e` off in them.
mix() {
  local source folders=()
  for source in $2; do
    "$source"
    folders+=("$data/$source")
  done
  make "$1" mix --input "${folders[@]}" "${@:3}"
}
single_turn() { mix single-turn-5518 "toolace xlam" --preset single-turn-5518; }
# Two halves with no conversation in common. The held-out rows are those of single-turn-5518.
halves() { single_turn; make halves mix --input "$data/single-turn-5518/train.parquet" --test-size 0.5; }
calls_alone() { make "$1" sft --input "$2" --template direct; }
reasons() { make "$1" sft --input "$2" --responses "$data/distilled/responses.jsonl"; }

case "$1" in
  about-21k | full) mix "$1" "toolace xlam" --preset "$1" ;;
  xlam-only | toolace-only) mix "$1" "${1%-only}" --preset "$1" ;;
  toolace-single) mix "$1" toolace --counts toolace_single_turn=all ;;
  single-turn-5518) single_turn ;;
  halves) halves ;;
  sft-no-reason) single_turn; calls_alone "$1" "$data/single-turn-5518" ;;
  sft-reason) single_turn; reasons "$1" "$data/single-turn-5518" ;;
  sft-reason-half) halves; reasons "$1" "$data/halves/train.parquet" ;;
  *) fail "$1: unknown; expected one of the names in ${BASH_SOURCE[0]}" ;;
esac
