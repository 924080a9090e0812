#include "train/pass_layout.h"

#include <algorithm>

namespace elasticlm {
namespace {

constexpr int64_t kLineFloats = 16;

SubLayer sub_layer(const EncoderConfig& config, const LayerStructure& kept) {
  const int64_t qkv_columns = kept.num_heads * config.qkv_head_columns();
  const int64_t context_columns = kept.num_heads * config.head_dim();
  SubLayer sub;
  sub.num_heads = kept.num_heads;
  sub.num_neurons = kept.num_neurons;
  sub.qkv_columns = {0, num_blocks_of(qkv_columns), 0};
  sub.context_columns = {0, num_blocks_of(context_columns), 0};
  sub.ffn_columns = {0, num_blocks_of(kept.num_neurons), 0};
  sub.qkv_depth = {0, qkv_columns};
  sub.context_depth = {0, context_columns};
  sub.ffn_depth = {0, kept.num_neurons};
  return sub;
}

int64_t width_of(const ColumnRun& columns) { return columns.num_blocks * kBlockColumns; }

}  // namespace

// Hands out cache-line aligned floats of `memory`, or measures them where there is none.
class PassLayout::Carver {
 public:
  explicit Carver(float* memory) : memory_(memory) {}

  float* floats(int64_t count) {
    float* const begin = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += round_up(count, kLineFloats);
    return begin;
  }
  RowMatrix rows(int64_t num_subs, int64_t row_stride, int64_t ld) {
    return {floats(num_subs * row_stride * ld), ld, row_stride};
  }
  KeptMatrix kept(int64_t num_rows, int64_t width) { return {floats(num_rows * width), width}; }

  int64_t used() const { return used_; }
  // What is handed out from here on lies where `used` was.
  void go_back(int64_t used) { used_ = used; }

 private:
  float* memory_;
  int64_t used_ = 0;
};

void PassLayout::set_shape(const EncoderConfig& config, std::span<const Structure> structures,
                           int64_t num_tokens, Precision precision) {
  num_subs_ = static_cast<int64_t>(structures.size());
  num_tokens_ = num_tokens;
  // Gradients of weights have the rows of several SubLMs as depth, where each must begin a word.
  row_stride_ = round_up(num_tokens, word_elements(precision));
  hidden_size_ = config.hidden_size;
  ld_hidden_ = round_up(hidden_size_, kBlockColumns);
  head_dim_ = config.head_dim();
  head_columns_ = config.qkv_head_columns();
  widest_ = 0;
  layers_.assign(static_cast<size_t>(config.num_layers), {});
  for (size_t l = 0; l < layers_.size(); ++l) {
    LayerPass& layer = layers_[l];
    layer.num_attention_subs = l == 0 ? std::min<int64_t>(num_subs_, 1) : num_subs_;
    for (const Structure& structure : structures) {
      layer.subs.push_back(sub_layer(config, structure.layers[l]));
      const SubLayer& sub = layer.subs.back();
      widest_ = std::max({widest_, width_of(sub.qkv_columns), width_of(sub.ffn_columns)});
    }
  }
}

void PassLayout::place_layer(Carver& carver, LayerPass& layer) const {
  for (int64_t i = 0; i < num_subs_; ++i) {
    SubLayer& sub = layer.subs[static_cast<size_t>(i)];
    if (i < layer.num_attention_subs) {
      sub.qkv = carver.kept(num_tokens_, width_of(sub.qkv_columns));
      sub.context = carver.kept(num_tokens_, width_of(sub.context_columns));
    } else {
      sub.qkv = layer.subs.front().qkv;
      sub.context = layer.subs.front().context;
    }
    sub.ffn = carver.kept(num_tokens_, width_of(sub.ffn_columns));
  }
  layer.attn_sum = carver.rows(num_subs_, row_stride_, ld_hidden_);
  layer.x1 = carver.rows(num_subs_, row_stride_, ld_hidden_);
  layer.ffn_sum = carver.rows(num_subs_, row_stride_, ld_hidden_);
}

int64_t PassLayout::place_forward(float* memory, bool layer_inputs_only) {
  Carver carver(memory);
  embedding_sum_ = carver.rows(1, num_tokens_, ld_hidden_);
  for (LayerPass& layer : layers_) {
    const bool is_shared = layer.num_attention_subs < num_subs_;
    layer.x0 = carver.rows(is_shared ? 1 : num_subs_, row_stride_, ld_hidden_);
    if (is_shared) layer.x0.row_stride = 0;
  }
  for (size_t l = 0; l + 1 < layers_.size(); ++l) layers_[l].x2 = layers_[l + 1].x0;
  layers_.back().x2 = carver.rows(num_subs_, num_tokens_, hidden_size_);
  const int64_t begin = carver.used();
  int64_t end = begin;
  for (LayerPass& layer : layers_) {
    if (layer_inputs_only) carver.go_back(begin);
    place_layer(carver, layer);
    end = std::max(end, carver.used());
  }
  return end;
}

int64_t PassLayout::place_backward(float* memory) {
  Carver carver(memory);
  for (RowMatrix* const rows :
       {&backward_.d_x2, &backward_.d_ffn_sum, &backward_.d_x1, &backward_.d_attn_sum}) {
    *rows = carver.rows(num_subs_, row_stride_, ld_hidden_);
  }
  for (float** const values :
       {&backward_.attn_mean, &backward_.attn_rstd, &backward_.ffn_mean, &backward_.ffn_rstd}) {
    *values = carver.floats(num_rows());
  }
  // A word takes a float's room in every precision; whole words of rows are at most the rows themselves.
  const int64_t packed_columns = round_up(num_blocks_of(hidden_size_), kPanelBlocks) * kBlockColumns;
  for (std::byte*& packing : depth_packings_)
    packing = reinterpret_cast<std::byte*>(carver.floats(packed_columns * num_rows()));
  const int64_t begin = carver.used();
  int64_t end = begin;
  for (LayerPass& layer : layers_) {
    carver.go_back(begin);
    for (int64_t i = 0; i < num_subs_; ++i) {
      SubLayer& sub = layer.subs[static_cast<size_t>(i)];
      if (i < layer.num_attention_subs) sub.d_qkv = carver.kept(num_tokens_, width_of(sub.qkv_columns));
      sub.d_context = carver.kept(num_tokens_, width_of(sub.context_columns));
      sub.d_ffn = carver.kept(num_tokens_, width_of(sub.ffn_columns));
    }
    end = std::max(end, carver.used());
  }
  return end;
}

}  // namespace elasticlm
