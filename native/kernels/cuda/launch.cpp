#include "kernels/cuda/launch.h"

#include <string>

namespace elasticlm::cuda {

void check(cudaError_t status, const char* action) {
  if (status == cudaSuccess) return;
  // Runtime calls leave their error behind for cudaGetLastError; it is this exception's now.
  static_cast<void>(cudaGetLastError());
  const bool memory = status == cudaErrorMemoryAllocation;
  fail(memory ? ErrorCode::kDeviceMemoryExhausted : ErrorCode::kDeviceFailed,
       {.expected = std::string("the GPU ") + action,
        .subject = "this call",
        .received = std::string(cudaGetErrorName(status)) + " (" + cudaGetErrorString(status) + ")",
        .remedy = memory ? "Free memory of the GPU, or load fewer models or allow smaller batches" : ""});
}

}  // namespace elasticlm::cuda
