// Starting a kernel: the one place that says <<<>>> in its function form.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "core/status.h"

namespace elasticlm::cuda {

// Throws kDeviceFailed (kDeviceMemoryExhausted for cudaErrorMemoryAllocation) naming `action` and the
// driver's own words.
void check(cudaError_t status, const char* action);

struct LaunchShape {
  dim3 grid{1, 1, 1};
  dim3 block{1, 1, 1};
  size_t shared_bytes = 0;  // dynamic shared memory
  cudaStream_t stream = nullptr;
  bool cooperative = false;   // all blocks are resident at once
  bool programmatic = false;  // may begin before the kernel before it in the stream has ended: it waits
                              // itself (grid_dependency_wait). Compute capability 9.0 on.
};

template <typename... Parameters, typename... Arguments>
void launch(void (*kernel)(Parameters...), const LaunchShape& shape, Arguments&&... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (shape.cooperative) {
    attributes[count].id = cudaLaunchAttributeCooperative;
    attributes[count++].val.cooperative = 1;
  }
  if (shape.programmatic) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = shape.grid;
  config.blockDim = shape.block;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = shape.stream;
  config.attrs = attributes;
  config.numAttrs = count;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...), "to start a kernel");
}

// More than 48 KB of dynamic shared memory must be asked for once for each kernel and device.
template <typename... Parameters>
void allow_shared_memory(void (*kernel)(Parameters...), size_t bytes) {
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "to reserve shared memory");
}

}  // namespace elasticlm::cuda
