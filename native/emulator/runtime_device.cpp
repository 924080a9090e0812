#include <cstring>
#include <string>

#include "emulator/random.h"
#include "emulator/runtime.h"

namespace elasticlm::emulator {
namespace {

thread_local cudaError_t last_error = cudaSuccess;
thread_local int device = 0;
int64_t num_calls = 0;

// The version that cudaDriverGetVersion and cudaRuntimeGetVersion give: 13.0.
constexpr int kVersion = CUDART_VERSION;

}  // namespace

Settings& settings() {
  static Settings all;
  return all;
}

void set_failing_call(int64_t n, cudaError_t error) {
  num_calls = 0;
  settings().failing_call = n;
  settings().failing_error = error;
}
int64_t num_api_calls() { return num_calls; }

void set_seed(uint64_t seed) { random_source = Random(seed); }

std::recursive_mutex& api_mutex() {
  static std::recursive_mutex mutex;
  return mutex;
}

cudaError_t begin_call(bool needs_device) {
  const int64_t call = num_calls++;
  if (settings().failing_call >= 0 && call == settings().failing_call) return settings().failing_error;
  if (!needs_device) return cudaSuccess;
  if (!settings().has_driver) return cudaErrorInsufficientDriver;
  if (settings().num_devices == 0) return cudaErrorNoDevice;
  if (device >= settings().num_devices) return cudaErrorInvalidDevice;
  return cudaSuccess;
}

cudaError_t remember(cudaError_t error) {
  // Not an error in the sense of cudaGetLastError.
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

SharedLimits shared_limits() {
  SharedLimits limits;
  switch (settings().compute_capability) {
    case 80:
    case 87:
      limits.opt_in = size_t{163} << 10;
      break;
    case 86:
    case 89:
    case 120:
      limits.opt_in = size_t{99} << 10;
      break;
    default:
      limits.opt_in = settings().compute_capability >= 90 ? size_t{227} << 10 : size_t{64} << 10;
  }
  limits.multiprocessor = limits.opt_in + limits.reserved;
  return limits;
}

int current_device() { return device; }

}  // namespace elasticlm::emulator

using namespace elasticlm::emulator;

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return last_error; }

#define ELASTICLM_ERRORS(ERROR)                                                                       \
  ERROR(cudaSuccess, "no error")                                                                      \
  ERROR(cudaErrorInvalidValue, "invalid argument")                                                    \
  ERROR(cudaErrorMemoryAllocation, "out of memory")                                                   \
  ERROR(cudaErrorInitializationError, "initialization error")                                         \
  ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument")                              \
  ERROR(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy")                         \
  ERROR(cudaErrorInsufficientDriver, "CUDA driver version is insufficient for CUDA runtime version")  \
  ERROR(cudaErrorInvalidDeviceFunction, "invalid device function")                                    \
  ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected")                                      \
  ERROR(cudaErrorInvalidDevice, "invalid device ordinal")                                             \
  ERROR(cudaErrorInvalidResourceHandle, "invalid resource handle")                                    \
  ERROR(cudaErrorSymbolNotFound, "named symbol not found")                                            \
  ERROR(cudaErrorNotReady, "device not ready")                                                        \
  ERROR(cudaErrorLaunchOutOfResources, "too many resources requested for launch")                     \
  ERROR(cudaErrorLaunchFailure, "unspecified launch failure")                                         \
  ERROR(cudaErrorCooperativeLaunchTooLarge, "too many blocks in cooperative launch")                  \
  ERROR(cudaErrorNotPermitted, "operation not permitted")                                             \
  ERROR(cudaErrorNotSupported, "operation not supported")                                             \
  ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")        \
  ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture") \
  ERROR(cudaErrorStreamCaptureUnmatched, "capture was not ended in the same stream as it began")      \
  ERROR(cudaErrorStreamCaptureImplicit,                                                               \
        "operation would make the legacy stream depend on a capturing blocking stream")               \
  ERROR(cudaErrorStreamCaptureWrongThread,                                                            \
        "attempt to terminate a thread-local capture sequence from another thread")                   \
  ERROR(cudaErrorUnknown, "unknown error")

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define ELASTICLM_ERROR(name, text) \
  case name:                        \
    return #name;
    ELASTICLM_ERRORS(ELASTICLM_ERROR)
