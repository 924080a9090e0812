#include "test/cuda/naive_encoder.h"

#include <algorithm>
#include <cmath>

#include "model/float_tensor.h"

namespace elasticlm::test {
namespace {

std::vector<bool> kept_units(const std::vector<int32_t>& list, int64_t num_kept, int64_t unit, int64_t size) {
  std::vector<bool> kept(static_cast<size_t>(size));
  if (list.empty()) std::fill_n(kept.begin(), num_kept * unit, true);
  for (const int32_t position : list) {
    const int64_t end = std::min((position + 1) * unit, size);
    for (int64_t i = position * unit; i < end; ++i) kept[static_cast<size_t>(i)] = true;
  }
  return kept;
}

}  // namespace

float NaiveEncoder::rounded(float value) const {
  if (dtype_ == DType::kF32) return value;
  return dtype_ == DType::kF16 ? f16_to_f32(f32_to_f16(value)) : bf16_to_f32(f32_to_bf16(value));
}

float NaiveEncoder::stored(const TensorView& table, int64_t row, int64_t column) const {
  float value = 0;
  widen(table.data + (row * table.shape[1] + column) * dtype_bytes(table.dtype), table.dtype, 1, &value);
  return rounded(value);
}

// x W' + bias without the depth that is left out; nothing rounded but the weights.
NaiveEncoder::Row NaiveEncoder::linear(const PackedMatrixView& weight, int64_t N, const Row& x,
                                       const std::vector<bool>& kept_depth) const {
  Row y(static_cast<size_t>(N));
  for (int64_t n = 0; n < N; ++n) {
    float sum = 0;
    for (int64_t k = 0; k < weight.K; ++k) {
      if (kept_depth.empty() || kept_depth[static_cast<size_t>(k)]) {
        sum += x[static_cast<size_t>(k)] * rounded(weight.value(n, k));
      }
    }
    y[static_cast<size_t>(n)] = sum + weight.bias[n];
  }
  return y;
}

void NaiveEncoder::layer_norm(Row& x, const LayerNormWeights& weights) const {
  const auto size = static_cast<float>(x.size());
  float mean = 0;
  for (const float value : x) mean += value;
  mean /= size;
  float variance = 0;
  for (const float value : x) variance += (value - mean) * (value - mean);
  variance /= size;
  const float deviation = std::sqrt(variance + weights_.config.layer_norm_eps);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = rounded((x[i] - mean) / deviation * weights.gamma.data()[i] + weights.beta.data()[i]);
  }
}

// Contexts of the kept heads, those not kept 0: [S][E].
std::vector<NaiveEncoder::Row> NaiveEncoder::attend(const LayerWeights& layer,
                                                    const std::vector<bool>& kept_heads,
                                                    const std::vector<Row>& x) const {
  const EncoderConfig& config = weights_.config;
  const auto D = static_cast<size_t>(config.head_dim());
  const auto head_columns = static_cast<size_t>(config.qkv_head_columns());
  std::vector<Row> qkv;
  for (const Row& row : x) {
    qkv.push_back(linear(layer.qkv_proj.view(), config.num_heads * config.qkv_head_columns(), row, {}));
    for (float& value : qkv.back()) value = rounded(value);
  }
  std::vector<Row> context(x.size(), Row(static_cast<size_t>(config.hidden_size)));
  for (size_t h = 0; h < static_cast<size_t>(config.num_heads); ++h) {
    if (!kept_heads[h * D]) continue;
    for (size_t i = 0; i < x.size(); ++i) {
      Row probability(x.size());
      for (size_t j = 0; j < x.size(); ++j) {
        float score = 0;
        for (size_t d = 0; d < D; ++d)
          score += qkv[i][h * head_columns + d] * qkv[j][h * head_columns + D + d];
        probability[j] = score / std::sqrt(static_cast<float>(D));
      }
      const float largest = *std::max_element(probability.begin(), probability.end());
      float sum = 0;
      for (float& p : probability) sum += p = std::exp(p - largest);
      for (size_t d = 0; d < D; ++d) {
        float value = 0;
        for (size_t j = 0; j < x.size(); ++j)
          value += rounded(probability[j] / sum) * qkv[j][h * head_columns + 2 * D + d];
        context[i][h * D + d] = rounded(value);
      }
    }
  }
  return context;
}

std::vector<double> NaiveEncoder::hidden(const Structure& structure, std::span<const int32_t> input_ids,
                                         std::span<const int32_t> token_type_ids) const {
  const EncoderConfig& config = weights_.config;
  const int64_t E = config.hidden_size;
  std::vector<Row> x(input_ids.size(), Row(static_cast<size_t>(E)));
  for (size_t i = 0; i < x.size(); ++i) {
    for (int64_t e = 0; e < E; ++e) {
      x[i][static_cast<size_t>(e)] = stored(weights_.word_embeddings, input_ids[i], e) +
                                     stored(weights_.position_embeddings, static_cast<int64_t>(i), e) +
                                     stored(weights_.token_type_embeddings, token_type_ids[i], e);
    }
    layer_norm(x[i], weights_.embedding_layer_norm);
  }
  const auto add = [&](Row& row, const PackedMatrixView& weight, const Row& by,
                       const std::vector<bool>& kept) {
    const Row projected = linear(weight, E, by, kept);
    for (size_t e = 0; e < row.size(); ++e) row[e] = rounded(row[e] + projected[e]);
  };
  for (size_t l = 0; l < weights_.layers.size(); ++l) {
    const LayerWeights& layer = weights_.layers[l];
    const LayerStructure& kept = structure.layers[l];
    const std::vector<bool> heads = kept_units(kept.heads, kept.num_heads, config.head_dim(), E);
    const std::vector<bool> neurons = kept_units(
        kept.neuron_blocks, kept.num_neurons, kept.neuron_blocks.empty() ? 1 : 16, config.intermediate_size);
    if (kept.num_heads > 0) {
      const std::vector<Row> context = attend(layer, heads, x);
      for (size_t i = 0; i < x.size(); ++i) add(x[i], layer.attn_out_proj.view(), context[i], heads);
    }
    for (Row& row : x) {
      layer_norm(row, layer.attn_layer_norm);
      if (kept.num_neurons > 0) {
        Row ffn = linear(layer.ffn_up.view(), config.intermediate_size, row, {});
        for (float& value : ffn) value = rounded(value * (1 + std::erf(value / std::sqrt(2.0f))) / 2);
        add(row, layer.ffn_down.view(), ffn, neurons);
      }
      layer_norm(row, layer.ffn_layer_norm);
    }
  }
  std::vector<double> hidden;
  for (const Row& row : x) hidden.insert(hidden.end(), row.begin(), row.end());
  return hidden;
}

std::vector<double> NaiveEncoder::pooler(const std::vector<double>& hidden) const {
  const int64_t E = weights_.config.hidden_size;
  const Row y = linear(weights_.pooler->view(), E, Row(hidden.begin(), hidden.begin() + E), {});
  std::vector<double> result;
  for (const float value : y) result.push_back(rounded(std::tanh(value)));
  return result;
}

std::vector<double> NaiveEncoder::logits(const std::vector<double>& pooler) const {
  const Row y =
      linear(weights_.classifier->view(), weights_.num_labels, Row(pooler.begin(), pooler.end()), {});
  std::vector<double> result;
  for (const float value : y) result.push_back(rounded(value));
  return result;
}

}  // namespace elasticlm::test
