#include "exec/cuda/device_encoder.h"

#include <algorithm>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"
#include "exec/cuda/device.h"
#include "exec/cuda/device_stream.h"
#include "exec/cuda/device_weights.h"
#include "exec/cuda/forward_steps.h"
#include "exec/outputs.h"

namespace elasticlm::cuda {
namespace {

#if defined(ELASTICLM_EMULATED)
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

void check_head_dim(const EncoderConfig& config) {
  const int64_t head_dim = config.head_dim();
  if (head_dim == 32 || head_dim == 64) return;
  fail(ErrorCode::kConfigInvalid,
       {.expected = "heads that are 32 or 64 wide",
        .subject = "the CUDA backend",
        .received = std::to_string(head_dim) + " (hidden_size " + std::to_string(config.hidden_size) +
                    " for " + std::to_string(config.num_heads) + " heads)",
        .remedy = "Use the CPU backend"});
}

Device open_for(const ModelWeights& weights, const DeviceEncoderOptions& options) {
  check_head_dim(weights.config);
  Device device = open_device(options.device_idx);
  check_path(options.path, device, options.precision);
  // Refuses a path for which even the least forward is too large.
  choose_path({options.path, options.precision, weights.config.hidden_size}, device,
              bucket_of(1, 1).num_rows);
  return device;
}

// Runs `body`, turning what the standard library throws when memory is short into the public code.
template <typename Body>
void with_coded_errors(const Body& body) {
  try {
    body();
  } catch (const std::bad_alloc&) {
    fail(ErrorCode::kMemoryExhausted, {.expected = "memory of the host",
                                       .subject = "the CUDA backend",
                                       .received = "none from the system",
                                       .remedy = "Use a smaller batch or a smaller model"});
  }
}

}  // namespace

struct DeviceEncoder::State {
  State(const ModelWeights& model, const DeviceEncoderOptions& options)
      : device(open_for(model, options)), weights(model, options.precision, device) {
    for (int i = 0; i < std::max(options.num_streams, 1); ++i) {
      streams.push_back(std::make_unique<DeviceStream>(weights, device, options));
    }
    facts = {device.name, device.compute_capability, device.num_sms, weights.memory.bytes(), kEmulated};
  }

  Device device;
  DeviceWeights weights;
  DeviceFacts facts;
  std::vector<std::unique_ptr<DeviceStream>> streams;
};

DeviceEncoder::DeviceEncoder(const ModelWeights& weights, const DeviceEncoderOptions& options) {
  with_coded_errors([&] { state_ = std::make_unique<State>(weights, options); });
}

DeviceEncoder::~DeviceEncoder() {
  // Releasing needs the device as much as using it did; if even this fails, so does every release.
  static_cast<void>(cudaSetDevice(state_->device.device_idx));
}

const DeviceFacts& DeviceEncoder::facts() const { return state_->facts; }

int64_t DeviceEncoder::output_floats(const Batch& batch, Output output) const {
  const size_t count = output == Output::kHidden ? batch.input_ids.size() : batch.structure_idx.size();
  return static_cast<int64_t>(count) * output_width(state_->weights.outline, output);
}

void DeviceEncoder::forward(const Batch& batch, std::span<const Structure> structures,
                            const ForwardOptions& options, int stream_idx, float* out) {
  check_output(state_->weights.outline, options.output);
  if (batch.structure_idx.empty()) return;
  with_coded_errors([&] {
    use_device(state_->device.device_idx);
    state_->streams.at(static_cast<size_t>(stream_idx))->forward(batch, structures, options, out);
  });
}

double DeviceEncoder::device_ms(int stream_idx) const {
  use_device(state_->device.device_idx);
  return state_->streams.at(static_cast<size_t>(stream_idx))->device_ms();
}

int64_t DeviceEncoder::arena_bytes() const {
  int64_t bytes = 0;
  for (const auto& stream : state_->streams) bytes += stream->device_bytes();
  return bytes;
}

}  // namespace elasticlm::cuda
