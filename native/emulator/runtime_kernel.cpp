#include <algorithm>
#include <map>

#include "emulator/runtime.h"
#include "emulator/runtime_stream.h"
#include "emulator/scheduler.h"

namespace elasticlm::emulator {
namespace {

constexpr size_t kMaxBlockThreads = 1024;
constexpr size_t kMaxSmThreads = 2048;
constexpr size_t kMaxSmBlocks = 32;
constexpr unsigned kMaxGridYz = 65535;

// Dynamic shared bytes that cudaFuncSetAttribute allowed, for each kernel and device.
std::map<std::pair<const void*, int>, size_t> allowed_shared;

size_t allowed_shared_bytes(const void* kernel) {
  const auto found = allowed_shared.find({kernel, current_device()});
  return std::max(found == allowed_shared.end() ? 0 : found->second, shared_limits().by_default);
}

size_t blocks_per_sm(const void* kernel, size_t block_threads, size_t shared_bytes) {
  if (block_threads == 0 || block_threads > kMaxBlockThreads || shared_bytes > allowed_shared_bytes(kernel))
    return 0;
  const SharedLimits limits = shared_limits();
  const size_t warps_threads = (block_threads + 31) / 32 * 32;
  return std::min({kMaxSmBlocks, kMaxSmThreads / warps_threads,
                   limits.multiprocessor / (shared_bytes + limits.reserved)});
}

}  // namespace

cudaError_t launch_kernel(const cudaLaunchConfig_t& config, const void* kernel, std::function<void()> body) {
  return api_call([&] {
    Launch launch;
    launch.body = std::move(body);
    launch.kernel = kernel;
    launch.grid = config.gridDim;
    launch.block = config.blockDim;
    launch.shared_bytes = config.dynamicSmemBytes;
    for (unsigned i = 0; i < config.numAttrs; i++) {
      switch (config.attrs[i].id) {
        case cudaLaunchAttributeCooperative:
          launch.cooperative = config.attrs[i].val.cooperative != 0;
          break;
        case cudaLaunchAttributeProgrammaticStreamSerialization:
          launch.programmatic = config.attrs[i].val.programmaticStreamSerializationAllowed != 0;
          break;
        case cudaLaunchAttributeIgnore:
          break;
      }
    }
    const dim3 grid = launch.grid;
    const dim3 block = launch.block;
    const size_t block_threads = size_t{block.x} * block.y * block.z;
    const size_t num_blocks = size_t{grid.x} * grid.y * grid.z;
    if (block_threads == 0 || block_threads > kMaxBlockThreads || block.z > 64 || num_blocks == 0 ||
        grid.x > 0x7fffffffu || grid.y > kMaxGridYz || grid.z > kMaxGridYz) {
      return cudaErrorInvalidConfiguration;
    }
    if (launch.shared_bytes > allowed_shared_bytes(kernel)) return cudaErrorInvalidValue;
    if (launch.programmatic && settings().compute_capability < 90) return cudaErrorNotSupported;
    if (launch.cooperative && num_blocks > blocks_per_sm(kernel, block_threads, launch.shared_bytes) *
                                               static_cast<size_t>(settings().num_sms)) {
      return cudaErrorCooperativeLaunchTooLarge;
    }
    return enqueue(config.stream, {std::make_shared<const Launch>(std::move(launch)), nullptr});
  });
}

}  // namespace elasticlm::emulator

using namespace elasticlm::emulator;

cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  return api_call([&] {
    if (function == nullptr) return cudaErrorInvalidDeviceFunction;
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
      return value >= -1 && value <= 100 ? cudaSuccess : cudaErrorInvalidValue;
    }
    if (value < 0 || static_cast<size_t>(value) > shared_limits().opt_in) return cudaErrorInvalidValue;
    allowed_shared[{function, current_device()}] = static_cast<size_t>(value);
    return cudaSuccess;
  });
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* num_blocks, const void* function,
                                                          int block_threads, size_t shared_bytes) {
  return api_call([&] {
    if (function == nullptr) return cudaErrorInvalidDeviceFunction;
    if (block_threads <= 0) return cudaErrorInvalidValue;
    *num_blocks = static_cast<int>(blocks_per_sm(function, static_cast<size_t>(block_threads), shared_bytes));
    return cudaSuccess;
  });
}
