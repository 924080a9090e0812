#include "train/heads.h"

#include <algorithm>
#include <cmath>

namespace elasticlm {
namespace {

int64_t first_row(const TokenBatch& batch, int64_t sequence) {
  return batch.cu_seqlens[static_cast<size_t>(sequence)];
}

// Rows of a sequence that its pooled vector is the mean of.
int64_t num_pooled_rows(const TokenBatch& batch, int64_t sequence, Pooling pooling) {
  return pooling == Pooling::kCls ? 1 : first_row(batch, sequence + 1) - first_row(batch, sequence);
}

}  // namespace

Embeddings embeddings_forward(const TokenBatch& batch, const float* hidden, int64_t hidden_size,
                              Pooling pooling) {
  const int64_t B = batch.num_sequences();
  const auto E = static_cast<size_t>(hidden_size);
  Embeddings embeddings{std::vector<float>(static_cast<size_t>(B) * E),
                        std::vector<double>(static_cast<size_t>(B)), hidden_size};
  std::vector<double> sums(E);
  for (int64_t b = 0; b < B; ++b) {
    const int64_t num_rows = num_pooled_rows(batch, b, pooling);
    std::fill(sums.begin(), sums.end(), 0.0);
    for (int64_t r = 0; r < num_rows; ++r) {
      const float* const row = hidden + (first_row(batch, b) + r) * hidden_size;
      for (size_t e = 0; e < E; ++e) sums[e] += row[e];
    }
    double squares = 0.0;
    for (double& sum : sums) {
      sum /= static_cast<double>(num_rows);
      squares += sum * sum;
    }
    const double norm = std::sqrt(squares);
    embeddings.norms[static_cast<size_t>(b)] = norm;
    float* const to = embeddings.values.data() + b * hidden_size;
    for (size_t e = 0; e < E; ++e) to[e] = static_cast<float>(norm == 0.0 ? 0.0 : sums[e] / norm);
  }
  return embeddings;
}

// Of y = x / |x| with x the mean of n rows: each row gets (dy - y (y·dy)) / (|x| n).
void embeddings_backward(const TokenBatch& batch, const Embeddings& embeddings, Pooling pooling,
                         const std::vector<double>& d_values, float* d_hidden, const Compute& compute) {
  const int64_t E = embeddings.hidden_size;
  compute.for_each(batch.num_sequences(), [&](int64_t b) {
    const double norm = embeddings.norms[static_cast<size_t>(b)];
    if (norm == 0.0) return;
    const float* const y = embeddings.row(b);
    const double* const dy = d_values.data() + b * E;
    double along = 0.0;
    for (int64_t e = 0; e < E; ++e) along += y[e] * dy[e];
    const int64_t num_rows = num_pooled_rows(batch, b, pooling);
    const double share = 1.0 / (norm * static_cast<double>(num_rows));
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const to = d_hidden + (first_row(batch, b) + r) * E;
      for (int64_t e = 0; e < E; ++e) to[e] += static_cast<float>((dy[e] - y[e] * along) * share);
    }
  });
}

Logits logits_forward(const TokenBatch& batch, const float* hidden, const ParameterSet& parameters,
                      const Compute& compute) {
  const ParameterLayout& layout = parameters.layout();
  const int64_t E = layout.config.hidden_size;
  Logits logits;
  logits.num_sequences = batch.num_sequences();
  logits.num_labels = layout.heads.num_labels;
  logits.ld_pooled = round_up(E, kBlockColumns);
  logits.ld = round_up(logits.num_labels, kBlockColumns);
  logits.first_tokens = floats(logits.num_sequences * E);
  logits.pooled = floats(logits.num_sequences * logits.ld_pooled);
  logits.values = floats(logits.num_sequences * logits.ld);
  for (int64_t b = 0; b < logits.num_sequences; ++b) {
    std::copy_n(hidden + first_row(batch, b) * E, E, logits.first_tokens.data() + b * E);
  }
  dense_forward({.x = {logits.first_tokens.data(), E},
                 .num_rows = logits.num_sequences,
                 .weight = parameters.at(layout.head.pooler),
                 .bias = parameters.at(layout.head.pooler_bias),
                 .N = E,
                 .K = E,
                 .activation = Activation::kTanh,
                 .y = logits.pooled.data(),
                 .ldy = logits.ld_pooled},
                compute);
  dense_forward({.x = {logits.pooled.data(), logits.ld_pooled},
                 .num_rows = logits.num_sequences,
                 .weight = parameters.at(layout.head.classifier),
                 .bias = parameters.at(layout.head.classifier_bias),
                 .N = logits.num_labels,
                 .K = E,
                 .y = logits.values.data(),
                 .ldy = logits.ld},
                compute);
  return logits;
}

void logits_backward(const TokenBatch& batch, const Logits& logits, const ParameterSet& parameters,
                     const std::vector<float>& d_logits, const GradientTargets& to, const Compute& compute) {
  const ParameterLayout& layout = parameters.layout();
  const int64_t E = layout.config.hidden_size;
  const int64_t B = logits.num_sequences;
  AlignedBuffer d_pooled = floats(B * E);
  dense_backward({.dy = {d_logits.data(), logits.num_labels},
                  .x = {logits.pooled.data(), logits.ld_pooled},
                  .num_rows = B,
                  .weight = parameters.at(layout.head.classifier),
                  .N = logits.num_labels,
                  .K = E,
                  .dx = d_pooled.data(),
                  .lddx = E,
                  .dweight = to.gradients.at(layout.head.classifier),
                  .dbias = to.gradients.at(layout.head.classifier_bias)},
                 compute);
  for (int64_t b = 0; b < B; ++b) {
    const float* const y = logits.pooled.data() + b * logits.ld_pooled;
    for (int64_t e = 0; e < E; ++e) d_pooled.data()[b * E + e] *= 1.0f - y[e] * y[e];
  }
  AlignedBuffer d_first_tokens = floats(B * E);
  dense_backward({.dy = {d_pooled.data(), E},
                  .x = {logits.first_tokens.data(), E},
                  .num_rows = B,
                  .weight = parameters.at(layout.head.pooler),
                  .N = E,
                  .K = E,
                  .dx = d_first_tokens.data(),
                  .lddx = E,
                  .dweight = to.gradients.at(layout.head.pooler),
                  .dbias = to.gradients.at(layout.head.pooler_bias)},
                 compute);
  for (int64_t b = 0; b < B; ++b) {
    float* const d_hidden = to.d_hidden + first_row(batch, b) * E;
    const float* const from = d_first_tokens.data() + b * E;
    for (int64_t e = 0; e < E; ++e) d_hidden[e] += from[e];
  }
}

}  // namespace elasticlm