#undef ELASTICLM_ERROR
  }
  return "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
#define ELASTICLM_ERROR(name, text) \
  case name:                        \
    return text;
    ELASTICLM_ERRORS(ELASTICLM_ERROR)
#undef ELASTICLM_ERROR
  }
  return "unrecognized error code";
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  return api_call(
      [&] {
        if (!settings().has_driver) return cudaErrorInsufficientDriver;
        if (settings().num_devices == 0) return cudaErrorNoDevice;
        *count = settings().num_devices;
        return cudaSuccess;
      },
      false);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device_idx) {
  return api_call([&] {
    if (device_idx < 0 || device_idx >= settings().num_devices) return cudaErrorInvalidDevice;
    const SharedLimits limits = shared_limits();
    *properties = {};
    std::strncpy(properties->name, "ElasticLM emulator", sizeof properties->name - 1);
    properties->totalGlobalMem = settings().memory_bytes;
    properties->sharedMemPerBlock = limits.by_default;
    properties->regsPerBlock = 65536;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->major = settings().compute_capability / 10;
    properties->minor = settings().compute_capability % 10;
    properties->multiProcessorCount = settings().num_sms;
    properties->l2CacheSize = 1 << 20;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->sharedMemPerMultiprocessor = limits.multiprocessor;
    properties->cooperativeLaunch = 1;
    properties->sharedMemPerBlockOptin = limits.opt_in;
    properties->reservedSharedMemPerBlock = limits.reserved;
    return cudaSuccess;
  });
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device_idx) {
  cudaDeviceProp all;
  const cudaError_t status = cudaGetDeviceProperties(&all, device_idx);
  if (status != cudaSuccess) return status;
  switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock:
      *value = all.maxThreadsPerBlock;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = static_cast<int>(all.sharedMemPerBlock);
      return cudaSuccess;
    case cudaDevAttrWarpSize:
      *value = all.warpSize;
      return cudaSuccess;
    case cudaDevAttrMultiProcessorCount:
      *value = all.multiProcessorCount;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = all.l2CacheSize;
      return cudaSuccess;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = all.maxThreadsPerMultiProcessor;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = all.major;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = all.minor;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = static_cast<int>(all.sharedMemPerMultiprocessor);
      return cudaSuccess;
    case cudaDevAttrCooperativeLaunch:
      *value = all.cooperativeLaunch;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(all.sharedMemPerBlockOptin);
      return cudaSuccess;
    case cudaDevAttrReservedSharedMemoryPerBlock:
      *value = static_cast<int>(all.reservedSharedMemPerBlock);
      return cudaSuccess;
  }
  return remember(cudaErrorInvalidValue);
}

cudaError_t cudaSetDevice(int device_idx) {
  return api_call(
      [&] {
        if (!settings().has_driver) return cudaErrorInsufficientDriver;
        if (settings().num_devices == 0) return cudaErrorNoDevice;
        if (device_idx < 0 || device_idx >= settings().num_devices) return cudaErrorInvalidDevice;
        device = device_idx;
        return cudaSuccess;
      },
      false);
}

cudaError_t cudaGetDevice(int* device_idx) {
  return api_call([&] {
    *device_idx = device;
    return cudaSuccess;
  });
}

cudaError_t cudaDriverGetVersion(int* version) {
  return api_call(
      [&] {
        *version = settings().has_driver ? kVersion : 0;
        return cudaSuccess;
      },
      false);
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  return api_call(
      [&] {
        *version = kVersion;
        return cudaSuccess;
      },
      false);
}
