// Encoder's calls, by the threads of the executor's pool.
#include "addon/backend.h"
#include "plan/plan.h"

namespace elasticlm {
namespace {

BackendFacts facts_of(const Encoder& encoder) {
  const ModelWeights& weights = encoder.weights();
  return {.isa = isa_name(effective_isa(encoder.isa(), weights.precision)),
          .precision = precision_name(weights.precision),
          .weight_bytes = weights.packed_bytes(),
          .num_labels = weights.num_labels,
          .has_pooler = weights.pooler.has_value(),
          .device = std::nullopt};
}

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const BackendSpec& spec)
      : spec_(spec),
        encoder_(load_weights(spec.config, spec.paths, spec.precision), spec.isa, spec.num_threads),
        facts_(facts_of(encoder_)) {}

  const BackendFacts& facts() const override { return facts_; }

  int64_t output_floats(const Batch& batch, Output output) const override {
    return encoder_.output_floats(batch, output);
  }

  void forward(const Batch& batch, std::span<const Structure> structures, const ForwardOptions& options,
               const Job& job, float* out) override {
    encoder_.forward(batch, own_or(structures), options, job.pool, job.worker_idx, out);
  }

  void accumulate_activations(const Batch& batch, const Job& job, ActivationSums& sums) override {
    encoder_.accumulate_activations(batch, job.pool, job.worker_idx, sums);
  }

  std::string plan_text(const BatchShape& shape, std::span<const Structure> structures) const override {
    const Plan plan = make_plan(spec_.config, own_or(structures), shape,
                                {.precision = spec_.precision, .num_threads = spec_.num_threads});
    return plan.to_string(spec_.config, own_or(structures));
  }

  int64_t arena_bytes() const override { return encoder_.arena_bytes(); }

 private:
  std::span<const Structure> own_or(std::span<const Structure> structures) const {
    return structures.empty() ? std::span<const Structure>(spec_.structures) : structures;
  }

  const BackendSpec& spec_;
  Encoder encoder_;
  const BackendFacts facts_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendSpec& spec) {
  return std::make_unique<CpuBackend>(spec);
}

}  // namespace elasticlm
