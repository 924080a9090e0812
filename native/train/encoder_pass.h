// Forward with saved activations, and backward, of one batch at one or several SubLMs: the chain of kernels
// that inference runs, and their gradients. Several SubLMs in one pass share every panel of weights that both
// keep (the staircase).
//
// Rows: SubLM i of the pass has rows [i * T, (i + 1) * T), the batch's tokens in order. SubLMs are prefixes
// and come by falling size, each contained in the one before. Bits of a row do not depend on the number of
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/cpu_features.h"
#include "core/precision.h"
#include "model/structure.h"
#include "train/parameters.h"
#include "train/train_batch.h"

namespace elasticlm {

struct PackedWeights;  // train/train_weights.h

// Linear weights of one ParameterSet as the kernels read them: each matrix packed twice, for the product with
// it and for the one with its transpose.
class TrainWeights {
 public:
  // `precision`: of the products with linear layers, kF32 or kBF16. The parameters outlive this.
  TrainWeights(const ParameterSet& parameters, Precision precision, Isa isa);
  ~TrainWeights();
  // Packs again: after every change of the parameters, before the next forward.
  void refresh(const TrainThreads& threads);

  const ParameterSet& parameters() const;
  Precision precision() const;
  Isa isa() const;
  int64_t bytes() const;  // of the packed copies

 private:
  friend class EncoderPass;
  std::unique_ptr<PackedWeights> packed_;
};

// Sums of the gradients with respect to masks of ones over each head's context and each neuron's output
// (after GELU).
struct MaskGradients {
  std::vector<double> heads;    // [L * H]
  std::vector<double> neurons;  // [L * F]
};

enum class Saving {
  kAll,        // every activation that the backward needs
  kRecompute,  // the layers' inputs alone: the backward runs each layer's forward once more, in a quarter of
               // the memory
};

class EncoderPass {
 public:
  explicit EncoderPass(const TrainWeights& weights, Saving saving = Saving::kAll);
  ~EncoderPass();

  // The batch must have been validated (exec/encoder.h's validate), the structures too. Keeps references to
  // the batch's spans until the backward. Throws kCallAborted, kMemoryExhausted, kStructureInvalid (lists
  // instead of prefixes, not nested).
  void forward(const TokenBatch& batch, std::span<const Structure> structures, const TrainThreads& threads);

  int64_t num_rows() const;                          // structures * T
  const float* hidden(int64_t structure_idx) const;  // [T, E] last hidden states
  // The last layer's q | k | v of a pass of one full structure: head h at + h * 3 * D within a row, [T, H * 3
  // * D].
  const float* last_qkv() const;
  int64_t last_qkv_ld() const;

  // `d_hidden` [num_rows, E]: gradient of the loss with respect to hidden(); destroyed. Adds to `gradients`.
  // With `masks` (sized here when empty) adds the mask gradients too; only for a pass of one full structure.
  void backward(float* d_hidden, ParameterSet& gradients, MaskGradients* masks, const TrainThreads& threads);

  int64_t arena_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace elasticlm
