// Inside of TrainWeights: each matrix [R, E] of the layers packed both ways.
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/packed_matrix.h"
#include "train/encoder_pass.h"

namespace elasticlm {

// A matrix W [R, E] of ParameterLayout. R counts what a SubLM keeps of: a prefix of the columns of one
// packing and of the depth of the other.
struct TwoWayMatrix {
  PackedMatrixView by_rows;   // columns R, depth E: x [., E] to x Wᵀ
  PackedMatrixView by_depth;  // columns E, depth R: x [., R] to x W
};

struct LayerMatrices {
  TwoWayMatrix qkv;       // R = H * qkv_head_columns, bias by_rows
  TwoWayMatrix attn_out;  // R = H * D, bias by_depth
  TwoWayMatrix ffn_up;    // R = F, bias by_rows
  TwoWayMatrix ffn_down;  // R = F, bias by_depth
};

struct PackedWeights {
  const ParameterSet& parameters;
  Precision precision;
  Isa isa;
  std::vector<LayerMatrices> layers;  // [L]

  PackedWeights(const ParameterSet& parameters, Precision precision, Isa isa);
  void refresh(const TrainThreads& threads);
  int64_t bytes() const;

 private:
  // One packing: where its rows are, and which words they become.
  struct Target {
    const float* rows;  // [R, E]
    int64_t num_rows;   // R
    bool by_rows;
    std::byte* words;
  };
  // Where heads are padded to whole blocks, q | k | v with the padding, a layer after the other.
  struct PaddedQkv {
    AlignedBuffer rows;  // [H * qkv_head_columns, E]
    AlignedBuffer bias;  // [H * qkv_head_columns]
  };

  TwoWayMatrix add(const float* rows, int64_t num_rows);
  void add_target(const float* rows, int64_t num_rows, bool by_rows, PackedMatrixView& view);
  void pad_heads(int64_t layer_idx);

  HugeMemory memory_;
  std::vector<AlignedBuffer> words_;
  std::vector<PaddedQkv> padded_;  // [L], or empty where heads need no padding
  std::vector<Target> targets_;
};

}  // namespace elasticlm
