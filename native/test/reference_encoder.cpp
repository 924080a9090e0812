#include "test/reference_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/dtype.h"

namespace elasticlm::test {
namespace {

template <typename Real>
using Rows = std::vector<std::vector<Real>>;

float table_value(const TensorView& table, int64_t row, int64_t column) {
  const int64_t index = row * table.shape[1] + column;
  const std::byte* at = table.data + index * dtype_bytes(table.dtype);
  if (table.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return table.dtype == DType::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

template <typename Real>
Real to_bf16(Real value) {
  return static_cast<Real>(bf16_to_f32(f32_to_bf16(static_cast<float>(value))));
}

// What steps between the linear layers write.
template <typename Real>
void round_activations(Precision precision, std::vector<Real>& row) {
  if (precision == Precision::kF32) return;
  for (Real& value : row) value = to_bf16(value);
}

// A row as a linear layer reads it.
template <typename Real>
std::vector<Real> operand(Precision precision, std::vector<Real> row) {
  if (precision == Precision::kBF16) round_activations(precision, row);
  if (precision != Precision::kI8) return row;
  Real largest = 0;
  for (const Real value : row) largest = std::max(largest, std::abs(value));
  const Real scale = largest / 127;
  for (Real& value : row) value = scale > 0 ? std::round(value / scale) * scale : 0;
  return row;
}

// Weights as plain numbers: taken out of their packed form once for all rows.
template <typename Real>
struct Dense {
  int64_t K;
  std::vector<Real> weight;  // [N, K]
  std::vector<Real> bias;    // [N]

  Dense(const PackedMatrixView& packed, int64_t N) : K(packed.K), bias(packed.bias, packed.bias + N) {
    weight.reserve(static_cast<size_t>(N * K));
    for (int64_t n = 0; n < N; ++n) {
      for (int64_t k = 0; k < K; ++k) weight.push_back(static_cast<Real>(packed.value(n, k)));
    }
  }

  std::vector<Real> row(const std::vector<Real>& x) const {
    std::vector<Real> y;
    for (size_t n = 0; n < bias.size(); ++n) {
      const Real* const column = weight.data() + static_cast<int64_t>(n) * K;
      Real sum = 0;
      for (int64_t k = 0; k < K; ++k) sum += x[static_cast<size_t>(k)] * column[k];
      y.push_back(sum + bias[n]);
    }
    return y;
  }
};

template <typename Real>
void layer_norm(std::vector<Real>& x, const LayerNormWeights& weights, Real eps) {
  const auto size = static_cast<Real>(x.size());
  Real mean = 0;
  for (const Real value : x) mean += value;
  mean /= size;
  Real variance = 0;
  for (const Real value : x) variance += (value - mean) * (value - mean);
  variance /= size;
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = (x[i] - mean) / std::sqrt(variance + eps) * static_cast<Real>(weights.gamma.data()[i]) +
           static_cast<Real>(weights.beta.data()[i]);
  }
}

std::vector<bool> kept_heads(const EncoderConfig& config, const LayerStructure& layer) {
  std::vector<bool> kept(static_cast<size_t>(config.num_heads));
  if (layer.heads.empty()) std::fill_n(kept.begin(), layer.num_heads, true);
  for (const int32_t head : layer.heads) kept[static_cast<size_t>(head)] = true;
  return kept;
}

std::vector<bool> kept_neurons(const EncoderConfig& config, const LayerStructure& layer) {
  std::vector<bool> kept(static_cast<size_t>(config.intermediate_size));
  if (layer.neuron_blocks.empty()) std::fill_n(kept.begin(), layer.num_neurons, true);
  for (const int32_t block : layer.neuron_blocks) {
    for (int64_t i = block * 16; i < std::min<int64_t>(block * 16 + 16, config.intermediate_size); ++i) {
      kept[static_cast<size_t>(i)] = true;
    }
  }
  return kept;
}

template <typename Real>
Rows<Real> embed(const ModelWeights& weights, std::span<const int32_t> input_ids,
                 std::span<const int32_t> token_type_ids) {
  Rows<Real> rows(input_ids.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    for (int64_t e = 0; e < weights.config.hidden_size; ++e) {
      rows[i].push_back(
          static_cast<Real>(table_value(weights.word_embeddings, input_ids[i], e)) +
          static_cast<Real>(table_value(weights.position_embeddings, static_cast<int64_t>(i), e)) +
          static_cast<Real>(table_value(weights.token_type_embeddings, token_type_ids[i], e)));
    }
    layer_norm(rows[i], weights.embedding_layer_norm, static_cast<Real>(weights.config.layer_norm_eps));
  }
  return rows;
}

// Context of all heads, those not kept multiplied by 0: [S][E].
template <typename Real>
Rows<Real> attend(const EncoderConfig& config, const LayerWeights& layer, Precision precision,
                  const std::vector<bool>& kept, const Rows<Real>& x) {
  const auto D = static_cast<size_t>(config.head_dim());
  const auto head_columns = static_cast<size_t>((3 * config.head_dim() + 15) / 16 * 16);
  const Dense<Real> proj(layer.qkv_proj.view(), config.num_heads * static_cast<int64_t>(head_columns));
  Rows<Real> qkv;
  for (const auto& row : x) {
    qkv.push_back(proj.row(operand(precision, row)));
    round_activations(precision, qkv.back());
  }
  Rows<Real> context(x.size(), std::vector<Real>(static_cast<size_t>(config.hidden_size)));
  for (size_t h = 0; h < kept.size(); ++h) {
    for (size_t i = 0; i < x.size(); ++i) {
      std::vector<Real> probability(x.size());
      for (size_t j = 0; j < x.size(); ++j) {
        Real score = 0;
        for (size_t d = 0; d < D; ++d)
          score += qkv[i][h * head_columns + d] * qkv[j][h * head_columns + D + d];
        probability[j] = score / std::sqrt(static_cast<Real>(D));
      }
      const Real largest = *std::max_element(probability.begin(), probability.end());
      Real sum = 0;
      for (Real& p : probability) sum += p = std::exp(p - largest);
      round_activations(precision, probability);
      for (size_t d = 0; d < D; ++d) {
        Real value = 0;
        for (size_t j = 0; j < x.size(); ++j)
          value += probability[j] / sum * qkv[j][h * head_columns + 2 * D + d];
        context[i][h * D + d] = value * static_cast<Real>(kept[h] ? 1 : 0);
      }
    }
  }
  for (auto& row : context) round_activations(precision, row);
  return context;
}

template <typename Real>
ReferenceHidden forward(const ModelWeights& weights, const Structure& structure,
                        std::span<const int32_t> input_ids, std::span<const int32_t> token_type_ids,
                        Precision precision) {
  const EncoderConfig& config = weights.config;
  const auto eps = static_cast<Real>(config.layer_norm_eps);
  ReferenceHidden result;
  Rows<Real> x = embed<Real>(weights, input_ids, token_type_ids);
  for (size_t l = 0; l < weights.layers.size(); ++l) {
    const LayerWeights& layer = weights.layers[l];
    const LayerStructure& kept = structure.layers[l];
    const Rows<Real> context = attend(config, layer, precision, kept_heads(config, kept), x);
    for (size_t h = 0; h < static_cast<size_t>(config.num_heads); ++h) {
      const auto D = static_cast<size_t>(config.head_dim());
      double norms = 0;
      for (const auto& row : context) {
        double squares = 0;
        for (size_t d = 0; d < D; ++d)
          squares += static_cast<double>(row[h * D + d]) * static_cast<double>(row[h * D + d]);
        norms += std::sqrt(squares);
      }
      result.context_norms.push_back(norms);
    }
    const Dense<Real> attn_out_proj(layer.attn_out_proj.view(), config.hidden_size);
    const Dense<Real> ffn_up(layer.ffn_up.view(), config.intermediate_size);
    const Dense<Real> ffn_down(layer.ffn_down.view(), config.hidden_size);
    const std::vector<bool> neurons = kept_neurons(config, kept);
    std::vector<double> outputs(neurons.size());
    for (size_t i = 0; i < x.size(); ++i) {
      if (kept.num_heads > 0) {
        const auto projected = attn_out_proj.row(operand(precision, context[i]));
        for (size_t e = 0; e < x[i].size(); ++e) x[i][e] += projected[e];
      }
      layer_norm(x[i], layer.attn_layer_norm, eps);
      auto ffn = ffn_up.row(operand(precision, x[i]));
      for (size_t f = 0; f < ffn.size(); ++f) {
        ffn[f] =
            ffn[f] * (1 + std::erf(ffn[f] / std::sqrt(Real{2}))) / 2 * static_cast<Real>(neurons[f] ? 1 : 0);
        outputs[f] += std::abs(static_cast<double>(ffn[f]));
      }
      round_activations(precision, ffn);
      if (kept.num_neurons > 0) {
        const auto projected = ffn_down.row(operand(precision, ffn));
        for (size_t e = 0; e < x[i].size(); ++e) x[i][e] += projected[e];
      }
      layer_norm(x[i], layer.ffn_layer_norm, eps);
    }
    result.neuron_outputs.insert(result.neuron_outputs.end(), outputs.begin(), outputs.end());
  }
  for (const auto& row : x) result.hidden.insert(result.hidden.end(), row.begin(), row.end());
  return result;
}

template <typename Real>
std::vector<double> pool(const EncoderConfig& config, const std::vector<double>& hidden, Pooling pooling,
                         bool normalize) {
  const auto E = static_cast<size_t>(config.hidden_size);
  const size_t S = hidden.size() / E;
  std::vector<Real> pooled(hidden.begin(), hidden.begin() + static_cast<std::ptrdiff_t>(E));
  if (pooling == Pooling::kMean) {
    for (size_t i = E; i < hidden.size(); ++i) pooled[i % E] += static_cast<Real>(hidden[i]);
    for (Real& value : pooled) value /= static_cast<Real>(S);
  }
  if (normalize) {
    Real squares = 0;
    for (const Real value : pooled) squares += value * value;
    for (Real& value : pooled) value /= squares > 0 ? std::sqrt(squares) : 1;
  }
  return {pooled.begin(), pooled.end()};
}

template <typename Real>
std::vector<double> dense(const PackedMatrixView& weight, int64_t N, const std::vector<double>& x) {
  const std::vector<Real> row(x.begin(), x.begin() + weight.K);
  const std::vector<Real> y = Dense<Real>(weight, N).row(row);
  return {y.begin(), y.end()};
}

std::vector<double> dense(const PackedMatrixView& weight, int64_t N, const std::vector<double>& x,
                          Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kF64 ? dense<double>(weight, N, x) : dense<float>(weight, N, x);
}

}  // namespace

ReferenceHidden reference_hidden(const ModelWeights& weights, const Structure& structure,
                                 std::span<const int32_t> input_ids, std::span<const int32_t> token_type_ids,
                                 Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kF64
             ? forward<double>(weights, structure, input_ids, token_type_ids, Precision::kF32)
             : forward<float>(weights, structure, input_ids, token_type_ids, weights.precision);
}

std::vector<double> reference_pooled(const ModelWeights& weights, const std::vector<double>& hidden,
                                     Pooling pooling, bool normalize, Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kF64 ? pool<double>(weights.config, hidden, pooling, normalize)
                                        : pool<float>(weights.config, hidden, pooling, normalize);
}

std::vector<double> reference_pooler(const ModelWeights& weights, const std::vector<double>& hidden,
                                     Arithmetic arithmetic) {
  std::vector<double> y = dense(weights.pooler->view(), weights.config.hidden_size, hidden, arithmetic);
  for (double& value : y)
    value = arithmetic == Arithmetic::kF64 ? std::tanh(value) : std::tanh(static_cast<float>(value));
  return y;
}

std::vector<double> reference_logits(const ModelWeights& weights, const std::vector<double>& pooler,
                                     Arithmetic arithmetic) {
  return dense(weights.classifier->view(), weights.num_labels, pooler, arithmetic);
}

}  // namespace elasticlm::test
