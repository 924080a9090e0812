#include "test/cuda/device_fixture.h"

#include <cstdio>
#include <limits>
#include <set>

namespace elasticlm::test {

EncoderConfig device_config(Random& random) {
  EncoderConfig config = random_config(random);
  const int64_t head_dim = uniform(random, 0, 1) == 0 ? 32 : 64;
  config.num_heads = uniform(random, 1, head_dim == 32 ? 3 : 2);
  config.hidden_size = config.num_heads * head_dim;
  config.intermediate_size = uniform(random, 1, 100);
  config.num_layers = uniform(random, 1, 2);
  return config;
}

std::vector<DevicePath> device_paths(DType dtype) {
  Random random(1);
  EncoderConfig config = device_config(random);
  config.num_heads = 2;
  config.hidden_size = 128;  // the widest that device_config gives
  const auto weights = random_weights(config, 0, 1);
  std::vector<DevicePath> paths;
  static std::set<std::string> skipped;
  for (const DevicePath path :
       {DevicePath::kReference, DevicePath::kMma, DevicePath::kWgmma, DevicePath::kSmall}) {
    try {
      DeviceEncoder(*weights, {.precision = dtype, .path = path});
      paths.push_back(path);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::kBackendUnavailable, error.what());
      if (skipped.insert(describe(dtype, path)).second) {
        std::printf("skipped %s: %s\n", describe(dtype, path).c_str(), error.what());
      }
    }
  }
  return paths;
}

bool takes_batch(DeviceEncoder& encoder, DevicePath path, const Batch& batch,
                 std::span<const Structure> structures) {
  if (path != DevicePath::kSmall) return true;
  try {
    run_forward(encoder, batch, structures, {});
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kBackendUnavailable && batch.input_ids.size() > 16, error.what());
    return false;
  }
  CHECK(batch.input_ids.size() <= 64, "more tokens than the path is for");
  return true;
}

std::vector<float> run_forward(DeviceEncoder& encoder, const Batch& batch,
                               std::span<const Structure> structures, const ForwardOptions& options,
                               int stream_idx) {
  std::vector<float> out(static_cast<size_t>(encoder.output_floats(batch, options.output)),
                         std::numeric_limits<float>::quiet_NaN());
  encoder.forward(batch, structures, options, stream_idx, out.data());
  return out;
}

std::string describe(DType dtype, DevicePath path) {
  return std::string(dtype_name(dtype)) + " " + cuda::device_path_name(path);
}

}  // namespace elasticlm::test
