// What a model needs of whatever computes its forwards.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "addon/executor.h"
#include "core/cpu_features.h"
#include "core/dtype.h"
#include "core/precision.h"
#include "exec/encoder.h"

namespace elasticlm {

// The GPU that runs a model.
struct DeviceSummary {
  int idx = 0;
  std::string name;
  int compute_capability = 0;  // 90 for 9.0
  int num_sms = 0;
  bool emulated = false;
};

// What really runs.
struct BackendFacts {
  std::string isa;        // "avx512", "sm_90"
  std::string precision;  // "f32", "bf16", "f16", "i8"
  int64_t weight_bytes = 0;
  int64_t num_labels = 0;
  bool has_pooler = false;
  std::optional<DeviceSummary> device;  // none: the processor
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const BackendFacts& facts() const = 0;
  virtual int64_t output_floats(const Batch& batch, Output output) const = 0;
  // From inside a job. `batch` and `structures` must have been validated; no structures: the model's own.
  virtual void forward(const Batch& batch, std::span<const Structure> structures,
                       const ForwardOptions& options, const Job& job, float* out) = 0;
  virtual void accumulate_activations(const Batch& batch, const Job& job, ActivationSums& sums) = 0;
  // What a forward of such a batch would run, for people to read.
  virtual std::string plan_text(const BatchShape& shape, std::span<const Structure> structures) const = 0;
  virtual int64_t arena_bytes() const = 0;  // scratch memory held now
};

// Where a model is to run on a GPU, and how.
struct CudaChoice {
  std::string library;  // path of elasticlm_cuda.so
  int device_idx = 0;
  DType precision = DType::kBF16;
  std::string path;  // name of a DevicePath
};

struct BackendSpec {
  EncoderConfig config;
  std::vector<std::string> paths;
  std::vector<Structure> structures;
  int num_threads = 1;             // forwards that may run at once, each on a thread of its own
  std::optional<CudaChoice> cuda;  // none: the processor
  // Of the processor.
  Isa isa = Isa::kRef;
  Precision precision = Precision::kF32;
};

// Both read the checkpoint. The spec must outlive the backend.
std::unique_ptr<Backend> make_cpu_backend(const BackendSpec& spec);
std::unique_ptr<Backend> make_cuda_backend(const BackendSpec& spec);

}  // namespace elasticlm
