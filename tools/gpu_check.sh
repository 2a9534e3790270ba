#!/usr/bin/env bash
# All that is to be known about the CUDA backend on one machine with an H100 and the CUDA toolkit: builds it, runs every
# test, the golden tests on the GPU too, the sanitizers, and measures. Needs no network.
#
#   tools/gpu_check.sh                              everything
#   tools/gpu_check.sh --quick                      tests and a few measurements
#   tools/gpu_check.sh --skip build,sanitizer       with what build-cuda holds
#   tools/gpu_check.sh --only speed --build DIR     one group, another build folder
#
# Exit code: 0 all went well; 1 the build or a test failed; 2 wrong usage; 3 only measurements failed.
set -u -o pipefail

groups=(build tests sanitizer text kernels speed)

usage() {
  cat <<END
usage: tools/gpu_check.sh [flags]
  --build DIR     the build folder (default build-cuda)
  --out DIR       logs and results (default BUILD/gpu-check)
  --only LIST     only these groups, with commas between them
  --skip LIST     all groups but these
  --quick         no racecheck, no benchmarks of kernels, short measurements, none of long prompts
  --sanitize-filter F   tests of test_cuda under memcheck, as in --gtest_filter
  --step-limit S  seconds that a step may take (default 1200)
  --jobs N        of the build and of ctest (default: all processors)
  --cmake ARG     one more argument for cmake (repeatable)
groups:
  build           cmake and ninja
  tests           ctest, test_cuda, golden tests of test_model and test_generation on the GPU
  sanitizer       test_cuda under compute-sanitizer: memcheck, racecheck
  text            greedy text of the demo model in f32, byte for byte the same on cpu and cuda
  kernels         all bench_cuda_* programs
  speed           bamba bench of Bamba-9B's shape
END
}

fail_usage() {
  echo "gpu_check: $1 (--help says more)" >&2
  exit 2
}

started=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
root=$PWD

build=$root/build-cuda
out=
only=
skip=
quick=0
# Long prompts, many draws and all but two of the random models would take minutes there, and reach no line of code that
# the others do not reach. The tool runs launches one after the other, so none begins early.
sanitize_filter=
sanitize_default='-*ManyTokens*:*ManyHeads*:CudaSampling.FollowsTheDistribution:CudaEarlyLaunch.*'
for seed in {2..9}; do sanitize_default+=":Seeds/CudaModel.*/$seed:Seeds/CudaFp8Model.*/$seed"; done
step_limit=1200
jobs=$(nproc)
cmake_arguments=()

