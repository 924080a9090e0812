// Runs forwards of one set of weights on one GPU: the only caller of GPU kernels in inference.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/dtype.h"
#include "exec/encoder.h"
#include "model/weights.h"

namespace elasticlm::cuda {

// Which kernels do the linear layers' work. kAuto chooses by the device and the number of tokens; the others
// are for tests and measurements, and refuse (kBackendUnavailable) a device that cannot run them.
enum class DevicePath {
  kAuto,
  kReference,  // plain kernels; the only path in f32
  kMma,        // mma.sync, compute capability 8.0 on
  kWgmma,      // WGMMA and TMA, compute capability 9.0
  kSmall,      // one cooperative launch for a whole forward; at most kSmallForwardTokens tokens
};
const char* device_path_name(DevicePath path);  // "auto", "reference", "mma", "wgmma", "small"

struct DeviceEncoderOptions {
  int device_idx = 0;
  DType precision = DType::kBF16;
  DevicePath path = DevicePath::kAuto;
  int num_streams = 1;                // forwards that may run at once
  bool use_graphs = true;             // capture a forward of each token bucket once, replay it afterwards
  bool record_times = false;          // for device_ms()
  bool programmatic_launches = true;  // compute capability 9.0: a kernel starts while the one before it ends
};

struct DeviceFacts {
  std::string name;            // as the driver says, "NVIDIA H200"
  int compute_capability = 0;  // 90 for 9.0
  int num_sms = 0;
  int64_t weight_bytes = 0;  // of the GPU's memory
  bool emulated = false;     // run by native/emulator, not by a GPU
};

// GPUs that the driver shows. Throws kBackendUnavailable naming the reason: no driver, a driver too old, no
// device.
int device_count();

class DeviceEncoder {
 public:
  // Converts and uploads the weights, which may be freed afterwards. Throws kBackendUnavailable (no driver,
  // no such device, compute capability below 8.0, a path that the device cannot run), kConfigInvalid
  // (head_dim other than 32 and 64), kDtypeUnsupported (a weight beyond the precision's range),
  // kDeviceMemoryExhausted, kDeviceFailed.
  DeviceEncoder(const ModelWeights& weights, const DeviceEncoderOptions& options);
  ~DeviceEncoder();
  DeviceEncoder(const DeviceEncoder&) = delete;
  DeviceEncoder& operator=(const DeviceEncoder&) = delete;

  const DeviceFacts& facts() const;
  int64_t output_floats(const Batch& batch, Output output) const;

  // Runs `batch`, which must have been validated, on stream `stream_idx` (one caller at a time for each) and
  // waits for output_floats() floats in `out`. Blocks: never call it on the event loop. Throws as
  // Encoder::forward, and kDeviceMemoryExhausted, kDeviceFailed.
  void forward(const Batch& batch, std::span<const Structure> structures, const ForwardOptions& options,
               int stream_idx, float* out);

  // Time that the stream's last forward took on the GPU, from the upload of its plan to the end of the
  // results' way back. Needs the option record_times, since its two events cost a short forward about a
  // hundredth.
  double device_ms(int stream_idx) const;

  // GPU memory of activations, plans and results held now, all streams.
  int64_t arena_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace elasticlm::cuda
