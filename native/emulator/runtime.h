// What the files of the emulated runtime API share.
#pragma once

#include <cstdint>
#include <mutex>

#include "emulator/emulator.h"

namespace elasticlm::emulator {

// One call of the API at a time, of all host threads: kernels run inside of calls.
std::recursive_mutex& api_mutex();

// Notes the call; an error when it has to fail for want of a driver or device, or because a test says so.
cudaError_t begin_call(bool needs_device);
// Keeps an error for cudaGetLastError.
cudaError_t remember(cudaError_t error);

// Runs `work` as the body of one API call.
template <typename Work>
cudaError_t api_call(Work&& work, bool needs_device = true) {
  const std::lock_guard lock(api_mutex());
  const cudaError_t refused = begin_call(needs_device);
  return remember(refused != cudaSuccess ? refused : work());
}

// Shared memory that one block may have, by compute capability.
struct SharedLimits {
  size_t by_default = size_t{48} << 10;
  size_t opt_in = 0;
  size_t multiprocessor = 0;
  size_t reserved = 1024;  // of each block, by the system
};
SharedLimits shared_limits();

int current_device();

}  // namespace elasticlm::emulator
