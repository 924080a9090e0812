// From stored rows of linear weights to the packed layout of core/packed_matrix.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/packed_matrix.h"
#include "core/tensor_view.h"
#include "model/config.h"

namespace elasticlm {

struct LinearTensors {
  TensorView weight;  // [N, K]
  TensorView bias;    // [N]
};

// In what to pack, and where the words go.
struct Packing {
  Precision precision = Precision::kF32;
  HugeMemory& memory;
};

// y = x Wᵀ + b with W [N, K].
PackedMatrix pack_linear(const LinearTensors& linear, const Packing& packing);

// The three projections [E, E] as one: for each head its D columns of query, key and value, padded with zero
// columns to qkv_head_columns.
struct QkvTensors {
  LinearTensors query;
  LinearTensors key;
  LinearTensors value;
};
PackedMatrix pack_qkv(const EncoderConfig& config, const QkvTensors& qkv, const Packing& packing);

}  // namespace elasticlm
