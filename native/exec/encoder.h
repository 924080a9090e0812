// Runs plans over one set of weights: the only caller of kernels in inference.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "kernels/kernel_table.h"
#include "model/structure.h"
#include "model/weights.h"
#include "plan/plan.h"

namespace elasticlm {

// A packed batch. All spans are owned by the caller and stay unchanged while a forward runs.
struct Batch {
  std::span<const int32_t> input_ids;       // [T] in [0, V)
  std::span<const int32_t> token_type_ids;  // [T] in [0, type_vocab_size)
  std::span<const int32_t> cu_seqlens;      // [B + 1] rising from 0 to T, no empty sequence
  std::span<const int32_t> structure_idx;   // [B] position in `structures`
};

// Throws kBatchInvalid naming the first offending position.
void validate(const Batch& batch, const EncoderConfig& config, int64_t num_structures);

enum class Output {
  kHidden,  // [T, E] last hidden states, in the batch's order
  kPooled,  // [B, E] cls or mean of the hidden states, normalised if asked
  kPooler,  // [B, E] tanh(pooler.dense(cls))
  kLogits,  // [B, num_labels] classifier over the pooler's output
};

struct ForwardOptions {
  Output output = Output::kPooled;
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
  const std::atomic<bool>* aborted = nullptr;  // checked between steps; kCallAborted when it turns true
};

// Sums over all tokens seen, in f64: the calibration half of label-free importance.
struct ActivationSums {
  std::vector<double> heads;    // [L * H] context norms
  std::vector<double> neurons;  // [L * F] absolute activations after GELU
  int64_t num_tokens = 0;
};

class Encoder {
 public:
  Encoder(std::shared_ptr<const ModelWeights> weights, Isa isa, int num_threads);

  const ModelWeights& weights() const;
  Isa isa() const;

  int64_t output_floats(const Batch& batch, Output output) const;

  // Runs `batch` and writes output_floats() floats to `out`. From inside a job of `pool`, whose num_threads
  // must not exceed the constructor's; `worker_idx` is the job's. Several jobs may run at once. The batch
  // must have been validated. Throws kCallAborted, kMemoryExhausted, kConfigInvalid (kPooler or kLogits
  // without those weights).
  void forward(const Batch& batch, std::span<const Structure> structures, const ForwardOptions& options,
               ThreadPool& pool, int worker_idx, float* out);

  // The full model's activations over `batch`, added to `sums` (sized by the call when empty). Throws
  // kPrecisionUnsupported for weights that are not in f32.
  void accumulate_activations(const Batch& batch, ThreadPool& pool, int worker_idx, ActivationSums& sums);

  int64_t arena_bytes() const;  // scratch memory held now, all threads

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace elasticlm
