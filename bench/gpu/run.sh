#!/usr/bin/env bash
# Everything that needs a GPU, on a machine with nvcc, CMake and Python with PyTorch, without Node and without a network:
#   bench/gpu/run.sh [--out DIR] [--dry-run] [STAGE]...
# Stages, in the order they run (all but profile by default; under nine minutes on a Hopper card with 16 cores):
#   build     the tests and benches for this card, and the peer's compilation beside it
#   test      the contract suites of the kernels and the encoder
#   sanitize  a short part of them under compute-sanitizer (memcheck, racecheck)
#   bench     gpu_kernel_bench, gpu_encoder_bench and torch_peer.py, then the table of summary.py
#   profile   ncu on one launch of each kernel
# A stage that fails is named at the end and does not keep the others from running. Records and one log go to DIR (default
# $OUT, or bench/results/gpu). --dry-run prints the commands.
set -uo pipefail
cd "$(dirname "$0")/../.."

out=${OUT:-bench/results/gpu}
dry_run=
stages=()
while [ $# -gt 0 ]; do
  case $1 in
    --out)
      out=$2
      shift
      ;;
    --dry-run) dry_run=1 ;;
    build | test | sanitize | bench | profile) stages+=("$1") ;;
    *)
      echo "expected build, test, sanitize, bench or profile, received $1" >&2
      exit 2
      ;;
  esac
  shift
done
[ ${#stages[@]} -gt 0 ] || stages=(build test sanitize bench)

build=build-gpu
log=/dev/null
jobs=$(getconf _NPROCESSORS_ONLN)
failures=()
times=()

run() {
  echo "+ $*"
  [ -n "$dry_run" ] || "$@"
}
# Runs a command for at most so many seconds. What it says goes to the log; its end is shown when it fails.
run_for() {
  local seconds=$1
  shift
  echo "+ $*" | tee -a "$log"
  [ -z "$dry_run" ] || return 0
  local begin
  begin=$(wc -c <"$log")
  timeout "$seconds" "$@" >>"$log" 2>&1 || {
    local status=$?
    tail -c "+$((begin + 1))" "$log" | tail -25
    echo "exit status $status (124: longer than $seconds s)"
    return 1
  }
}
# The same for a command whose standard output is a record.
record_for() {
  local seconds=$1 record=$out/$2
  shift 2
  run_for "$seconds" bash -c 'exec "$@" >"$0"' "$record" "$@"
}
step() {
  local name=$1
  shift
  "$@" || {
    failures+=("$name")
    echo "FAILED $name"
  }
}
# The names of the test programs, without the suffix that CMake gives those of the GPU (cmake/device.cmake has the rule).
programs() {
  local source
  for source in native/test/cuda/*.cpp; do
    [ -e "${source%.cpp}.h" ] || basename "$source" .cpp
  done
}

# The compute capability of the first GPU, as nvcc writes it: 90.
architecture() {
  nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d .
}

stage_build() {
  local arch generator=()
  arch=$(architecture)
  command -v ninja >/dev/null && generator=(-G Ninja)
  # The peer's compiler works on the cores while nvcc does; its cache is what the bench finds later.
  local peer=
  if [[ " ${stages[*]} " == *' bench '* ]]; then
    run_for 300 python3 bench/gpu/torch_peer.py --compile-only &
    peer=$!
  fi
  step configure run cmake -S . -B $build "${generator[@]}" -DELASTICLM_CUDA=ON -DCUDA_ARCHITECTURES="${arch:-90}" \
    -DCUDA_LINE_INFO=ON
  local targets=(elasticlm_cuda gpu_encoder_bench_gpu gpu_kernel_bench_gpu) name
  for name in $(programs); do targets+=("cuda_${name}_gpu"); done
  step compile run cmake --build $build --parallel "$jobs" --target "${targets[@]}"
  [ -z "$peer" ] || step 'compile the peer' wait "$peer"
}

stage_test() {
  local name
  for name in $(programs); do step "$name" run_for 120 $build/"cuda_${name}_gpu"; done
}

# The benches' smoke runs: every path of a tiny model, and every kernel once.
stage_sanitize() {
  local tool bench
  for tool in memcheck racecheck; do
    for bench in kernel encoder; do
      step "$tool of the $bench bench" run_for 90 compute-sanitizer --tool $tool --error-exitcode 9 \
        $build/gpu_${bench}_bench_gpu --smoke
    done
  done
}

stage_bench() {
  step 'kernel bench' record_for 120 kernels.jsonl $build/gpu_kernel_bench_gpu
  step 'encoder bench' record_for 180 encoder.jsonl $build/gpu_encoder_bench_gpu
  step 'torch peer' record_for 300 torch.jsonl python3 bench/gpu/torch_peer.py --shapes "$out/encoder.jsonl"
}

stage_profile() {
  step profile record_for 240 ncu.csv ncu --clock-control none --csv --page details --section SpeedOfLight \
    --section Occupancy --section LaunchStats --section WarpStateStats --section MemoryWorkloadAnalysis \
    $build/gpu_kernel_bench_gpu --profile
}

if [ -z "$dry_run" ]; then
  mkdir -p "$out"
  log=$out/log.txt
  : >"$log"
fi
for stage in "${stages[@]}"; do
  echo "=== $stage"
  begin=$SECONDS
  "stage_$stage"
  times+=("$stage $((SECONDS - begin)) s")
done
if [[ " ${stages[*]} " == *' bench '* ]]; then
  echo '=== summary'
  step bars run python3 bench/gpu/summary.py "$out" --write "$out/gpu-bf16.json"
fi
(IFS=,; echo "times: ${times[*]}")
if [ ${#failures[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "${failures[@]}"
  exit 1
fi
echo 'all stages passed'
