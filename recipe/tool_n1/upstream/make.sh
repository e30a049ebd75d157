#!/usr/bin/env bash
# Writes the change for the verl that is installed, beside this script (a second):
#
#   bash recipe/tool_n1/upstream/make.sh
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
packages=$(python -c 'import importlib.util; print(importlib.util.find_spec("verl").submodule_search_locations[0])')
tooln1 upstream --verl "$packages" --output "$here/verl-0.9.1.patch"
