// What works on whole rows: embedding, LayerNorm, pooling and the rows that leave the GPU. Each is bound by
// memory, one warp for each row (or sequence), sums in f32 in one fixed order.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/records.h"
#include "kernels/pooling.h"

namespace elasticlm::cuda {

// y = LayerNorm(word[input_ids] + position[position_ids] + token_type[token_type_ids]); the formula of
// kernels/embedding.h.
struct DeviceEmbeddingArgs {
  DType dtype = DType::kBF16;        // of the tables and y
  const void* word = nullptr;        // [V, E]
  const void* position = nullptr;    // [max_position_embeddings, E]
  const void* token_type = nullptr;  // [type_vocab_size, E]
  const float* gamma = nullptr;      // [E]
  const float* beta = nullptr;       // [E]
  const PlanHeader* header = nullptr;
  const int32_t* input_ids = nullptr;       // [T] in the plan's order
  const int32_t* position_ids = nullptr;    // [T]
  const int32_t* token_type_ids = nullptr;  // [T]
  void* y = nullptr;                        // [T, ldy]
  int64_t hidden_size = 0;                  // E, a multiple of 8
  int64_t ldy = 0;
  float eps = 0.0f;
};
void device_embedding_forward(const DeviceEmbeddingArgs& args, const LaunchContext& context);

// In place; the formula of kernels/layer_norm.h.
struct DeviceLayerNormArgs {
  DType dtype = DType::kBF16;
  const float* gamma = nullptr;  // [E]
  const float* beta = nullptr;   // [E]
  const PlanHeader* header = nullptr;
  void* y = nullptr;  // [T, ldy]
  int64_t hidden_size = 0;
  int64_t ldy = 0;
  float eps = 0.0f;
};
void device_layer_norm_forward(const DeviceLayerNormArgs& args, const LaunchContext& context);

// out[position of the sequence] = its first row or the mean of its rows, divided by its norm if asked (a zero
// vector stays).
struct DevicePoolingArgs {
  DType dtype = DType::kBF16;
  const PlanHeader* header = nullptr;
  const SequenceRecord* sequences = nullptr;  // [B]
  const void* x = nullptr;                    // [T, ldx]
  float* out = nullptr;                       // [B, E]
  int64_t hidden_size = 0;
  int64_t ldx = 0;
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
};
void device_pooling_forward(const DevicePoolingArgs& args, const LaunchContext& context);

// y[i] = the first row of sequence i, for the pooler.
struct DeviceFirstRowsArgs {
  DType dtype = DType::kBF16;
  const PlanHeader* header = nullptr;
  const SequenceRecord* sequences = nullptr;  // [B]
  const void* x = nullptr;                    // [T, ldx]
  void* y = nullptr;                          // [B, ldy]
  int64_t hidden_size = 0;
  int64_t ldx = 0;
  int64_t ldy = 0;
};
void device_first_rows(const DeviceFirstRowsArgs& args, const LaunchContext& context);

// out[batch_rows[i]] = x[i], widened to f32: what leaves the GPU in the batch's own order.
struct DeviceWidenArgs {
  DType dtype = DType::kBF16;
  const int32_t* num_rows = nullptr;    // device memory: one number
  const int32_t* batch_rows = nullptr;  // [num_rows]
  const void* x = nullptr;              // [num_rows, ldx]
  float* out = nullptr;                 // [num_rows, columns]
  int64_t columns = 0;
  int64_t ldx = 0;
};
void device_widen_rows(const DeviceWidenArgs& args, const LaunchContext& context);

}  // namespace elasticlm::cuda
