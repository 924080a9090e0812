// What losses are computed from: one embedding of norm 1 for each sequence, and logits.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/pooling.h"
#include "train/parameters.h"
#include "train/products.h"
#include "train/train_batch.h"

namespace elasticlm {

// How a sequence's hidden states become one vector.
struct EmbeddingHead {
  Pooling pooling = Pooling::kMean;
  int64_t adapter_idx = -1;        // of the layout's adapters; -1: none
  const ParameterSet& parameters;  // of the layout and the adapter
};

// Pooled hidden states, behind the adapter if any, divided by their norms; a zero vector stays zero.
struct Embeddings {
  std::vector<float> values;  // [B, E]
  std::vector<double> norms;  // [B] of the vectors before the division
  AlignedBuffer pooled;       // [B, E], what the adapter read, if any
  int64_t hidden_size = 0;    // E

  const float* row(int64_t sequence) const { return values.data() + sequence * hidden_size; }
};
Embeddings embeddings_forward(const TokenBatch& batch, const float* hidden, const EmbeddingHead& head,
                              const Compute& compute);

// Where gradients go.
struct GradientTargets {
  float* d_hidden = nullptr;  // [T, E], added to
  ParameterSet& gradients;    // added to
};
// d_values [B, E]: gradient with respect to the values.
void embeddings_backward(const TokenBatch& batch, const Embeddings& embeddings, const EmbeddingHead& head,
                         const std::vector<double>& d_values, const GradientTargets& to,
                         const Compute& compute);

// classifier(tanh(pooler(first token))) of each sequence.
struct Logits {
  AlignedBuffer first_tokens;  // [B, E]
  AlignedBuffer pooled;        // [B, E], ld_pooled: tanh of the pooler
  AlignedBuffer values;        // [B, num_labels], ld
  int64_t num_sequences = 0;
  int64_t num_labels = 0;
  int64_t ld_pooled = 0;
  int64_t ld = 0;

  const float* row(int64_t sequence) const { return values.data() + sequence * ld; }
};
Logits logits_forward(const TokenBatch& batch, const float* hidden, const ParameterSet& parameters,
                      const Compute& compute);

// d_logits [B, num_labels].
void logits_backward(const TokenBatch& batch, const Logits& logits, const ParameterSet& parameters,
                     const std::vector<float>& d_logits, const GradientTargets& to, const Compute& compute);

}  // namespace elasticlm
