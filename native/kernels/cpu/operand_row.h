// One row as the next linear layer reads it, over the vector wrapper: shared by layer_norm_forward,
// embedding_forward and quantize_forward. Included after the wrapper and its dot products.

#include <cstring>

#include "kernels/quantize.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {

// The row's source: f32 in memory, or bf16.
struct F32Row {
  const float* x;
  ELASTICLM_INLINE Vec at(int64_t i) const { return load(x + i); }
  ELASTICLM_INLINE Vec last(int64_t i, int64_t count) const { return load_first(x + i, count); }
};
struct BF16Row {
  const BF16* x;
  ELASTICLM_INLINE Vec at(int64_t i) const { return load_bf16(x + i); }
  ELASTICLM_INLINE Vec last(int64_t i, int64_t count) const {
    BF16 padded[kLanes] = {};
    std::memcpy(padded, x + i, static_cast<size_t>(count) * sizeof(BF16));
    return load_bf16(padded);
  }
};

// q: [size], zeros up to the end of the word.
template <typename Row>
ELASTICLM_INLINE RowScale quantize_row(const Row& row, int64_t size, int8_t* q) {
  const int64_t whole = size / kLanes * kLanes;
  Vec largest[2] = {zero(), zero()};
  for (int64_t i = 0; i + kLanes <= whole; i += 2 * kLanes) {
    largest[0] = max(largest[0], abs(row.at(i)));
    if (i + kLanes < whole) largest[1] = max(largest[1], abs(row.at(i + kLanes)));
  }
  if (whole < size) largest[0] = max(largest[0], abs(row.last(whole, size - whole)));
  const float absmax = reduce_max(max(largest[0], largest[1]));
  const bool is_zero = !(absmax >= kLeastAbsmax);
  const Vec gain = broadcast(is_zero ? 0.0f : 127.0f / absmax);

  // Whole numbers below 2^24: the sum is exact in any order.
  Vec sum = zero();
  for (int64_t i = 0; i < whole; i += kLanes) {
    const Vec rounded = round(row.at(i) * gain);
    store_s8(q + i, rounded);
    sum = sum + rounded;
  }
  if (whole < size) {
    const Vec rounded = round(row.last(whole, size - whole) * gain);
    int8_t last[kLanes];
    store_s8(last, rounded);
    const int64_t words = words_of(size - whole, Precision::kI8);
    std::memcpy(q + whole, last, static_cast<size_t>(words * word_elements(Precision::kI8)));
    sum = sum + rounded;
  }
  return {is_zero ? 0.0f : absmax / 127.0f, static_cast<int32_t>(reduce_add(sum))};
}

// y: [size], zeros up to the end of the word.
ELASTICLM_INLINE void round_row(const float* x, int64_t size, BF16* y) {
  const int64_t whole = size / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) store_bf16(y + i, load(x + i));
  if (whole < size) {
    BF16 last[kLanes];
    store_bf16(last, load_first(x + whole, size - whole));
    const int64_t words = words_of(size - whole, Precision::kBF16);
    std::memcpy(y + whole, last, static_cast<size_t>(words * kWordBytes));
  }
}

// Row `row_idx` of the operand from its f32 values.
ELASTICLM_INLINE void write_operand(const OperandRows& operand, int64_t row_idx, const float* x,
                                    int64_t size) {
  switch (operand.precision) {
    case Precision::kF32:
      return;
    case Precision::kBF16:
      return round_row(x, size, static_cast<BF16*>(operand.data) + row_idx * operand.ld);
    case Precision::kI8:
      operand.scales[row_idx] =
          quantize_row(F32Row{x}, size, static_cast<int8_t*>(operand.data) + row_idx * operand.ld);
      return;
  }
}

}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
