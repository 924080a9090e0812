// embedding_forward over the vector wrapper. Included by embedding_<isa>.cpp after the wrapper.

#include <cstring>

#include "kernels/cpu/layer_norm_row.h"
#include "kernels/embedding.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

template <DType kDType>
ELASTICLM_INLINE Vec load_widened(const std::byte* p) {
  if constexpr (kDType == DType::kF16) {
    return load_f16(p);
  } else if constexpr (kDType == DType::kBF16) {
    return load_bf16(p);
  } else {
    return as_floats(load_words(p));
  }
}

// y (kAdd ? +=, =) one row of a table.
template <DType kDType, bool kAdd>
void take_row(const std::byte* row, int64_t size, float* y) {
  constexpr int64_t kBytes = dtype_bytes(kDType);
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const Vec value = load_widened<kDType>(row + i * kBytes);
    store(y + i, kAdd ? load(y + i) + value : value);
  }
  if (i < size) {
    const int64_t rest = size - i;
    std::byte padded[kLanes * kBytes] = {};
    std::memcpy(padded, row + i * kBytes, static_cast<size_t>(rest * kBytes));
    const Vec value = load_widened<kDType>(padded);
    store_first(y + i, kAdd ? load_first(y + i, rest) + value : value, rest);
  }
}

ELASTICLM_INLINE const std::byte* table_row(const EmbeddingTable& table, int64_t id, int64_t size) {
  return table.data + id * size * dtype_bytes(table.dtype);
}

template <bool kAdd>
ELASTICLM_INLINE void take_row_of(const EmbeddingTable& table, int64_t id, int64_t size, float* y) {
  const std::byte* row = table_row(table, id, size);
  switch (table.dtype) {
    case DType::kF32:
      return take_row<DType::kF32, kAdd>(row, size, y);
    case DType::kF16:
      return take_row<DType::kF16, kAdd>(row, size, y);
    case DType::kBF16:
      return take_row<DType::kBF16, kAdd>(row, size, y);
  }
}

ELASTICLM_INLINE void prefetch_row(const EmbeddingTable& table, int64_t id, int64_t size) {
  const std::byte* row = table_row(table, id, size);
  for (int64_t byte = 0; byte < size * dtype_bytes(table.dtype); byte += 64) __builtin_prefetch(row + byte);
}

// y: the sum of the three tables' rows.
ELASTICLM_INLINE void sum_tables(const EmbeddingArgs& args, int64_t row) {
  const int64_t E = args.hidden_size;
  float* const y = args.y + row * args.ldy;
  // Words are scattered over a table far larger than a cache; the other two tables are read in order.
  if (row + kRowsTogether < args.num_rows) prefetch_row(args.word, args.input_ids[row + kRowsTogether], E);
  take_row_of<false>(args.word, args.input_ids[row], E, y);
  take_row_of<true>(args.position, args.position_ids[row], E, y);
  take_row_of<true>(args.token_type, args.token_type_ids[row], E, y);
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(embedding_forward)(const EmbeddingArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  const isa::LayerNormRow norm{args.gamma, args.beta, args.hidden_size, args.eps};
  isa::for_row_blocks(
      args.operand,
      args.num_rows, [&]<int kRows>(int64_t row, const auto& operand) __attribute__((always_inline)) {
        float* const y = args.y + row * args.ldy;
        for (int64_t r = row; r < row + kRows; ++r) isa::sum_tables(args, r);
        isa::layer_norm_rows<kRows>(norm, {y, args.ldy}, {y, args.ldy}, operand);
      });
}

}  // namespace elasticlm
