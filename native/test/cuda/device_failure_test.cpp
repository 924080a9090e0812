// What exec/cuda does when the driver, the device or its memory fails: the right code, nothing leaked, and a
// next forward that is right. Most of it needs a machine that fails on demand: the emulator.
#include <cuda_runtime.h>

#include <cstdio>

#include "test/cuda/device_fixture.h"

#if defined(ELASTICLM_EMULATED)
#include "emulator/emulator.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif
#endif

namespace elasticlm::test {
namespace {

#if defined(ELASTICLM_EMULATED)
using emulator::set_failing_call;
using emulator::settings;

// Settings of the emulated machine, as they were before at the end.
struct Machine {
  emulator::Settings before = settings();
  ~Machine() { settings() = before; }
};
#endif

struct Model {
  std::shared_ptr<const ModelWeights> weights;
  std::vector<Structure> structures;
  OwnedBatch batch;  // a sequence of each structure
};

Model make_model() {
  Random random(1);
  EncoderConfig config = device_config(random);
  config.num_layers = 1;
  Model model;
  model.weights = random_weights(config, 2, 1);
  model.structures = {Structure::full(config), random_lists(random, config)};
  for (const int32_t structure : {0, 1}) {
    model.batch.add(random_sequence(random, config, 3, 1));
    model.batch.structure_idx.back() = structure;
  }
  return model;
}

OwnedBatch repeated(const OwnedBatch& batch, int times) {
  OwnedBatch all;
  for (int i = 0; i < times; ++i) {
    for (size_t s = 0; s < batch.structure_idx.size(); ++s) {
      const auto begin = batch.cu_seqlens[s];
      const auto end = batch.cu_seqlens[s + 1];
      all.add({{batch.input_ids.begin() + begin, batch.input_ids.begin() + end},
               {batch.token_type_ids.begin() + begin, batch.token_type_ids.begin() + end},
               batch.structure_idx[s]});
    }
  }
  return all;
}

size_t free_bytes() {
  size_t free = 0;
  size_t total = 0;
  CHECK(cudaMemGetInfo(&free, &total) == cudaSuccess, "cudaMemGetInfo");
  return free;
}

TEST_CASE("a batch that does not fit the memory is refused with its code, and a smaller one runs") {
  const Model model = make_model();
#if defined(ELASTICLM_EMULATED)
  const Machine machine;
  settings().memory_bytes = size_t{4} << 20;  // filling 8 GB of the host's would take long
#endif
  DeviceEncoder encoder(*model.weights, {});
  const auto expected = run_forward(encoder, model.batch.view(), model.structures, {});
  const OwnedBatch large = repeated(model.batch, 2000);
  // All memory but a little, in ever smaller pieces.
  std::vector<void*> taken;
  for (size_t bytes = free_bytes() / 2; bytes >= size_t{1} << 16; bytes /= 2) {
    void* piece = nullptr;
    while (cudaMalloc(&piece, bytes) == cudaSuccess) taken.push_back(piece);
  }
  static_cast<void>(cudaGetLastError());
  const ErrorCode code = code_of([&] { run_forward(encoder, large.view(), model.structures, {}); });
  // What the large batch gave back before it failed may be too little for any other.
  for (void* piece : taken) CHECK(cudaFree(piece) == cudaSuccess, "cudaFree");
  CHECK(code == ErrorCode::kDeviceMemoryExhausted, error_code_name(code));
  check_same_bits(run_forward(encoder, model.batch.view(), model.structures, {}), expected,
                  "after the refusal");
}

TEST_CASE("weights beyond the range of the precision are refused, not made infinite") {
  Model model = make_model();
  std::const_pointer_cast<ModelWeights>(model.weights)->layers[0].ffn_up.set(3, 5, 7e4f);
  const auto load = [&](DType precision) { DeviceEncoder(*model.weights, {.precision = precision}); };
  CHECK(code_of([&] { load(DType::kF16); }) == ErrorCode::kDtypeUnsupported, "f16");
  load(DType::kBF16);
}

#if defined(ELASTICLM_EMULATED)

// LeakSanitizer looks away from what is allocated meanwhile.
struct LeaksAllowed {
  LeaksAllowed() {
#if defined(__SANITIZE_ADDRESS__)
    __lsan_disable();
#endif
  }
  ~LeaksAllowed() {
#if defined(__SANITIZE_ADDRESS__)
    __lsan_enable();
#endif
  }
};

// A life of an encoder during which one call of the driver fails.
struct FailingLife {
  const Model& model;
  DeviceEncoderOptions options;
  cudaError_t failure;
  std::vector<float> expected;

