// What Hugging Face's BertModel, BertForSequenceClassification and BertForMaskedLM call their tensors,
// without the "bert." prefix. A name of a linear layer or LayerNorm stands for its .weight and .bias.
#pragma once

#include <cstdint>
#include <string>

namespace elasticlm {

inline constexpr const char* kWordEmbeddings = "embeddings.word_embeddings.weight";
inline constexpr const char* kPositionEmbeddings = "embeddings.position_embeddings.weight";
inline constexpr const char* kTokenTypeEmbeddings = "embeddings.token_type_embeddings.weight";
inline constexpr const char* kEmbeddingLayerNorm = "embeddings.LayerNorm";
inline constexpr const char* kPooler = "pooler.dense";
inline constexpr const char* kClassifier = "classifier";
inline constexpr const char* kMlmTransform = "cls.predictions.transform.dense";
inline constexpr const char* kMlmLayerNorm = "cls.predictions.transform.LayerNorm";
inline constexpr const char* kMlmBias = "cls.predictions.bias";
inline constexpr const char* kMlmDecoder = "cls.predictions.decoder";  // its weight is the word embeddings

// A linear layer of ours over the pooled vector, of one SubLM: its output is added to the vector.
inline std::string adapter_name(int64_t idx) { return "elastic_adapters." + std::to_string(idx); }

struct LayerNames {
  std::string query;
  std::string key;
  std::string value;
  std::string attn_out;
  std::string attn_layer_norm;
  std::string ffn_up;
  std::string ffn_down;
  std::string ffn_layer_norm;

  explicit LayerNames(int64_t layer_idx) {
    const std::string layer = "encoder.layer." + std::to_string(layer_idx);
    query = layer + ".attention.self.query";
    key = layer + ".attention.self.key";
    value = layer + ".attention.self.value";
    attn_out = layer + ".attention.output.dense";
    attn_layer_norm = layer + ".attention.output.LayerNorm";
    ffn_up = layer + ".intermediate.dense";
    ffn_down = layer + ".output.dense";
    ffn_layer_norm = layer + ".output.LayerNorm";
  }
};

inline std::string weight_of(const std::string& name) { return name + ".weight"; }
inline std::string bias_of(const std::string& name) { return name + ".bias"; }

}  // namespace elasticlm
