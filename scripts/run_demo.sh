#!/usr/bin/env bash
# Installs the packages, builds the program and lets the demo model write. Arguments go to bamba generate.
#   scripts/run_demo.sh
#   scripts/run_demo.sh -p "The old lighthouse" --seed 7
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh
[[ -f build/build.ninja ]] || cmake --preset release >/dev/null
cmake --build build --target bamba_cli
if [[ $# -eq 0 ]]; then set -- -p "Once upon a time" --echo --timing; fi
exec build/bamba generate "$@"
