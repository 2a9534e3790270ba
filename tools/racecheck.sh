#!/usr/bin/env bash
# compute-sanitizer's racecheck over the CUDA kernels: each of them once, on shapes small enough for a tool that follows
# every access to shared memory. Groups of tests run side by side, a process each, in half a minute on 16 processors.
#
#   tools/racecheck.sh BUILD OUT [JOBS]
#
# A log a group in OUT/racecheck-GROUP.log. Exit code 1 when a group has hazards, fails or takes too long.
set -u -o pipefail

[[ $# -ge 2 ]] || {
  echo 'usage: tools/racecheck.sh BUILD OUT [JOBS]' >&2
  exit 2
}
program=$1/tests/test_cuda
out=$2
jobs=${3:-$(nproc)}
limit=240  # seconds of a group
sanitizer=$(command -v compute-sanitizer || command -v /usr/local/cuda/bin/compute-sanitizer) || {
  echo 'racecheck: compute-sanitizer is not installed' >&2
  exit 2
}
[[ -x $program ]] || {
  echo "racecheck: there is no $program" >&2
  exit 2
}

# GROUP FILTER. Whole models reach what no test of a kernel does, and how kernels follow each other.
groups() {
  cat <<'END'
attention-prompts CudaAttention.PrefillOnTensorCores
attention-spans CudaAttention.SpansOnTensorCores
attention-weights CudaAttention.WeightsWrittenOut
conv CudaConv.MatchesReference*
elementwise CudaElementwise.*
formats-float Formats/CudaWeights.*f32:Formats/CudaWeights.*bf16
formats-quantized Formats/CudaWeights.*q8:Formats/CudaWeights.*q4:Formats/CudaWeights.*fp8
models Seeds/CudaModel.BestIdsAreThoseOfTheLogits/0:Seeds/CudaModel.BestIdsAreThoseOfTheLogits/1
models-f32 Seeds/CudaModel.StatesForkAndMoveBetweenDevices/0
norms Cuda*RmsNorm.*
rows CudaKvPages.*:CudaRope.*:CudaFp8.*:CudaQuantized.*
sampling CudaSampling.BrokenLogitsStillGiveAnId
scan-chunked CudaScan.TimeStepLimitClamps:CudaScan.CapturedGraphsFollowTheLists
scan-recurrent CudaScan.RecurrenceMatchesReferenceBf16
scan-step CudaJoinedScan.*
skinny CudaSkinny.AddsBiasAndWhatWasThere:CudaSkinny.Plain*:CudaSkinny.SharedSums*
tokens CudaBestColumns.*
END
}

check() {  # GROUP FILTER
  local log=$out/racecheck-$1.log begin=$SECONDS code hazards
  timeout -k 10 "$limit" "$sanitizer" --tool racecheck --racecheck-report all --error-exitcode 9 "$program" \
    "--gtest_filter=$2" >"$log" 2>&1
  code=$?
  hazards=$(grep 'RACECHECK SUMMARY' "$log" | tail -n 1 | sed 's/.*SUMMARY: //')
  # A filter that names no test would pass without having looked at anything.
  if ((code == 0)) && ! grep -q '^\[  PASSED  \] [1-9]' "$log"; then
    code=1
    hazards='no test ran'
  fi
  if ((code == 124 || code == 137)); then hazards="longer than $limit s"; fi
  printf 'racecheck: %-18s %4d s  %s\n' "$1" $((SECONDS - begin)) "${hazards:-code $code}"
  return "$code"
}
export -f check
export out limit sanitizer program

mkdir -p "$out" || exit 2
# shellcheck disable=SC2016  # for the inner shell
groups | xargs -P "$jobs" -L 1 bash -c 'check "$1" "$2"' check || exit 1
