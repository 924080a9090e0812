// embedding_forward: y = LayerNorm(word[input_ids] + position[position_ids] + token_type[token_type_ids]) for
// each row. Tables stay in the checkpoint's own dtype and are widened on reading. Ids have been checked by
// the caller. `operand` is that of layer_norm_forward.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "core/precision.h"

namespace elasticlm {

struct EmbeddingTable {
  const std::byte* data = nullptr;  // [rows, E] of dtype, no alignment assumed
  DType dtype = DType::kF32;
};

struct EmbeddingArgs {
  EmbeddingTable word;                      // [V, E]
  EmbeddingTable position;                  // [max_position_embeddings, E]
  EmbeddingTable token_type;                // [type_vocab_size, E]
  const int32_t* input_ids = nullptr;       // [num_rows]
  const int32_t* position_ids = nullptr;    // [num_rows]
  const int32_t* token_type_ids = nullptr;  // [num_rows]
  const float* gamma = nullptr;             // [E]
  const float* beta = nullptr;              // [E]
  float* y = nullptr;                       // [num_rows, E], ldy
  OperandRows operand;                      // [num_rows, E]
  int64_t num_rows = 0;
  int64_t hidden_size = 0;  // E
  int64_t ldy = 0;
  float eps = 0.0f;
};

using EmbeddingForward = void (*)(const EmbeddingArgs&);

}  // namespace elasticlm
