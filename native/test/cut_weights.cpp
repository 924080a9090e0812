#include "test/cut_weights.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

namespace elasticlm::test {
namespace {

using Positions = std::vector<int64_t>;

Positions first(int64_t count) {
  Positions positions(static_cast<size_t>(count));
  std::iota(positions.begin(), positions.end(), int64_t{0});
  return positions;
}

// Every position of the listed groups of `size` neighbours, but none from `limit` on.
Positions members(const Positions& groups, int64_t size, int64_t limit) {
  Positions positions;
  for (const int64_t group : groups) {
    for (int64_t i = group * size; i < std::min((group + 1) * size, limit); ++i) positions.push_back(i);
  }
  return positions;
}

Positions kept_heads(const LayerStructure& layer) {
  return layer.heads.empty() ? first(layer.num_heads) : Positions(layer.heads.begin(), layer.heads.end());
}

Positions kept_neurons(const LayerStructure& layer, int64_t intermediate_size) {
  if (layer.neuron_blocks.empty()) return first(layer.num_neurons);
  return members(Positions(layer.neuron_blocks.begin(), layer.neuron_blocks.end()), kNeuronBlock,
                 intermediate_size);
}

PackedMatrix cut(const PackedMatrix& full, const Positions& columns, const Positions& depth) {
  const PackedMatrixView from = full.view();
  PackedMatrix to(num_blocks_of(static_cast<int64_t>(columns.size())), static_cast<int64_t>(depth.size()),
                  from.precision);
  for (size_t n = 0; n < columns.size(); ++n) {
    to.copy_column(static_cast<int64_t>(n), from, columns[n], depth);
    to.set_bias(static_cast<int64_t>(n), from.bias[columns[n]]);
  }
  return to;
}

AlignedBuffer copy(const AlignedBuffer& from) {
  AlignedBuffer to(from.size());
  std::memcpy(to.data(), from.data(), from.size() * sizeof(float));
  return to;
}

LayerNormWeights copy(const LayerNormWeights& from) { return {copy(from.gamma), copy(from.beta)}; }

PackedMatrix copy(const PackedMatrix& from) {
  const PackedMatrixView view = from.view();
  return cut(from, first(view.num_blocks * kBlockColumns), first(view.K));
}

LayerWeights cut_layer(const EncoderConfig& config, const LayerWeights& full, const LayerStructure& kept) {
  const int64_t E = config.hidden_size;
  const Positions heads = kept_heads(kept);
  const Positions neurons = kept_neurons(kept, config.intermediate_size);
  const Positions qkv_columns =
      members(heads, config.qkv_head_columns(), config.num_heads * config.qkv_head_columns());
  return {.qkv_proj = cut(full.qkv_proj, qkv_columns, first(E)),
          .attn_out_proj = cut(full.attn_out_proj, first(E), members(heads, config.head_dim(), E)),
          .attn_layer_norm = copy(full.attn_layer_norm),
          .ffn_up = cut(full.ffn_up, neurons, first(E)),
          .ffn_down = cut(full.ffn_down, first(E), neurons),
          .ffn_layer_norm = copy(full.ffn_layer_norm)};
}

}  // namespace

CutModel cut_model(const ModelWeights& full, const Structure& structure) {
  validate(structure, full.config);
  auto weights = std::make_shared<ModelWeights>();
  weights->config = full.config;
  weights->precision = full.precision;
  weights->word_embeddings = full.word_embeddings;
  weights->position_embeddings = full.position_embeddings;
  weights->token_type_embeddings = full.token_type_embeddings;
  weights->embedding_layer_norm = copy(full.embedding_layer_norm);
  if (full.pooler) weights->pooler = copy(*full.pooler);
  if (full.classifier) weights->classifier = copy(*full.classifier);
  weights->num_labels = full.num_labels;

  Structure prefix;
  for (size_t l = 0; l < structure.layers.size(); ++l) {
    const LayerStructure& kept = structure.layers[l];
    weights->layers.push_back(cut_layer(full.config, full.layers[l], kept));
    prefix.layers.push_back(
        {.num_heads = kept.num_heads, .num_neurons = kept.num_neurons, .heads = {}, .neuron_blocks = {}});
  }
  return {std::move(weights), std::move(prefix)};
}

}  // namespace elasticlm::test
