// embedding_sum_forward: y = word[input_ids] + position[position_ids] + token_type[token_type_ids], in f32:
// the sum that kernels/embedding.h normalises at once; training keeps it. embedding_backward: row ids[r] of a
// table's gradient += dy[r], rows in rising order, for the columns [column_begin, column_end) alone, so that
// threads can share the work and the bits do not depend on how.
#pragma once

#include <cstdint>

namespace elasticlm {

struct EmbeddingSumArgs {
  const float* word = nullptr;              // [V, E]
  const float* position = nullptr;          // [max_position_embeddings, E]
  const float* token_type = nullptr;        // [type_vocab_size, E]
  const int32_t* input_ids = nullptr;       // [num_rows]
  const int32_t* position_ids = nullptr;    // [num_rows]
  const int32_t* token_type_ids = nullptr;  // [num_rows]
  float* y = nullptr;                       // [num_rows, E], ldy
  int64_t num_rows = 0;
  int64_t hidden_size = 0;  // E
  int64_t ldy = 0;
};
using EmbeddingSumForward = void (*)(const EmbeddingSumArgs&);

struct EmbeddingBackwardArgs {
  const int32_t* ids = nullptr;  // [num_rows]
  const float* dy = nullptr;     // [num_rows, E], lddy
  float* dtable = nullptr;       // [rows of the table, E], added to
  int64_t num_rows = 0;
  int64_t hidden_size = 0;  // E
  int64_t column_begin = 0;
  int64_t column_end = 0;
  int64_t lddy = 0;
};
using EmbeddingBackward = void (*)(const EmbeddingBackwardArgs&);

}  // namespace elasticlm
