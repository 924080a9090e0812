#include "exec/cuda/device.h"

#include <cuda_runtime.h>

#include "core/status.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/small_forward.h"

namespace elasticlm::cuda {
namespace {

// cp.async, and bf16 on the tensor cores.
constexpr int kLeastCapability = 80;

// A WGMMA tile is 128 rows high, and a layer as narrow as 384 columns has two or three tiles beside each
// other. Below this many rows they are fewer than a tenth of an H100's 132 SMs, and the smaller tiles of
// mma.sync keep more of them busy.
constexpr int64_t kWgmmaLeastTokens = 512;

[[noreturn]] void fail_unavailable(const std::string& expected, const std::string& subject,
                                   const std::string& received, const std::string& remedy) {
  fail(ErrorCode::kBackendUnavailable,
       {.expected = expected, .subject = subject, .received = received, .remedy = remedy});
}

const char* remedy_of(cudaError_t status) {
  switch (status) {
    case cudaErrorInsufficientDriver:
      return "Update the NVIDIA driver";
    case cudaErrorNoDevice:
      return "Check that the machine has an NVIDIA GPU, and CUDA_VISIBLE_DEVICES";
    default:
      return "Check the installation with nvidia-smi";
  }
}

std::string capability_text(int capability) {
  return std::to_string(capability / 10) + "." + std::to_string(capability % 10);
}

}  // namespace

const char* device_path_name(DevicePath path) {
  switch (path) {
    case DevicePath::kAuto:
      return "auto";
    case DevicePath::kReference:
      return "reference";
    case DevicePath::kMma:
      return "mma";
    case DevicePath::kWgmma:
      return "wgmma";
    case DevicePath::kSmall:
      return "small";
  }
  return "unknown";
}

int device_count() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return count;
  const cudaError_t reason = status == cudaSuccess ? cudaErrorNoDevice : status;
  static_cast<void>(cudaGetLastError());
  fail_unavailable("an NVIDIA GPU and a driver for CUDA " + std::to_string(CUDART_VERSION / 1000) + "." +
                       std::to_string(CUDART_VERSION % 1000 / 10),
                   "the CUDA backend",
                   std::string(cudaGetErrorName(reason)) + " (" + cudaGetErrorString(reason) + ")",
                   remedy_of(reason));
}

void use_device(int device_idx) { check(cudaSetDevice(device_idx), "to become the current device"); }

Device open_device(int device_idx) {
  const int count = device_count();
  if (device_idx < 0 || device_idx >= count) {
    fail_unavailable("a GPU from 0 to " + std::to_string(count - 1), "the device", std::to_string(device_idx),
                     "");
  }
  use_device(device_idx);
  cudaDeviceProp properties = {};
  check(cudaGetDeviceProperties(&properties, device_idx), "to tell its properties");
  Device device;
  device.device_idx = device_idx;
  device.name = properties.name;
  device.compute_capability = properties.major * 10 + properties.minor;
  device.num_sms = properties.multiProcessorCount;
  device.shared_bytes_per_block = properties.sharedMemPerBlockOptin;
  if (device.compute_capability < kLeastCapability) {
    fail_unavailable("compute capability " + capability_text(kLeastCapability) + " or later",
                     "GPU " + std::to_string(device_idx),
                     capability_text(device.compute_capability) + " of " + device.name,
                     "Use the CPU backend");
  }
  return device;
}

void check_path(DevicePath path, const Device& device, DType precision) {
  const std::string subject = std::string("device path \"") + device_path_name(path) + "\"";
  const bool is_tensor_path =
      path == DevicePath::kMma || path == DevicePath::kWgmma || path == DevicePath::kSmall;
  if (is_tensor_path && precision == DType::kF32) {
    fail_unavailable("precision f16 or bf16", subject, "f32", "f32 runs by \"reference\" alone");
  }
  if (path == DevicePath::kWgmma && !device.has_hopper_features()) {
    fail_unavailable("compute capability 9.0", subject,
                     capability_text(device.compute_capability) + " of " + device.name, "Use \"mma\"");
  }
}

DevicePath choose_path(const PathChoice& choice, const Device& device, int64_t max_rows) {
  const bool is_small = small_forward_fits(max_rows, choice.hidden_size, device.shared_bytes_per_block);
  if (choice.requested == DevicePath::kSmall && !is_small) {
    fail_unavailable(
        "at most " + std::to_string(kSmallForwardTokens) + " tokens, held by a block's " +
            std::to_string(device.shared_bytes_per_block) + " bytes of shared memory",
        "device path \"small\"",
        std::to_string(max_rows) + " (rounded up) of hidden_size " + std::to_string(choice.hidden_size),
        "Use \"auto\"");
  }
  if (choice.requested != DevicePath::kAuto) return choice.requested;
  if (choice.precision == DType::kF32) return DevicePath::kReference;
  if (is_small) return DevicePath::kSmall;
  if (device.has_hopper_features() && max_rows >= kWgmmaLeastTokens) return DevicePath::kWgmma;
  return DevicePath::kMma;
}

}  // namespace elasticlm::cuda
