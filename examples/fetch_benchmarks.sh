#!/usr/bin/env bash
# Fetches the data of API-Bank and ACEBench at pinned commits, for `tooln1 eval --bench api_bank,acebench --data FOLDER`.
#
#   bash examples/fetch_benchmarks.sh [FOLDER]     FOLDER: data/benchmarks by default
#
# FOLDER/api-bank gets the benchmark's whole folder (Apache-2.0), whose own code then judges, and FOLDER/acebench its data
# (MIT). FOLDER/hammer/apibank_l1.json (Apache-2.0) are API-Bank's cases in the function-calling form: `--data FOLDER/hammer`.
# Cost: a minute and 30 MB. What is there already is kept. Needs git 2.25 or newer.
# SOURCES=FOLDER: take local copies FOLDER/DAMO-ConvAI, FOLDER/ACEBench and FOLDER/Hammer instead of those on GitHub.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
(($# <= 1)) || fail "expected at most one argument, the folder; got $#"
target="${1:-$data/benchmarks}"

# take NAME REPOSITORY COMMIT PATH: copies PATH, a folder or a file, of a repository's commit to NAME.
take() {
  local git address="https://github.com/$2"
  [[ ! -e "$target/$1" ]] || return 0
  clone="$target/.${2#*/}.$$"
  git=(git -C "$clone")
  mkdir -p "$clone" "$(dirname -- "$target/$1")"
  "${git[@]}" init --quiet
  if [[ -n "${SOURCES:-}" ]]; then
    address="file://$(cd -- "$SOURCES" && pwd)/${2#*/}"
    "${git[@]}" config remote.origin.uploadpack \
      "git -c uploadpack.allowFilter=true -c uploadpack.allowAnySHA1InWant=true upload-pack"
  fi
  "${git[@]}" config remote.origin.url "$address"
  # Only the files of PATH: the repositories hold hundreds of megabytes of other work.
  "${git[@]}" config remote.origin.promisor true
  "${git[@]}" config core.sparseCheckout true
  echo "/$4" >"$clone/.git/info/sparse-checkout"
  "${git[@]}" fetch --quiet --depth 1 --filter=blob:none origin "$3" || fail "$address: cannot fetch commit $3"
  "${git[@]}" checkout --quiet --detach FETCH_HEAD || fail "$address: cannot fetch the files of commit $3"
  [[ -e "$clone/$4" ]] || fail "$address: commit $3 has no $4"
  mv "$clone/$4" "$target/$1"
  rm -rf "$clone"
  echo "$target/$1: $address, commit $3"
}

clone=
trap '[[ -z "$clone" ]] || rm -rf "$clone"' EXIT
take api-bank AlibabaResearch/DAMO-ConvAI 483554eae102996f5ec1f4feab4e78ef29c2a394 api-bank
take acebench/data_all ACEBench/ACEBench e6db74b735ead22c24f27367606a9408573b848f data_all
take hammer/apibank_l1.json MadeAgents/Hammer ff415d9998180b5a68bbfdda3309ec04b472fb49 data/test/original/apibank_l1.json
