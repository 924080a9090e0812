// The addon's side of cuda/api.h. A forward blocks its thread of the executor's pool until the GPU is done.
#include <atomic>
#include <vector>

#include "addon/backend.h"
#include "addon/cuda_library.h"
#include "plan/device_plan.h"

namespace elasticlm {
namespace {

static_assert(sizeof(std::atomic<bool>) == 1 && std::atomic<bool>::is_always_lock_free);

// Calls one function of the library and throws what it reports.
template <typename Function, typename... Arguments>
void checked(Function function, Arguments... arguments) {
  CudaError error;
  if (function(arguments..., &error) != 0) throw_cuda_error(error);
}

// Structures as the library takes them. Points into what it was made of.
class FlatStructures {
 public:
  explicit FlatStructures(std::span<const Structure> structures)
      : num_structures_(static_cast<int64_t>(structures.size())) {
    for (const Structure& structure : structures) {
      for (const LayerStructure& layer : structure.layers) {
        layers_.push_back({.num_heads = layer.num_heads,
                           .num_neurons = layer.num_neurons,
                           .heads = layer.heads.data(),
                           .neuron_blocks = layer.neuron_blocks.data(),
                           .num_listed_heads = static_cast<int64_t>(layer.heads.size()),
                           .num_listed_blocks = static_cast<int64_t>(layer.neuron_blocks.size())});
      }
    }
  }

  CudaStructures view() const { return {.layers = layers_.data(), .num_structures = num_structures_}; }

 private:
  std::vector<CudaLayer> layers_;  // [num_structures, L]
  int64_t num_structures_;
};

CudaBatch to_cuda(const Batch& batch) {
  return {.input_ids = batch.input_ids.data(),
          .token_type_ids = batch.token_type_ids.data(),
          .cu_seqlens = batch.cu_seqlens.data(),
          .structure_idx = batch.structure_idx.data(),
          .num_tokens = static_cast<int64_t>(batch.input_ids.size()),
          .num_sequences = static_cast<int64_t>(batch.structure_idx.size())};
}

// Owns the library's model.
class ModelHandle {
 public:
  ModelHandle(const CudaApi& api, const BackendSpec& spec) : api_(api) {
    const CudaChoice& choice = *spec.cuda;
    std::vector<const char*> paths;
    for (const std::string& path : spec.paths) paths.push_back(path.c_str());
    const FlatStructures structures(spec.structures);
    const CudaModelSpec model_spec{.config = spec.config,
                                   .paths = paths.data(),
                                   .num_paths = static_cast<int64_t>(paths.size()),
                                   .structures = structures.view(),
                                   .precision = static_cast<int32_t>(choice.precision),
                                   .device_idx = choice.device_idx,
                                   .num_streams = spec.num_threads,
                                   .path = choice.path.c_str()};
    checked(api.create_model, &model_spec, &model_);
  }
  ~ModelHandle() { api_.destroy_model(model_); }
  ModelHandle(const ModelHandle&) = delete;
  ModelHandle& operator=(const ModelHandle&) = delete;

  CudaModel* get() const { return model_; }

 private:
  const CudaApi& api_;
  CudaModel* model_ = nullptr;
};

const char* precision_name(DType dtype) {
  return dtype == DType::kF32 ? "f32" : dtype == DType::kF16 ? "f16" : "bf16";
}

BackendFacts facts_of(const CudaApi& api, const CudaModel* model, const CudaChoice& choice) {
  CudaModelFacts facts;
  api.model_facts(model, &facts);
  return {.isa = "sm_" + std::to_string(facts.compute_capability),
          .precision = precision_name(choice.precision),
          .weight_bytes = facts.weight_bytes,
          .num_labels = facts.num_labels,
          .has_pooler = facts.has_pooler != 0,
          .device = DeviceSummary{.idx = choice.device_idx,
                                  .name = facts.device_name,
                                  .compute_capability = facts.compute_capability,
                                  .num_sms = facts.num_sms,
                                  .emulated = facts.emulated != 0}};
}

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const BackendSpec& spec)
      : spec_(spec),
        api_(load_cuda_library(spec.cuda->library)),
        model_(api_, spec),
        facts_(facts_of(api_, model_.get(), *spec.cuda)) {}

  const BackendFacts& facts() const override { return facts_; }

  int64_t output_floats(const Batch& batch, Output output) const override {
    const CudaBatch flat = to_cuda(batch);
    int64_t floats = 0;
    checked(api_.output_floats, model_.get(), &flat, static_cast<int32_t>(output), &floats);
    return floats;
  }

  void forward(const Batch& batch, std::span<const Structure> structures, const ForwardOptions& options,
               const Job& job, float* out) override {
    const FlatStructures own(structures);
    const CudaForward request{.batch = to_cuda(batch),
                              .structures = own.view(),
                              .output = static_cast<int32_t>(options.output),
                              .pooling = static_cast<int32_t>(options.pooling),
                              .normalize = options.normalize,
                              .stream_idx = job.worker_idx,
                              .aborted = reinterpret_cast<const volatile uint8_t*>(&job.aborted),
                              .out = out};
    checked(api_.forward, model_.get(), &request);
  }

  void accumulate_activations(const Batch&, const Job&, ActivationSums&) override {
    fail(ErrorCode::kBackendUnavailable, {.expected = "backend 'cpu', which measures activations",
                                          .subject = "calibrate()",
                                          .received = "a model on backend 'cuda'",
                                          .remedy = "Load the model with backend 'cpu' for it"});
  }

  std::string plan_text(const BatchShape& shape, std::span<const Structure> structures) const override {
    cuda::DevicePlanner planner(spec_.config, facts_.num_labels);
    return planner.plan(structures.empty() ? spec_.structures : structures, shape).to_string();
  }

  int64_t arena_bytes() const override { return api_.arena_bytes(model_.get()); }

 private:
  const BackendSpec& spec_;
  const CudaApi& api_;
  const ModelHandle model_;
  const BackendFacts facts_;
};

}  // namespace

std::unique_ptr<Backend> make_cuda_backend(const BackendSpec& spec) {
  return std::make_unique<CudaBackend>(spec);
}

}  // namespace elasticlm
