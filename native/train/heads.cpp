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

// [B, E]: the mean of each sequence's rows, or its first one.
std::vector<double> pool(const TokenBatch& batch, const float* hidden, int64_t hidden_size, Pooling pooling) {
  const int64_t B = batch.num_sequences();
  std::vector<double> pooled(static_cast<size_t>(B * hidden_size));
  for (int64_t b = 0; b < B; ++b) {
    const int64_t num_rows = num_pooled_rows(batch, b, pooling);
    double* const sums = pooled.data() + b * hidden_size;
    for (int64_t r = 0; r < num_rows; ++r) {
      const float* const row = hidden + (first_row(batch, b) + r) * hidden_size;
      for (int64_t e = 0; e < hidden_size; ++e) sums[e] += row[e];
    }
    for (int64_t e = 0; e < hidden_size; ++e) sums[e] /= static_cast<double>(num_rows);
  }
  return pooled;
}

const AdapterSlots& adapter_of(const EmbeddingHead& head) {
  return head.parameters.layout().head.adapters[static_cast<size_t>(head.adapter_idx)];
}

// vectors [B, E] += what the adapter makes of `pooled` [B, E].
void add_adapted(const AlignedBuffer& pooled, int64_t num_sequences, const EmbeddingHead& head,
                 const Compute& compute, std::vector<double>& vectors) {
  const int64_t E = head.parameters.layout().config.hidden_size;
  const int64_t ld = round_up(E, kBlockColumns);
  AlignedBuffer adapted = floats(num_sequences * ld);
  dense_forward({.x = {pooled.data(), E},
                 .num_rows = num_sequences,
                 .weight = head.parameters.at(adapter_of(head).weight),
                 .bias = head.parameters.at(adapter_of(head).bias),
                 .N = E,
                 .K = E,
                 .y = adapted.data(),
                 .ldy = ld},
                compute);
  for (int64_t b = 0; b < num_sequences; ++b) {
    for (int64_t e = 0; e < E; ++e) vectors[static_cast<size_t>(b * E + e)] += adapted.data()[b * ld + e];
  }
}

// d_vectors [B, E]: the gradient with respect to the adapter's output becomes that of its input.
void adapter_backward(const AlignedBuffer& pooled, const EmbeddingHead& head, ParameterSet& gradients,
                      const Compute& compute, std::vector<double>& d_vectors) {
  const int64_t E = head.parameters.layout().config.hidden_size;
  const auto B = static_cast<int64_t>(d_vectors.size()) / E;
  const std::vector<float> dy(d_vectors.begin(), d_vectors.end());
  AlignedBuffer dx = floats(B * E);
  dense_backward({.dy = {dy.data(), E},
                  .x = {pooled.data(), E},
                  .num_rows = B,
                  .weight = head.parameters.at(adapter_of(head).weight),
                  .N = E,
                  .K = E,
                  .dx = dx.data(),
                  .lddx = E,
                  .dweight = gradients.at(adapter_of(head).weight),
                  .dbias = gradients.at(adapter_of(head).bias)},
                 compute);
  for (size_t i = 0; i < d_vectors.size(); ++i) d_vectors[i] += dx.data()[i];
}

}  // namespace

Embeddings embeddings_forward(const TokenBatch& batch, const float* hidden, const EmbeddingHead& head,
                              const Compute& compute) {
  const int64_t B = batch.num_sequences();
  const int64_t E = head.parameters.layout().config.hidden_size;
  Embeddings embeddings;
  embeddings.hidden_size = E;
  embeddings.norms.resize(static_cast<size_t>(B));
  std::vector<double> vectors = pool(batch, hidden, E, head.pooling);
  if (head.adapter_idx >= 0) {
    embeddings.pooled = floats(B * E);
    std::copy(vectors.begin(), vectors.end(), embeddings.pooled.data());
    add_adapted(embeddings.pooled, B, head, compute, vectors);
  }
  embeddings.values.resize(vectors.size());
  for (int64_t b = 0; b < B; ++b) {
    const double* const from = vectors.data() + b * E;
    double squares = 0.0;
    for (int64_t e = 0; e < E; ++e) squares += from[e] * from[e];
    const double norm = std::sqrt(squares);
    embeddings.norms[static_cast<size_t>(b)] = norm;
    float* const to = embeddings.values.data() + b * E;
    for (int64_t e = 0; e < E; ++e) to[e] = static_cast<float>(norm == 0.0 ? 0.0 : from[e] / norm);
  }
  return embeddings;
}

void embeddings_backward(const TokenBatch& batch, const Embeddings& embeddings, const EmbeddingHead& head,
                         const std::vector<double>& d_values, const GradientTargets& to,
                         const Compute& compute) {
  const int64_t B = batch.num_sequences();
  const int64_t E = embeddings.hidden_size;
  std::vector<double> d_vectors(static_cast<size_t>(B * E));
  // Of y = x / |x|: (dy - y (y·dy)) / |x|.
  compute.for_each(B, [&](int64_t b) {
    const double norm = embeddings.norms[static_cast<size_t>(b)];
    if (norm == 0.0) return;
    const float* const y = embeddings.row(b);
    const double* const dy = d_values.data() + b * E;
    double along = 0.0;
    for (int64_t e = 0; e < E; ++e) along += y[e] * dy[e];
    for (int64_t e = 0; e < E; ++e) d_vectors[static_cast<size_t>(b * E + e)] = (dy[e] - y[e] * along) / norm;
  });
  if (head.adapter_idx >= 0) adapter_backward(embeddings.pooled, head, to.gradients, compute, d_vectors);
  // Of the mean of n rows: each has a share of 1 / n.
  compute.for_each(B, [&](int64_t b) {
    const double* const from = d_vectors.data() + b * E;
    const int64_t num_rows = num_pooled_rows(batch, b, head.pooling);
    for (int64_t r = 0; r < num_rows; ++r) {
      float* const row = to.d_hidden + (first_row(batch, b) + r) * E;
      for (int64_t e = 0; e < E; ++e) row[e] += static_cast<float>(from[e] / static_cast<double>(num_rows));
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
