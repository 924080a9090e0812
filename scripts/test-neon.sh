#!/bin/sh
# Builds the native library and the tests of its kernels for 64-bit ARM and runs them: whether the NEON kernels are right.
# On any other machine with a cross-compiler, and under qemu. --write keeps docs/results/neon.json.
# AARCH64_CXX names another cross-compiler than aarch64-linux-gnu-g++.
set -eu
cd "$(dirname "$0")/.."
build=build-neon
tests='kernel_table cpu_features vector_math dtype packed_matrix linear linear_bits attention layer_norm embedding quantize
pooling dot_product training_kernels attention_backward layer_norm_backward gelu training_operand column_sums
embedding_backward softmax'

case $(uname -m) in
  aarch64 | arm64)
    emulator=
    emulator_version='none, an ARM processor'
    set_up() { cmake -S . -B "$build" -DELASTICLM_CUDA=OFF; }
    ;;
  *)
    compiler=${AARCH64_CXX:-aarch64-linux-gnu-g++}
    emulator=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
    missing=
    command -v "$compiler" >/dev/null || missing="$compiler (Debian: g++-aarch64-linux-gnu)"
    [ -n "$emulator" ] || missing="${missing:+$missing and }qemu-aarch64 (Debian: qemu-user)"
    if [ -n "$missing" ]; then
      printf 'test:neon: expected a cross-compiler for 64-bit ARM and qemu, missing: %s. Install it.\n' "$missing" >&2
      exit 2
    fi
    emulator_version=$("$emulator" --version | head -n 1)
    # Static, so that the emulator needs no ARM libraries.
    set_up() {
      cmake -S . -B "$build" -DELASTICLM_CUDA=OFF -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
        -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_EXE_LINKER_FLAGS=-static
    }
    ;;
esac

set_up
targets=
for test in $tests; do targets="$targets ${test}_test"; done
# shellcheck disable=SC2086 # one word for each target
cmake --build "$build" --parallel "$(getconf _NPROCESSORS_ONLN)" --target $targets
compiler_path=$(sed -n 's/^CMAKE_CXX_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")
compiler_version=$("$compiler_path" --version | head -n 1)

all_passed=true
results=
for test in $tests; do
  printf '%s: ' "$test"
  passed=true
  # Without an emulator, the program itself. Each ends with "N passed, N failed".
  output=$($emulator "$build/${test}_test" 2>&1) || passed=false
  summary=$(printf '%s\n' "$output" | tail -n 1)
  printf '%s\n' "$summary"
  if [ $passed = false ]; then
    all_passed=false
    printf '%s\n' "$output" >&2
  fi
  results="$results${results:+,}
  {\"test\": \"$test\", \"summary\": \"$summary\", \"passed\": $passed}"
done

if [ "${1:-}" = --write ]; then
  modified=false
  [ -z "$(git status --porcelain -- native CMakeLists.txt)" ] || modified=true
  printf '{\n "commit": "%s",\n "modified": %s,\n "date": "%s",\n "compiler": "%s",\n "emulator": "%s",\n "passed": %s,\n "tests": [%s\n ]\n}\n' \
    "$(git rev-parse HEAD)" $modified "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$compiler_version" "$emulator_version" \
    $all_passed "$results" >docs/results/neon.json
fi
[ $all_passed = true ]
