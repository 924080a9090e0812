// What tests set about the emulated machine.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "emulator/fault.h"

namespace elasticlm::emulator {

struct Settings {
  bool has_driver = true;
  int num_devices = 1;
  int compute_capability = 90;
  int num_sms = 3;
  size_t memory_bytes = size_t{8} << 30;  // of each device; cudaMalloc beyond it fails
  // The call of the runtime API, counted from set_failing_call on, that fails with failing_error and does
  // nothing.
  int64_t failing_call = -1;
  cudaError_t failing_error = cudaErrorUnknown;
};

// Read at each call of the runtime API.
Settings& settings();

// Calls of the runtime API from now on are counted from 0; the n-th fails. n < 0: none.
void set_failing_call(int64_t n, cudaError_t error);
int64_t num_api_calls();

// Begins the sequence of random choices of all later launches. The same seed and the same calls give the same
// run.
void set_seed(uint64_t seed);

// Forgets work that was enqueued and not run, and errors. (Between tests that leave work behind.)
void forget_work();

}  // namespace elasticlm::emulator
