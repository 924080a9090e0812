#include "kernels/embedding_backward.h"

namespace elasticlm {

void embedding_sum_forward_ref(const EmbeddingSumArgs& args) {
  const int64_t E = args.hidden_size;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* const word = args.word + args.input_ids[row] * E;
    const float* const position = args.position + args.position_ids[row] * E;
    const float* const token_type = args.token_type + args.token_type_ids[row] * E;
    for (int64_t e = 0; e < E; ++e) args.y[row * args.ldy + e] = word[e] + position[e] + token_type[e];
  }
}

void embedding_backward_ref(const EmbeddingBackwardArgs& args) {
  for (int64_t row = 0; row < args.num_rows; ++row) {
    float* const table_row = args.dtable + args.ids[row] * args.hidden_size;
    for (int64_t e = args.column_begin; e < args.column_end; ++e)
      table_row[e] += args.dy[row * args.lddy + e];
  }
}

}  // namespace elasticlm
