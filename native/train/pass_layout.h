// Inside of EncoderPass: what one pass keeps of each layer and SubLM, and where it lies.
//
// Matrices of E columns hold the rows of all SubLMs one after the other, row_stride apart; matrices of heads
// or neurons are as wide as each SubLM's layer, so they are one per SubLM. The first layer's input is the
// same for all SubLMs, and so are q, k, v and context of the heads that several keep: the first, largest
// SubLM's serve all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/packed_matrix.h"
#include "core/precision.h"
#include "kernels/linear.h"
#include "model/structure.h"

namespace elasticlm {

// Rows of all SubLMs.
struct RowMatrix {
  float* data = nullptr;
  int64_t ld = 0;
  int64_t row_stride = 0;  // rows from one SubLM's first to the next's; 0: all share the first's

  float* row(int64_t sub, int64_t r) const { return data + (sub * row_stride + r) * ld; }
};

// A matrix of one SubLM's heads or neurons, [T, kept columns].
struct KeptMatrix {
  float* data = nullptr;
  int64_t ld = 0;

  float* row(int64_t r) const { return data + r * ld; }
};

// One SubLM in one layer.
struct SubLayer {
  int64_t num_heads = 0;
  int64_t num_neurons = 0;
  // How linear_forward is told of what it keeps.
  ColumnRun qkv_columns;
  ColumnRun context_columns;
  ColumnRun ffn_columns;
  KRun qkv_depth;
  KRun context_depth;
  KRun ffn_depth;
  // Saved by the forward.
  KeptMatrix qkv;
  KeptMatrix context;
  KeptMatrix ffn;  // before GELU; after it once the backward has passed
  // Of the backward; one memory for all layers.
  KeptMatrix d_qkv;
  KeptMatrix d_context;
  KeptMatrix d_ffn;
};

struct LayerPass {
  std::vector<SubLayer> subs;
  int64_t num_attention_subs = 0;  // SubLMs whose q, k and v are computed
  RowMatrix x0;                    // input
  RowMatrix attn_sum;              // attention and its residual, before LayerNorm
  RowMatrix x1;                    // after it
  RowMatrix ffn_sum;               // FFN and its residual, before LayerNorm
  RowMatrix x2;                    // output: the next layer's x0

  const SubLayer& sub(int64_t i) const { return subs[static_cast<size_t>(i)]; }
};

// The backward's rows of E columns; one memory for all layers.
struct BackwardRows {
  RowMatrix d_x2;  // from above; and for below
  RowMatrix d_ffn_sum;
  RowMatrix d_x1;
  RowMatrix d_attn_sum;
  float* attn_mean = nullptr;  // [row_stride * subs], and so on
  float* attn_rstd = nullptr;
  float* ffn_mean = nullptr;
  float* ffn_rstd = nullptr;
};

// A matrix [rows of all SubLMs, E] packed with its rows as depth, for the gradients of weights.
inline constexpr size_t kNumDepthPackings = 4;

class PassLayout {
 public:
  // `structures`: prefixes, nested, by falling size. `num_tokens` of the batch.
  void set_shape(const EncoderConfig& config, std::span<const Structure> structures, int64_t num_tokens,
                 Precision precision);
  // What the forward needs: `layer_inputs_only` keeps x0 of each layer and gives all layers one memory for
  // the rest.
  int64_t num_forward_floats(bool layer_inputs_only) { return place_forward(nullptr, layer_inputs_only); }
  int64_t place_forward(float* memory, bool layer_inputs_only);
  int64_t num_backward_floats() { return place_backward(nullptr); }
  int64_t place_backward(float* memory);

  int64_t num_subs() const { return num_subs_; }
  int64_t num_tokens() const { return num_tokens_; }
  int64_t row_stride() const { return row_stride_; }
  int64_t num_rows() const { return num_subs_ * row_stride_; }  // padding of SubLMs included
  int64_t hidden_size() const { return hidden_size_; }
  int64_t ld_hidden() const { return ld_hidden_; }
  int64_t head_dim() const { return head_dim_; }
  int64_t head_columns() const { return head_columns_; }  // of q | k | v, with padding
  // Columns of the widest matrix of heads or neurons.
  int64_t widest() const { return widest_; }

  std::span<LayerPass> layers() { return layers_; }
  std::span<const LayerPass> layers() const { return layers_; }
  const RowMatrix& embedding_sum() const { return embedding_sum_; }
  const BackwardRows& backward() const { return backward_; }
  std::byte* depth_packing(size_t i) const { return depth_packings_[i]; }

 private:
  class Carver;
  void place_layer(Carver& carver, LayerPass& layer) const;

  int64_t num_subs_ = 0;
  int64_t num_tokens_ = 0;
  int64_t row_stride_ = 0;
  int64_t hidden_size_ = 0;
  int64_t ld_hidden_ = 0;
  int64_t head_dim_ = 0;
  int64_t head_columns_ = 0;
  int64_t widest_ = 0;
  std::vector<LayerPass> layers_;
  RowMatrix embedding_sum_;
  BackwardRows backward_;
  std::byte* depth_packings_[kNumDepthPackings] = {};
};

}  // namespace elasticlm
