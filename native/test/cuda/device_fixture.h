// What the tests of exec/cuda share: models that a GPU takes, and forwards into a buffer of NaN.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/status.h"
#include "exec/cuda/device_encoder.h"
#include "test/check.h"
#include "test/encoder_fixture.h"

namespace elasticlm::test {

using cuda::DeviceEncoder;
using cuda::DeviceEncoderOptions;
using cuda::DevicePath;

// Heads 32 or 64 wide, 1 to 3 layers, any number of neurons: small, for an emulator runs each thread of each
// kernel.
EncoderConfig device_config(Random& random);

// The paths of `dtype` that the device can run. Names those that it cannot, once.
std::vector<DevicePath> device_paths(DType dtype);
// Whether an encoder by `path` takes the batch: that of small forwards holds all rows in a block's shared
// memory.
bool takes_batch(DeviceEncoder& encoder, DevicePath path, const Batch& batch,
                 std::span<const Structure> structures);

std::vector<float> run_forward(DeviceEncoder& encoder, const Batch& batch,
                               std::span<const Structure> structures, const ForwardOptions& options,
                               int stream_idx = 0);

// "bf16 mma"
std::string describe(DType dtype, DevicePath path);

// The code of what `call` throws; fails when it throws nothing or a message of another form.
template <typename Call>
ErrorCode code_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("expected ") == 0, error.what());
    return error.code();
  }
  CHECK(false, "no error");
  return ErrorCode::kInternalFailed;
}

}  // namespace elasticlm::test
