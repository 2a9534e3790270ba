#!/usr/bin/env bash
# Installs the packages, builds everything with warnings as errors, runs all tests. Arguments go to ctest.
#   scripts/test.sh
#   scripts/test.sh -R tokenizer
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/setup.sh --test
cmake --preset dev -DCMAKE_CXX_COMPILER_LAUNCHER=ccache >/dev/null
cmake --build build-dev
ctest --preset dev --parallel "$(nproc)" "$@"
