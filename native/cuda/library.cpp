// The library's side of cuda/api.h: plain data in, DeviceEncoder's calls, plain data out.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "cuda/api.h"
#include "exec/cuda/device.h"
#include "exec/cuda/device_encoder.h"

namespace elasticlm {

struct CudaModel {
  int64_t num_layers = 0;
  std::vector<Structure> structures;
  int64_t num_labels = 0;
  bool has_pooler = false;
  std::unique_ptr<cuda::DeviceEncoder> encoder;
};

namespace {

// These cross as numbers: renumbering one is a new kCudaApiVersion.
static_assert(static_cast<int>(DType::kF32) == 0 && static_cast<int>(DType::kF16) == 1 &&
              static_cast<int>(DType::kBF16) == 2);
static_assert(static_cast<int>(Output::kHidden) == 0 && static_cast<int>(Output::kPooled) == 1 &&
              static_cast<int>(Output::kPooler) == 2 && static_cast<int>(Output::kLogits) == 3);
static_assert(static_cast<int>(Pooling::kCls) == 0 && static_cast<int>(Pooling::kMean) == 1);
static_assert(sizeof(EncoderConfig) == 64);
static_assert(sizeof(std::atomic<bool>) == 1 && std::atomic<bool>::is_always_lock_free);

// Copies as much of `text` as fits, with a zero at its end.
template <size_t size>
void copy_text(std::string_view text, char (&to)[size]) {
  const size_t length = std::min(text.size(), size - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

int32_t report(CudaError* error, ErrorCode code, const char* message) {
  copy_text(error_code_name(code), error->code);
  copy_text(message, error->message);
  return 1;
}

// Runs `body` and turns what C++ throws into a filled error.
template <typename Body>
int32_t guarded(CudaError* error, const Body& body) noexcept {
  try {
    body();
    return 0;
  } catch (const Error& thrown) {
    return report(error, thrown.code(), thrown.what());
  } catch (const std::bad_alloc&) {
    return report(
        error, ErrorCode::kMemoryExhausted,
        "expected memory for a call of the cuda backend, received none. Split the work or close models");
  } catch (const std::exception& thrown) {
    return report(error, ErrorCode::kInternalFailed, thrown.what());
  } catch (...) {
    return report(error, ErrorCode::kInternalFailed, "an exception of unknown type");
  }
}

std::vector<Structure> to_structures(const CudaStructures& structures, int64_t num_layers) {
  std::vector<Structure> result(static_cast<size_t>(structures.num_structures));
  const CudaLayer* layer = structures.layers;
  for (Structure& structure : result) {
    structure.layers.reserve(static_cast<size_t>(num_layers));
    for (int64_t i = 0; i < num_layers; ++i, ++layer) {
      structure.layers.push_back(
          {.num_heads = layer->num_heads,
           .num_neurons = layer->num_neurons,
           .heads = {layer->heads, layer->heads + layer->num_listed_heads},
           .neuron_blocks = {layer->neuron_blocks, layer->neuron_blocks + layer->num_listed_blocks}});
    }
  }
  return result;
}

Batch to_batch(const CudaBatch& batch) {
  const auto num_tokens = static_cast<size_t>(batch.num_tokens);
  const auto num_sequences = static_cast<size_t>(batch.num_sequences);
  return {.input_ids = {batch.input_ids, num_tokens},
          .token_type_ids = {batch.token_type_ids, num_tokens},
          .cu_seqlens = {batch.cu_seqlens, num_sequences + 1},
          .structure_idx = {batch.structure_idx, num_sequences}};
}

cuda::DevicePath to_path(std::string_view name) {
  using cuda::DevicePath;
  for (const DevicePath path : {DevicePath::kAuto, DevicePath::kReference, DevicePath::kMma,
                                DevicePath::kWgmma, DevicePath::kSmall}) {
    if (name == cuda::device_path_name(path)) return path;
  }
  fail(ErrorCode::kInternalFailed, {.expected = "the name of a device path",
                                    .subject = "path",
                                    .received = std::string(name),
                                    .remedy = ""});
}

int32_t create_model(const CudaModelSpec* spec, CudaModel** created, CudaError* error) {
  return guarded(error, [&] {
    // Throws where there is no such device or one too old: before the checkpoint is read for nothing.
    cuda::open_device(spec->device_idx);
    auto model = std::make_unique<CudaModel>();
    const EncoderConfig& config = spec->config;
    model->num_layers = config.num_layers;
    model->structures = to_structures(spec->structures, config.num_layers);
    const std::shared_ptr<const ModelWeights> weights =
        load_weights(config, {spec->paths, spec->paths + spec->num_paths});
    model->num_labels = weights->num_labels;
    model->has_pooler = weights->pooler.has_value();
    const cuda::DeviceEncoderOptions options{.device_idx = spec->device_idx,
                                             .precision = static_cast<DType>(spec->precision),
                                             .path = to_path(spec->path),
                                             .num_streams = spec->num_streams};
    model->encoder = std::make_unique<cuda::DeviceEncoder>(*weights, options);
    *created = model.release();
  });
}

void model_facts(const CudaModel* model, CudaModelFacts* facts) {
  const cuda::DeviceFacts& device = model->encoder->facts();
  copy_text(device.name, facts->device_name);
  facts->compute_capability = device.compute_capability;
  facts->num_sms = device.num_sms;
  facts->weight_bytes = device.weight_bytes;
  facts->num_labels = model->num_labels;
  facts->has_pooler = model->has_pooler;
  facts->emulated = device.emulated;
}

int32_t output_floats(const CudaModel* model, const CudaBatch* batch, int32_t output, int64_t* floats,
                      CudaError* error) {
  return guarded(
      error, [&] { *floats = model->encoder->output_floats(to_batch(*batch), static_cast<Output>(output)); });
}

int32_t forward(CudaModel* model, const CudaForward* request, CudaError* error) {
  return guarded(error, [&] {
    const std::vector<Structure> own = to_structures(request->structures, model->num_layers);
    const ForwardOptions options{
        .output = static_cast<Output>(request->output),
        .pooling = static_cast<Pooling>(request->pooling),
        .normalize = request->normalize != 0,
        .aborted = reinterpret_cast<const std::atomic<bool>*>(const_cast<const uint8_t*>(request->aborted))};
    model->encoder->forward(to_batch(request->batch), own.empty() ? model->structures : own, options,
                            request->stream_idx, request->out);
  });
}

int64_t arena_bytes(const CudaModel* model) { return model->encoder->arena_bytes(); }

void destroy_model(CudaModel* model) { delete model; }

constexpr CudaApi kApi{
    .version = kCudaApiVersion,
    .create_model = create_model,
    .model_facts = model_facts,
    .output_floats = output_floats,
    .forward = forward,
    .arena_bytes = arena_bytes,
    .destroy_model = destroy_model,
};

}  // namespace

extern "C" __attribute__((visibility("default"))) const CudaApi* elasticlm_cuda_api(uint32_t version) {
  return version == kCudaApiVersion ? &kApi : nullptr;
}

}  // namespace elasticlm
