#include "train/parameters.h"

#include <algorithm>
#include <utility>

#include "core/packed_matrix.h"
#include "core/status.h"

namespace elasticlm {
namespace {

// Whole cache lines: every tensor begins at one, and a bias may be read in whole blocks of 16.
constexpr int64_t kSlotAlignment = kBlockColumns;

// Hands out places one after the other.
class SlotMaker {
 public:
  ParameterSlot matrix(const std::string& name, int64_t rows, int64_t columns) {
    return take(name, rows, columns, true);
  }
  ParameterSlot vector(const std::string& name, int64_t size) { return take(name, 1, size, false); }
  LayerNormSlots layer_norm(const std::string& name, int64_t size) {
    ParameterSlot gamma = vector(name + ".gamma", size);
    return {std::move(gamma), vector(name + ".beta", size)};
  }
  int64_t num_floats() const { return next_; }

 private:
  ParameterSlot take(const std::string& name, int64_t rows, int64_t columns, bool decays) {
    ParameterSlot slot{.name = name, .rows = rows, .columns = columns, .offset = next_, .decays = decays};
    next_ += round_up(slot.size(), kSlotAlignment);
    return slot;
  }

  int64_t next_ = 0;
};

LayerSlots layer_slots(const EncoderConfig& config, int64_t layer_idx, SlotMaker& make) {
  const std::string layer = "layer." + std::to_string(layer_idx) + ".";
  const int64_t E = config.hidden_size;
  const int64_t F = config.intermediate_size;
  LayerSlots slots;
  slots.qkv = make.matrix(layer + "qkv", 3 * E, E);
  slots.qkv_bias = make.vector(layer + "qkv_bias", 3 * E);
  slots.attn_out_t = make.matrix(layer + "attn_out_t", E, E);
  slots.attn_out_bias = make.vector(layer + "attn_out_bias", E);
  slots.attn_layer_norm = make.layer_norm(layer + "attn_layer_norm", E);
  slots.ffn_up = make.matrix(layer + "ffn_up", F, E);
  slots.ffn_up_bias = make.vector(layer + "ffn_up_bias", F);
  slots.ffn_down_t = make.matrix(layer + "ffn_down_t", F, E);
  slots.ffn_down_bias = make.vector(layer + "ffn_down_bias", E);
  slots.ffn_layer_norm = make.layer_norm(layer + "ffn_layer_norm", E);
  return slots;
}

HeadSlots head_slots(const EncoderConfig& config, const HeadShapes& heads, SlotMaker& make) {
  const int64_t E = config.hidden_size;
  HeadSlots slots;
  if (heads.pooler) {
    slots.pooler = make.matrix("pooler", E, E);
    slots.pooler_bias = make.vector("pooler_bias", E);
  }
  if (heads.num_labels > 0) {
    slots.classifier = make.matrix("classifier", heads.num_labels, E);
    slots.classifier_bias = make.vector("classifier_bias", heads.num_labels);
  }
  if (heads.relation) {
    slots.relation = make.matrix("relation", 3 * E, E);
    slots.relation_bias = make.vector("relation_bias", 3 * E);
  }
  if (heads.mlm) {
    slots.mlm_transform = make.matrix("mlm_transform", E, E);
    slots.mlm_transform_bias = make.vector("mlm_transform_bias", E);
    slots.mlm_layer_norm = make.layer_norm("mlm_layer_norm", E);
    slots.mlm_bias = make.vector("mlm_bias", config.vocab_size);
  }
  for (int64_t i = 0; i < heads.num_adapters; ++i) {
    const std::string name = "adapter." + std::to_string(i);
    ParameterSlot weight = make.matrix(name, E, E);
    slots.adapters.push_back({std::move(weight), make.vector(name + "_bias", E)});
  }
  return slots;
}

void require_count(const char* subject, int64_t count) {
  if (count >= 0) return;
  fail(ErrorCode::kConfigInvalid,
       {.expected = "0 or more", .subject = subject, .received = std::to_string(count), .remedy = ""});
}

}  // namespace

ParameterLayout::ParameterLayout(const EncoderConfig& encoder_config, const HeadShapes& head_shapes)
    : config(encoder_config), heads(head_shapes) {
  validate(config);
  require_count("the classifier's num_labels", heads.num_labels);
  require_count("the number of adapters", heads.num_adapters);
  SlotMaker make;
  const int64_t E = config.hidden_size;
  word_embeddings = make.matrix("word_embeddings", config.vocab_size, E);
  position_embeddings = make.matrix("position_embeddings", config.max_position_embeddings, E);
  token_type_embeddings = make.matrix("token_type_embeddings", config.type_vocab_size, E);
  embedding_layer_norm = make.layer_norm("embedding_layer_norm", E);
  for (int64_t l = 0; l < config.num_layers; ++l) layers.push_back(layer_slots(config, l, make));
  head = head_slots(config, heads, make);
  num_floats = make.num_floats();
}

std::vector<const ParameterSlot*> ParameterLayout::slots() const {
  std::vector<const ParameterSlot*> all;
  const auto add = [&](std::initializer_list<const ParameterSlot*> some) {
    for (const ParameterSlot* const slot : some) {
      if (slot->size() > 0) all.push_back(slot);
    }
  };
  add({&word_embeddings, &position_embeddings, &token_type_embeddings, &embedding_layer_norm.gamma,
       &embedding_layer_norm.beta});
  for (const LayerSlots& layer : layers) {
    add({&layer.qkv, &layer.qkv_bias, &layer.attn_out_t, &layer.attn_out_bias, &layer.attn_layer_norm.gamma,
         &layer.attn_layer_norm.beta, &layer.ffn_up, &layer.ffn_up_bias, &layer.ffn_down_t,
         &layer.ffn_down_bias, &layer.ffn_layer_norm.gamma, &layer.ffn_layer_norm.beta});
  }
  add({&head.pooler, &head.pooler_bias, &head.classifier, &head.classifier_bias, &head.relation,
       &head.relation_bias, &head.mlm_transform, &head.mlm_transform_bias, &head.mlm_layer_norm.gamma,
       &head.mlm_layer_norm.beta, &head.mlm_bias});
  for (const AdapterSlots& adapter : head.adapters) add({&adapter.weight, &adapter.bias});
  return all;
}

ParameterSet::ParameterSet(std::shared_ptr<const ParameterLayout> layout)
    : layout_(std::move(layout)), values_(static_cast<size_t>(layout_->num_floats)) {}

void ParameterSet::clear() { std::fill_n(values_.data(), values_.size(), 0.0f); }

}  // namespace elasticlm
