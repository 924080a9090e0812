// attention_forward on a GPU: softmax(scale · Q Kᵀ) V for the kept heads of packed sequences, no mask. One
// item is one AttentionTile and one head; the keys of the tile's whole sequence pass by with a running
// softmax.
//
// A row's context depends on its own q and its sequence's K and V alone: bits do not depend on the batch.
#pragma once

#include "core/dtype.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/records.h"

namespace elasticlm::cuda {

struct DeviceAttentionArgs {
  DType dtype = DType::kBF16;
  int64_t head_dim = 0;                    // D: 32 or 64
  const void* qkv = nullptr;               // [T, ldqkv]: q | k | v of each kept head
  void* context = nullptr;                 // [T, ldcontext]: D columns of each kept head
  int64_t ldqkv = 0;                       // a multiple of 8
  int64_t ldcontext = 0;                   // a multiple of 8
  float scale = 1.0f;                      // 1 / sqrt(D)
  const AttentionStep* step = nullptr;     // device memory
  const AttentionGroup* groups = nullptr;  // device memory, what step counts from
  const AttentionTile* tiles = nullptr;    // device memory, what groups count from
};

// mma.sync and cp.async: compute capability 8.0 on; f16 and bf16.
void attention_mma_forward(const DeviceAttentionArgs& args, const LaunchContext& context);
// The plain truth, one warp for each query row and head, also for f32.
void attention_reference_forward(const DeviceAttentionArgs& args, const LaunchContext& context);

}  // namespace elasticlm::cuda
