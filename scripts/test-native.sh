#!/bin/sh
# Builds the native library without Node and runs its tests. With --sanitize, under AddressSanitizer and UBSan: the device
# backend in its emulator then only with --device too, because sanitized fibers take as long as all the rest.
# ELASTICLM_FUZZ_CASES and ELASTICLM_FUZZ_SEED set how much each fuzz driver tries.
set -eu
cd "$(dirname "$0")/.."
build=build-native
sanitize=OFF
device=ON
if [ "${1:-}" = --sanitize ]; then
  build=build-sanitize
  sanitize=ON
  [ "${2:-}" = --device ] || device=OFF
  export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
  export UBSAN_OPTIONS=print_stacktrace=1
fi
jobs=$(getconf _NPROCESSORS_ONLN)
cmake -S . -B "$build" -DELASTICLM_SANITIZE="$sanitize" -DELASTICLM_DEVICE="$device" -DELASTICLM_CUDA=OFF \
  -DELASTICLM_FUZZ_CASES="${ELASTICLM_FUZZ_CASES:-20000}" -DELASTICLM_FUZZ_SEED="${ELASTICLM_FUZZ_SEED:-1}"
cmake --build "$build" --parallel "$jobs"
ctest --test-dir "$build" --parallel "$jobs" --output-on-failure --no-tests=error
