// Which GPU, what it is, and which of the kernels it can run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "exec/cuda/device_encoder.h"

namespace elasticlm::cuda {

struct Device {
  int device_idx = 0;
  std::string name;
  int compute_capability = 0;  // 90 for 9.0
  int num_sms = 0;
  size_t shared_bytes_per_block = 0;  // the most that a kernel may ask for

  // Loads by the tensor memory accelerator, and launches that begin before their predecessor ends.
  bool has_hopper_features() const { return compute_capability == 90; }
};

// Makes the device current for the calling thread. Throws kBackendUnavailable as device_count and for a
// device that is not there or too old, kDeviceFailed when it cannot be used.
Device open_device(int device_idx);

// Runtime calls of this thread go to that device from here on.
void use_device(int device_idx);

// Throws kBackendUnavailable when `path` cannot run on this device at this precision, naming what can.
void check_path(DevicePath path, const Device& device, DType precision);

// The path of a forward whose token bucket is `max_rows`: `requested`, or for kAuto the best of this device.
struct PathChoice {
  DevicePath requested = DevicePath::kAuto;
  DType precision = DType::kBF16;
  int64_t hidden_size = 0;
};
// Throws kBackendUnavailable when `requested` does not take so many rows.
DevicePath choose_path(const PathChoice& choice, const Device& device, int64_t max_rows);

}  // namespace elasticlm::cuda
