// A whole forward of few tokens as one cooperative launch: embedding and all layers, hidden states out. For
// so few rows the gaps between launches and the latency of reading weights are what counts, not arithmetic.
// All blocks stay resident and meet at a barrier between steps; while a block waits there, the weights of its
// next step are already on their way to its shared memory, since they depend on nothing.
//
// LayerNorms have no step of their own: every block normalises all rows into its shared memory before a step
// that reads them, and writes its share of them to device memory, where the next step's residuals come from.
// Depth is divided among the warps of a block and their sums are added in a fixed order, so bits depend on
// the row and its structure alone, but differ from those of linear_mma_forward, which has one chain.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/records.h"
#include "kernels/cuda/rows.h"

namespace elasticlm::cuda {

inline constexpr int64_t kSmallForwardTokens = 64;

// Device addresses of one layer, and its steps' records.
struct SmallLayer {
  const void* qkv_proj = nullptr;       // [H * 3 D, E]
  const void* attn_out_proj = nullptr;  // [H * D, E], transposed
  const void* ffn_up = nullptr;         // [F rounded up to 16, E]
  const void* ffn_down = nullptr;       // [F rounded up to 16, E], transposed
  const float* qkv_bias = nullptr;
  const float* attn_out_bias = nullptr;
  const float* ffn_up_bias = nullptr;
  const float* ffn_down_bias = nullptr;
  const float* attn_gamma = nullptr;  // LayerNorm after attention
  const float* attn_beta = nullptr;
  const float* ffn_gamma = nullptr;  // LayerNorm after the FFN
  const float* ffn_beta = nullptr;
  const LinearStep* qkv_step = nullptr;
  const LinearStep* attn_out_step = nullptr;
  const LinearStep* ffn_up_step = nullptr;
  const LinearStep* ffn_down_step = nullptr;
  const AttentionStep* attention_step = nullptr;
};

struct SmallForwardArgs {
  DType dtype = DType::kBF16;          // f16 or bf16
  const SmallLayer* layers = nullptr;  // [L] in device memory
  int32_t num_layers = 0;
  int32_t head_dim = 0;           // 32 or 64
  float attention_scale = 1.0f;   // 1 / sqrt(D)
  DeviceEmbeddingArgs embedding;  // y receives the result
  void* spare = nullptr;          // [64, embedding.ldy], in turn with embedding.y for normalised rows
  void* sums = nullptr;           // [64, embedding.ldy]: rows before their LayerNorm
  void* qkv = nullptr;            // [64, ldqkv]
  void* context = nullptr;        // [64, hidden_size]
  void* ffn = nullptr;            // [64, ldffn]
  int64_t ldqkv = 0;
  int64_t ldffn = 0;
  const LinearGroup* groups = nullptr;               // what the steps count from
  const int32_t* row_blocks = nullptr;               // what the groups count from
  const AttentionGroup* attention_groups = nullptr;  // likewise
  const AttentionTile* attention_tiles = nullptr;
  // One word of device memory, 0 before the launch (a memset in the same stream), where the blocks meet.
  uint32_t* barrier = nullptr;
};

// Whether a device with so much shared memory for one block (bytes) can run it for so many rows: each block
// holds all of them.
bool small_forward_fits(int64_t num_rows, int64_t hidden_size, size_t shared_bytes_per_block);

// Fills embedding.y [T, ldy] with the last hidden states. context.max_rows at most kSmallForwardTokens.
// Compute capability 8.0 on.
void small_forward(const SmallForwardArgs& args, const LaunchContext& context);

}  // namespace elasticlm::cuda
