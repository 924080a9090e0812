// Rows as the next linear layer reads them, over the vector wrapper: shared by layer_norm_forward,
// embedding_forward and quantize_forward. Included after the wrapper and its dot products.

#include <cstring>

#include "kernels/quantize.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// The row's source: f32 in memory, or bf16. last(i, n): the first n of the kLanes elements from i on.
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

// A vector of bf16 of whole words, two to each.
constexpr int64_t kLanesBF16 = 2 * kLanes;

ELASTICLM_INLINE float absmax_of(const BF16* x, int64_t size) {
  Words largest = broadcast_word(0);
  int64_t i = 0;
  for (; i + kLanesBF16 <= size; i += kLanesBF16) {
    largest = max_magnitude_bf16(largest, load_words(reinterpret_cast<const std::byte*>(x + i)));
  }
  BF16 values[kLanesBF16] = {};
  if (i < size) {
    std::memcpy(values, x + i, static_cast<size_t>(size - i) * sizeof(BF16));
    largest = max_magnitude_bf16(largest, load_words(reinterpret_cast<const std::byte*>(values)));
  }
  store_words(reinterpret_cast<std::byte*>(values), largest);
  return reduce_max(max(load_bf16(values), load_bf16(values + kLanes)));
}

// The elements of a row lie within `reach` of `centre`.
struct RowSpan {
  float centre = 0.0f;
  float reach = 0.0f;
};

// q: [size], zeros up to the end of the word.
template <typename Row>
ELASTICLM_INLINE RowScale quantize_row(const Row& row, const RowSpan& span, int64_t size, int8_t* q) {
  const bool is_point = !(span.reach >= kLeastAbsmax);
  const Vec centre = broadcast(span.centre);
  const Vec gain = broadcast(is_point ? 0.0f : 127.0f / span.reach);
  const auto quantized = [&](Vec x) __attribute__((always_inline)) { return (x - centre) * gain; };
  const auto last_quantized = [&](Vec x, int64_t count) __attribute__((always_inline)) {
    return round_to_sums(keep_first(quantized(x), count, zero()));
  };
  Sums sum[2] = {broadcast_sum(0), broadcast_sum(0)};
  int64_t i = 0;
  for (; i + 2 * kLanes <= size; i += 2 * kLanes) {
    const Sums first = round_to_sums(quantized(row.at(i)));
    const Sums second = round_to_sums(quantized(row.at(i + kLanes)));
    store_s8(q + i, first, second);
    sum[0] = sum[0] + first;
    sum[1] = sum[1] + second;
  }
  if (i < size) {
    const int64_t rest = size - i;
    const Sums first =
        rest < kLanes ? last_quantized(row.last(i, rest), rest) : round_to_sums(quantized(row.at(i)));
    const Sums second =
        rest > kLanes ? last_quantized(row.last(i + kLanes, rest - kLanes), rest - kLanes) : broadcast_sum(0);
    int8_t last[2 * kLanes];
    store_s8(last, first, second);
    const int64_t words = words_of(rest, Precision::kI8);
    std::memcpy(q + i, last, static_cast<size_t>(words * word_elements(Precision::kI8)));
    sum[0] = sum[0] + first;
    sum[1] = sum[1] + second;
  }
  return {is_point ? 0.0f : span.reach / 127.0f, reduce_add(sum[0] + sum[1]), span.centre};
}

// Rows that a step takes side by side.
constexpr int kRowsTogether = 4;

// What becomes of up to kRowsTogether rows of f32 values beside being stored. Each vector of row r is given
// to take or, the last of a row whose size is no multiple of kLanes, with zeros behind it to take_last;
// finish is called when all of the row is stored at y.
class NoOperand {
 public:
  ELASTICLM_INLINE NoOperand(const OperandRows&, int64_t) {}
  ELASTICLM_INLINE void take(int, int64_t, Vec) {}
  ELASTICLM_INLINE void take_last(int, int64_t, Vec, int64_t) {}
  ELASTICLM_INLINE void finish(int, const float*, int64_t) {}
};

class BF16Operand {
 public:
  ELASTICLM_INLINE BF16Operand(const OperandRows& rows, int64_t row_idx)
      : first_(static_cast<BF16*>(rows.data) + row_idx * rows.ld), ld_(rows.ld) {}
  ELASTICLM_INLINE void take(int r, int64_t i, Vec value) { store_bf16(first_ + r * ld_ + i, value); }
  ELASTICLM_INLINE void take_last(int r, int64_t i, Vec value, int64_t count) {
    BF16 last[kLanes];
    store_bf16(last, value);
    const int64_t words = words_of(count, Precision::kBF16);
    std::memcpy(first_ + r * ld_ + i, last, static_cast<size_t>(words * kWordBytes));
  }
  ELASTICLM_INLINE void finish(int, const float*, int64_t) {}

 private:
  BF16* first_;
  int64_t ld_;
};

class I8Operand {
 public:
  ELASTICLM_INLINE I8Operand(const OperandRows& rows, int64_t row_idx)
      : first_(static_cast<int8_t*>(rows.data) + row_idx * rows.ld),
        scales_(rows.scales + row_idx),
        ld_(rows.ld) {
    for (int r = 0; r < kRowsTogether; ++r) {
      largest_[r] = negated_smallest_[r] = broadcast(-__builtin_inff());
    }
  }
  ELASTICLM_INLINE void take(int r, int64_t, Vec value) {
    largest_[r] = max(largest_[r], value);
    negated_smallest_[r] = max(negated_smallest_[r], zero() - value);
  }
  ELASTICLM_INLINE void take_last(int r, int64_t, Vec value, int64_t count) {
    const Vec none = broadcast(-__builtin_inff());
    largest_[r] = max(largest_[r], keep_first(value, count, none));
    negated_smallest_[r] = max(negated_smallest_[r], keep_first(zero() - value, count, none));
  }
  ELASTICLM_INLINE void finish(int r, const float* y, int64_t size) {
    const float largest = reduce_max(largest_[r]);
    const float smallest = -reduce_max(negated_smallest_[r]);
    const float centre = 0.5f * largest + 0.5f * smallest;
    const float above = largest - centre;
    const float below = centre - smallest;
    scales_[r] = quantize_row(F32Row{y}, {centre, above > below ? above : below}, size, first_ + r * ld_);
  }

 private:
  int8_t* first_;
  RowScale* scales_;
  int64_t ld_;
  Vec largest_[kRowsTogether];
  Vec negated_smallest_[kRowsTogether];
};

// block.operator()<kRows>(row, operand) for blocks of rows up to num_rows, operand being one of the above.
template <typename Operand, typename Block>
void for_row_blocks_of(const OperandRows& operand, int64_t num_rows, const Block& block) {
  int64_t row = 0;
  for (; row + kRowsTogether <= num_rows; row += kRowsTogether) {
    block.template operator()<kRowsTogether>(row, Operand(operand, row));
  }
  for (; row < num_rows; ++row) block.template operator()<1>(row, Operand(operand, row));
}
template <typename Block>
ELASTICLM_INLINE void for_row_blocks(const OperandRows& operand, int64_t num_rows, const Block& block) {
  switch (operand.precision) {
    case Precision::kF32:
      return for_row_blocks_of<NoOperand>(operand, num_rows, block);
    case Precision::kBF16:
      return for_row_blocks_of<BF16Operand>(operand, num_rows, block);
    case Precision::kI8:
      return for_row_blocks_of<I8Operand>(operand, num_rows, block);
  }
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