from_start() {  # a path given on the command line
  case $1 in
    /*) echo "$1" ;;
    *) echo "$started/$1" ;;
  esac
}

while [[ $# -gt 0 ]]; do
  case $1 in
    --quick) quick=1 ;;
    -h | --help)
      usage
      exit 0
      ;;
    --build | --out | --only | --skip | --sanitize-filter | --step-limit | --jobs | --cmake)
      [[ $# -ge 2 ]] || fail_usage "$1 needs a value"
      case $1 in
        --build) build=$(from_start "$2") ;;
        --out) out=$(from_start "$2") ;;
        --only) only=$2 ;;
        --skip) skip=$2 ;;
        --sanitize-filter) sanitize_filter=$2 ;;
        --step-limit) step_limit=$2 ;;
        --jobs) jobs=$2 ;;
        --cmake) cmake_arguments+=("$2") ;;
      esac
      shift
      ;;
    *) fail_usage "unknown flag $1" ;;
  esac
  shift
done

for number in "$step_limit" "$jobs"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || fail_usage "'$number' is not a whole number above 0"
done
for name in ${only//,/ } ${skip//,/ }; do
  [[ " ${groups[*]} " == *" $name "* ]] || fail_usage "there is no group '$name'; the groups are ${groups[*]}"
done
for tool in python3 timeout; do
  command -v "$tool" >/dev/null || fail_usage "$tool is not installed"
done

out=${out:-$build/gpu-check}
bamba=$build/bamba
mkdir -p "$out" || exit 2
rm -f "$out"/speed-*.json  # of an earlier run: they must not show up in this one's table
: >"$out/steps.tsv" || exit 2

failed_tests=0
failed_measurements=0
current=  # process id of the step that runs now
current_name=
current_kind=
current_begin=0

# shellcheck disable=SC2317  # called by the traps
summary() {
  trap - EXIT INT TERM HUP
  if [[ -n $current ]]; then
    kill -TERM "$current" 2>/dev/null
    wait "$current" 2>/dev/null
    record "$current_name" "$current_kind" stopped $((SECONDS - current_begin)) ''
  fi
  python3 "$root/tools/gpu_check_table.py" "$out"
  if ((failed_tests > 0)); then exit 1; fi
  if ((failed_measurements > 0)); then exit 3; fi
  exit "$1"
}
trap 'summary $?' EXIT
trap 'summary 130' INT
trap 'summary 143' TERM HUP

selected() {
  if [[ -n $only && ",$only," != *",$1,"* ]]; then return 1; fi
  [[ ",$skip," != *",$1,"* ]]
}

record() {  # NAME KIND RESULT SECONDS REMARK
  printf '%s\t%s\t%s\t%s\t%s\n' "$@" >>"$out/steps.tsv"
  printf 'gpu_check: %-28s %s%s\n' "$1" "$3" "${5:+ ($5)}"
  [[ $3 == failed ]] || return 0
  if [[ $2 == test ]]; then
    failed_tests=$((failed_tests + 1))
  else
    failed_measurements=$((failed_measurements + 1))
  fi
}

# step NAME test|measure COMMAND...: runs it with its output in OUT/NAME.log. Where step_stdout is set, stdout goes
# there alone. In the background with wait, so that a signal is answered at once and not when the step ends.
step_stdout=
step() {
  local name=$1 kind=$2 log=$out/$1.log begin=$SECONDS code remark=
  shift 2
  printf '+ %s\n' "${*@Q}" >"$log"
  if [[ -n $step_stdout ]]; then
    timeout -k 20 "$step_limit" "$@" </dev/null >"$step_stdout" 2>>"$log" &
  else
    timeout -k 20 "$step_limit" "$@" </dev/null >>"$log" 2>&1 &
  fi
  current=$! current_name=$name current_kind=$kind current_begin=$begin
  wait "$current"
  code=$?
  current=
  # Without a GPU the tests skip themselves, which must not pass for success here.
  if ((code == 0)) && grep -q 'no CUDA device on this machine' "$log"; then
    code=1
    remark='no CUDA device'
  fi
  if ((code == 0)); then
    record "$name" "$kind" ok $((SECONDS - begin)) ''
    return 0
  fi
  if ((code == 124 || code == 137)); then remark="longer than $step_limit s, or killed"; fi
  record "$name" "$kind" failed $((SECONDS - begin)) "${remark:-code $code}; see $log"
  tail -n 15 "$log" | sed 's/^/    /'
  return 1
}

build_all() {
  step configure test cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBAMBA_CUDA=ON \
    -DBAMBA_BUILD_BENCH=ON -DBAMBA_BUILD_TESTS=ON "${cmake_arguments[@]}" || return 1
  step build test cmake --build "$build" --parallel "$jobs"
}

golden_on_gpu() {  # NAME of the test program
  # An older program would run on the CPU and say that all is well.
  if ! grep -qs BAMBA_TEST_DEVICE "$build/tests/$1"; then
    record "$1-cuda" test failed 0 'the program does not know BAMBA_TEST_DEVICE, or is not built'
    return 1
  fi
  step "$1-cuda" test env BAMBA_TEST_DEVICE=cuda "$build/tests/$1" '--gtest_filter=*Golden*'
}

run_tests() {
  # test_cuda is ctest's test `cuda`: once, and with a log of its own.
  step ctest test ctest --test-dir "$build" --no-tests=error --output-on-failure --parallel "$jobs" \
    --exclude-regex '^cuda$'
  step test_cuda test "$build/tests/test_cuda"
  golden_on_gpu test_model
  golden_on_gpu test_generation
}

run_sanitizer() {
  local sanitizer
  if ! sanitizer=$(command -v compute-sanitizer || command -v /usr/local/cuda/bin/compute-sanitizer); then
    record sanitizer test skipped 0 'compute-sanitizer is not installed'
    return 0
  fi
  step memcheck test "$sanitizer" --tool memcheck --error-exitcode 9 "$build/tests/test_cuda" \
    "--gtest_filter=${sanitize_filter:-$sanitize_default}"
  ((quick)) || step racecheck test "$root/tools/racecheck.sh" "$build" "$out" "$jobs"
}

text_of() {  # DEVICE
  step "text-$1" test "$bamba" generate -m "$root/models/demo" --device "$1" --weights f32 --activations f32 --kv f32 \
    --greedy -n 120 --batch-file "$out/prompts.jsonl" -o "$out/text-$1.txt"
}

run_text() {
  # Of texts, and of ids with lengths around the scan's chunks, where other paths of the code begin.
  python3 -c '
import json
for text in ("Once upon a time", "The sea", "A", "What is the capital of France?", "1 2 3 4 5 6 7 8"):
    print(json.dumps({"prompt": text}))
for length in (1, 63, 64, 65, 300):
    print(json.dumps({"ids": [(7919 * i + 13) % 1000 + 6 for i in range(length)]}))
' >"$out/prompts.jsonl"
  rm -f "$out/text-cpu.txt" "$out/text-cuda.txt"
  text_of cpu
  text_of cuda
  step text-compare test cmp "$out/text-cpu.txt" "$out/text-cuda.txt"
}

run_kernels() {
  local program found=0
  for program in "$build"/bench/bench_cuda_*; do
    [[ -x $program && -f $program ]] || continue
    found=1
    step "$(basename "$program")" measure "$program"
  done
  ((found)) || record kernels measure failed 0 "no bench_cuda_* in $build/bench"
}

speed() {  # NAME FLAGS...
  local name=$1
  shift
  step_stdout=$out/speed-$name.json step "speed-$name" measure "$bamba" bench --shape bamba-9b --device cuda --json "$@"
}

run_speed() {
  local repeat=3
  if ((quick)); then repeat=1; fi
  speed bf16-prompt-2048 --weights bf16 --prompt 2048 --gen 16 --repeat $repeat
  ((quick)) || speed bf16-prompt-8192 --weights bf16 --prompt 8192 --gen 8 --repeat $repeat
  for batch in 1 32 128; do
    speed "bf16-decode-$batch" --weights bf16 --prompt 128 --gen 128 --batch "$batch" --repeat $repeat
  done
  for weights in q8 q4; do
    speed "$weights-decode-1" --weights "$weights" --prompt 128 --gen 128 --repeat $repeat
  done
  ((quick)) || speed bf16-prompt-131072 --weights bf16 --prompt 131072 --gen 8 --repeat 1
}

{
  date -u '+%Y-%m-%d %H:%M:%S UTC'
  git -C "$root" log -1 --format='%h %s' 2>/dev/null
  uname -srm
  if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm --format=csv,noheader
  fi
  if command -v nvcc >/dev/null; then nvcc --version | tail -n 1; fi
} >"$out/machine.txt" 2>&1

if selected build; then
  build_all || exit 1
fi
if selected tests; then run_tests; fi
if selected text; then run_text; fi
if selected sanitizer; then run_sanitizer; fi
if selected kernels && ! ((quick)); then run_kernels; fi
if selected speed; then run_speed; fi
exit 0