  // Whether the life is long enough for an n-th call, and whether that call's failure was thrown.
  struct Outcome {
    bool has_failed = false;
    bool has_thrown = false;
  };
  Outcome live(int64_t n) const {
    const std::string what = "call " + std::to_string(n) + " fails with " + cudaGetErrorName(failure);
    const OwnedBatch large = repeated(model.batch, 4);
    Outcome outcome;
    std::unique_ptr<DeviceEncoder> encoder;
    set_failing_call(n, failure);
    try {
      encoder = std::make_unique<DeviceEncoder>(*model.weights, options);
      // Plain launches, a capture, a replay, and growth with what was captured thrown away.
      for (int i = 0; i < 3; ++i) run_forward(*encoder, model.batch.view(), model.structures, {});
      run_forward(*encoder, large.view(), model.structures, {.output = Output::kHidden});
    } catch (const Error& error) {
      outcome.has_thrown = true;
      const bool is_known = error.code() == ErrorCode::kDeviceFailed ||
                            error.code() == ErrorCode::kDeviceMemoryExhausted ||
                            error.code() == ErrorCode::kBackendUnavailable;
      CHECK(is_known, what + ": " + error.what());
      CHECK(std::string(error.what()).find(cudaGetErrorName(failure)) != std::string::npos,
            what + " is not named: " + error.what());
    }
    outcome.has_failed = emulator::num_api_calls() > n;
    set_failing_call(-1, cudaSuccess);
    if (encoder != nullptr) {
      check_same_bits(run_forward(*encoder, model.batch.view(), model.structures, {}), expected, what);
    }
    return outcome;
  }
};

TEST_CASE(
    "any call of the driver may fail at any time: a coded error, no leak, and the next forward is right") {
  const Model model = make_model();
  for (const auto& [path, failure] : {std::pair{DevicePath::kMma, cudaErrorMemoryAllocation},
                                      std::pair{DevicePath::kMma, cudaErrorLaunchFailure},
                                      std::pair{DevicePath::kAuto, cudaErrorLaunchFailure}}) {
    FailingLife life{model, {.path = path}, failure, {}};
    {
      DeviceEncoder encoder(*model.weights, life.options);
      life.expected = run_forward(encoder, model.batch.view(), model.structures, {});
    }
    FailingLife::Outcome outcome;
    for (int64_t n = 0; n == 0 || outcome.has_failed; ++n) {
      {
        [[maybe_unused]] const LeaksAllowed leaks_allowed;
        outcome = life.live(n);
      }
      // A failure that was not thrown was a release's: what it had to release is lost, as on a GPU. All
      // others lose nothing; the second life is for LeakSanitizer.
      if (!outcome.has_thrown) continue;
      const size_t free_before = free_bytes();
      life.live(n);
      CHECK(free_bytes() == free_before, "memory leaked when call " + std::to_string(n) + " failed");
    }
  }
}

TEST_CASE("a device that refuses everything fails each forward with the same code") {
  const Model model = make_model();
  DeviceEncoder encoder(*model.weights, {});
  run_forward(encoder, model.batch.view(), model.structures, {});
  for (int i = 0; i < 3; ++i) {
    set_failing_call(0, cudaErrorLaunchFailure);
    CHECK(code_of([&] { run_forward(encoder, model.batch.view(), model.structures, {}); }) ==
              ErrorCode::kDeviceFailed,
          "forward " + std::to_string(i));
  }
  set_failing_call(-1, cudaSuccess);
}

TEST_CASE("a machine without driver, without device, or with an old one is refused with the reason") {
  const Model model = make_model();
  const auto refusal = [&](const DeviceEncoderOptions& options) {
    try {
      DeviceEncoder(*model.weights, options);
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::kBackendUnavailable, error.what());
      return std::string(error.what());
    }
    CHECK(false, "accepted");
    return std::string();
  };
  const auto names = [](const std::string& message, const char* part) {
    CHECK(message.find(part) != std::string::npos, "\"" + message + "\" does not say \"" + part + "\"");
  };
  const Machine machine;
  settings().has_driver = false;
  names(refusal({}), "cudaErrorInsufficientDriver");
  CHECK(code_of([] { cuda::device_count(); }) == ErrorCode::kBackendUnavailable, "count without driver");
  settings().has_driver = true;
  settings().num_devices = 0;
  names(refusal({}), "cudaErrorNoDevice");
  settings().num_devices = 1;
  settings().compute_capability = 75;
  names(refusal({}), "received 7.5");
  settings().compute_capability = 80;
  names(refusal({.path = DevicePath::kWgmma}), "compute capability 9.0");
  CHECK(DeviceEncoder(*model.weights, {}).facts().compute_capability == 80, "8.0 is enough");
}

TEST_CASE("an encoder works on its own device, whichever the calling thread used last") {
  const Model model = make_model();
  const Machine machine;
  settings().num_devices = 2;
  DeviceEncoder first(*model.weights, {.device_idx = 0});
  DeviceEncoder second(*model.weights, {.device_idx = 1});
  const auto expected = run_forward(first, model.batch.view(), model.structures, {});
  check_same_bits(run_forward(second, model.batch.view(), model.structures, {}), expected, "device 1");
  CHECK(cudaSetDevice(0) == cudaSuccess, "cudaSetDevice");
  const size_t free_of_first = free_bytes();
  const OwnedBatch large = repeated(model.batch, 50);
  run_forward(second, large.view(), model.structures, {});
  CHECK(cudaSetDevice(0) == cudaSuccess && free_bytes() == free_of_first, "memory of device 0");
}

#else

TEST_CASE("failures on demand") { std::printf("skipped: only the emulator fails on demand\n"); }

#endif

}  // namespace
}  // namespace elasticlm::test
