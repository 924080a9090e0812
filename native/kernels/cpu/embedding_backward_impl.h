// embedding_sum_forward and embedding_backward over the vector wrapper. Included by
// embedding_backward_<isa>.cpp after the wrapper.

#include "kernels/cpu/vector_runs.h"
#include "kernels/embedding_backward.h"

namespace elasticlm {

void ELASTICLM_KERNEL(embedding_sum_forward)(const EmbeddingSumArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  const int64_t E = args.hidden_size;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* const word = args.word + args.input_ids[row] * E;
    const float* const position = args.position + args.position_ids[row] * E;
    const float* const token_type = args.token_type + args.token_type_ids[row] * E;
    float* const y = args.y + row * args.ldy;
    isa::for_vectors(
        0, E, [&](int64_t i, const auto& vec) __attribute__((always_inline)) {
          vec.write(y + i, vec.read(word + i) + vec.read(position + i) + vec.read(token_type + i));
        });
  }
}

void ELASTICLM_KERNEL(embedding_backward)(const EmbeddingBackwardArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* const dy = args.dy + row * args.lddy;
    float* const table_row = args.dtable + args.ids[row] * args.hidden_size;
    isa::for_vectors(
        args.column_begin, args.column_end, [&](int64_t i, const auto& vec) __attribute__((always_inline)) {
          vec.write(table_row + i, vec.read(table_row + i) + vec.read(dy + i));
        });
  }
}

}  // namespace elasticlm
