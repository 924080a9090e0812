#include "model/assemble.h"

#include <utility>

#include "core/status.h"
#include "model/float_tensor.h"
#include "model/packing.h"
#include "model/printable.h"
#include "model/tensor_names.h"

namespace elasticlm {
namespace {

TensorView finite_tensor(TensorSource& source, const std::string& name, const std::vector<int64_t>& shape,
                         Precision precision = Precision::kF32) {
  TensorView tensor = source.tensor(name, shape);
  require_finite(tensor, name, precision);
  return tensor;
}

// Biases stay in f32.
LinearTensors linear(TensorSource& source, const std::string& name, int64_t N, int64_t K,
                     Precision precision = Precision::kF32) {
  return {finite_tensor(source, weight_of(name), {N, K}, precision),
          finite_tensor(source, bias_of(name), {N})};
}

AlignedBuffer vector(TensorSource& source, const std::string& name, int64_t size) {
  const TensorView tensor = finite_tensor(source, name, {size});
  AlignedBuffer values(static_cast<size_t>(size));
  widen(tensor.data, tensor.dtype, size, values.data());
  return values;
}

LayerNormWeights layer_norm(TensorSource& source, const std::string& name, int64_t size) {
  return {vector(source, weight_of(name), size), vector(source, bias_of(name), size)};
}

LayerWeights layer(const EncoderConfig& config, TensorSource& source, int64_t layer_idx,
                   const Packing& packing) {
  const LayerNames names(layer_idx);
  const int64_t E = config.hidden_size;
  const int64_t F = config.intermediate_size;
  return {.qkv_proj = pack_qkv(config,
                               {.query = linear(source, names.query, E, E, packing.precision),
                                .key = linear(source, names.key, E, E, packing.precision),
                                .value = linear(source, names.value, E, E, packing.precision)},
                               packing),
          .attn_out_proj = pack_linear(linear(source, names.attn_out, E, E, packing.precision), packing),
          .attn_layer_norm = layer_norm(source, names.attn_layer_norm, E),
          .ffn_up = pack_linear(linear(source, names.ffn_up, F, E, packing.precision), packing),
          .ffn_down = pack_linear(linear(source, names.ffn_down, E, F, packing.precision), packing),
          .ffn_layer_norm = layer_norm(source, names.ffn_layer_norm, E)};
}

// A head is there when either of its two tensors is; that the other is missing is then an error, not a silent
// absence.
bool has_linear(const TensorSource& source, const std::string& name) {
  return source.has(weight_of(name)) || source.has(bias_of(name));
}

}  // namespace

int64_t num_labels_of(const std::vector<int64_t>& classifier_shape, const EncoderConfig& config) {
  if (classifier_shape.size() == 2 && classifier_shape[0] >= 1) return classifier_shape[0];
  fail(ErrorCode::kTensorShapeMismatch,
       {.expected = "[labels, " + std::to_string(config.hidden_size) + "] with at least one label",
        .subject = "the shape of tensor " + quoted(weight_of(kClassifier)),
        .received = shape_text(classifier_shape),
        .remedy = ""});
}

void assemble(const EncoderConfig& config, TensorSource& source, ModelWeights& weights) {
  const int64_t E = config.hidden_size;
  weights.config = config;
  weights.word_embeddings = source.tensor(kWordEmbeddings, {config.vocab_size, E});
  weights.position_embeddings =
      finite_tensor(source, kPositionEmbeddings, {config.max_position_embeddings, E});
  weights.token_type_embeddings = finite_tensor(source, kTokenTypeEmbeddings, {config.type_vocab_size, E});
  weights.embedding_layer_norm = layer_norm(source, kEmbeddingLayerNorm, E);
  HugeMemory memory;
  for (int64_t l = 0; l < config.num_layers; ++l)
    weights.layers.push_back(layer(config, source, l, {weights.precision, memory}));
  if (has_linear(source, kPooler))
    weights.pooler = pack_linear(linear(source, kPooler, E, E), {Precision::kF32, memory});
  if (has_linear(source, kClassifier)) {
    weights.num_labels = num_labels_of(source.shape(weight_of(kClassifier)), config);
    weights.classifier =
        pack_linear(linear(source, kClassifier, weights.num_labels, E), {Precision::kF32, memory});
  }
}

}  // namespace elasticlm
