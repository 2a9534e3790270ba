#!/bin/sh
# Builds the `fuzz` preset and runs every target for SECONDS on a copy of its corpus. Fails if any target does.
# Usage: fuzz/run.sh [SECONDS] [TARGET...]        (default: 60 seconds, all targets)
# Findings go to build-fuzz/findings/; what was new goes to build-fuzz/corpus/<target>/.
set -u
seconds=${1:-60}
[ $# -gt 0 ] && shift
cd "$(dirname "$0")/.." || exit 1

if [ $# -eq 0 ]; then
  for source in fuzz/fuzz_*.cpp; do
    set -- "$@" "$(basename "$source" .cpp)"
  done
fi
cmake --preset fuzz >/dev/null && cmake --build --preset fuzz --target "$@" || exit 1

export ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=1:allocator_may_return_null=1"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:print_stacktrace=1"
mkdir -p build-fuzz/findings

# Prints everything at once: others run beside it.
run_target() {
  target=$1
  seeds=fuzz/corpus/$target
  fresh=build-fuzz/corpus/$target
  log=build-fuzz/$target.log
  mkdir -p "$fresh"
  # Seeds may be larger than what the fuzzer would make on its own, so the largest decides the length of inputs.
  longest=$(find "$seeds" -type f -printf '%s\n' 2>/dev/null | sort -n | tail -1)
  [ "${longest:-0}" -lt 4096 ] && longest=4096
  dictionary=""
  [ -f "fuzz/$target.dict" ] && dictionary="-dict=fuzz/$target.dict"
  if "build-fuzz/fuzz/$target" -max_total_time="$seconds" -rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=10 \
      -max_len="$longest" -print_final_stats=1 $dictionary \
      -artifact_prefix="build-fuzz/findings/$target-" "$fresh" "$seeds" >"$log" 2>&1; then
    said=$(grep -E '^(stat::number_of_executed_units|stat::peak_rss_mb|Done)' "$log")
    status=0
  else
    said=$(tail -60 "$log")
    status=1
  fi
  printf '== %s: %s s\n%s\n' "$target" "$seconds" "$said"
  return $status
}

# One for each processor at a time. What a shell starts in the background does not hear Ctrl-C.
trap 'trap "" TERM; kill 0; exit 130' INT
at_once=$(nproc)
failed=""
while [ $# -gt 0 ]; do
  started=""
  count=0
  while [ $# -gt 0 ] && [ "$count" -lt "$at_once" ]; do
    run_target "$1" &
    started="$started $!:$1"
    count=$((count + 1))
    shift
  done
  for one in $started; do
    wait "${one%%:*}" || failed="$failed ${one#*:}"
  done
done
if [ -n "$failed" ]; then
  echo "FAILED:$failed (inputs in build-fuzz/findings/)"
  exit 1
fi
echo "no target found anything"
