// Rows of f32 as words of operands in f32 or bf16 (core/precision.h), over the vector wrapper: a vector of
// kLanes words is moved as if it were floats. Included after the wrapper and its dot products.

#include <cstring>

#include "kernels/cpu/vector_runs.h"
#include "kernels/training_operand.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// kLanes words, or the first n of them, to wherever they are wanted.
ELASTICLM_INLINE void write_words(std::byte* p, Vec words) { store(reinterpret_cast<float*>(p), words); }
ELASTICLM_INLINE void write_first_words(std::byte* p, Vec words, int64_t n) {
  float lanes[kLanes];
  store(lanes, words);
  std::memcpy(p, lanes, static_cast<size_t>(n * kWordBytes));
}

// kLanes words of bf16: the elements of low, then those of high.
ELASTICLM_INLINE Vec round_vec(Vec low, Vec high) {
  return as_floats(pack_halves(round_halves(low), round_halves(high)));
}

// y = bf16 of f(x), zeros up to a whole word.
template <typename Function>
ELASTICLM_INLINE void round_row(const float* x, int64_t size, BF16* y, const Function& f) {
  std::byte* const words = reinterpret_cast<std::byte*>(y);
  constexpr int64_t kBytes = static_cast<int64_t>(sizeof(BF16));
  int64_t i = 0;
  for (; i + 2 * kLanes <= size; i += 2 * kLanes) {
    write_words(words + i * kBytes, round_vec(f(load(x + i)), f(load(x + i + kLanes))));
  }
  if (i < size) {
    const int64_t rest = size - i;
    const int64_t low = smaller(rest, kLanes);
    const Vec high = rest > kLanes
                         ? keep_first(f(load_first(x + i + kLanes, rest - kLanes)), rest - kLanes, zero())
                         : zero();
    const Vec value = round_vec(keep_first(f(load_first(x + i, low)), low, zero()), high);
    write_first_words(words + i * kBytes, value, words_of(rest, Precision::kBF16));
  }
}

// Words along the rows of x: row r holds those of x[r, :].
template <Precision kPrecision>
struct WordsOfRows {
  const float* x = nullptr;  // [num_rows, num_columns], ldx
  int64_t ldx = 0;
  int64_t num_rows = 0;
  int64_t num_columns = 0;

  // Rows and words of a row that need no padding.
  ELASTICLM_INLINE int64_t whole_rows() const { return num_rows; }
  ELASTICLM_INLINE int64_t whole_words() const { return num_columns / word_elements(kPrecision); }
  // kLanes words from `word` of row `row` on; whole ones.
  ELASTICLM_INLINE Vec at(int64_t row, int64_t word) const {
    const float* const p = x + row * ldx + word * word_elements(kPrecision);
    if constexpr (kPrecision == Precision::kF32) return load(p);
    return round_vec(load(p), load(p + kLanes));
  }
  // The same with zeros in place of what there is not.
  ELASTICLM_INLINE Vec padded_at(int64_t row, int64_t word) const {
    const int64_t column = word * word_elements(kPrecision);
    if (row >= num_rows || column >= num_columns) return zero();
    const float* const p = x + row * ldx + column;
    const int64_t rest = num_columns - column;
    const Vec low = load_first(p, smaller(rest, kLanes));
    if constexpr (kPrecision == Precision::kF32) return low;
    return round_vec(low, rest > kLanes ? load_first(p + kLanes, smaller(rest - kLanes, kLanes)) : zero());
  }
};

// Words across the rows of x: row r, column c holds x[r, c] in f32, x[2 r, c] and x[2 r + 1, c] in bf16. The
// same names.
template <Precision kPrecision>
struct WordsOfColumns {
  const float* x = nullptr;
  int64_t ldx = 0;
  int64_t num_rows = 0;
  int64_t num_columns = 0;

  ELASTICLM_INLINE int64_t whole_rows() const { return num_rows / word_elements(kPrecision); }
  ELASTICLM_INLINE int64_t whole_words() const { return num_columns; }
  ELASTICLM_INLINE Vec at(int64_t row, int64_t word) const {
    const float* const p = x + row * word_elements(kPrecision) * ldx + word;
    if constexpr (kPrecision == Precision::kF32) return load(p);
    return as_floats(pair_halves(round_halves(load(p)), round_halves(load(p + ldx))));
  }
  ELASTICLM_INLINE Vec padded_at(int64_t row, int64_t word) const {
    const int64_t first = row * word_elements(kPrecision);
    if (first >= num_rows || word >= num_columns) return zero();
    const int64_t count = smaller(num_columns - word, kLanes);
    const float* const p = x + first * ldx + word;
    if constexpr (kPrecision == Precision::kF32) return load_first(p, count);
    const Vec second = first + 1 < num_rows ? load_first(p + ldx, count) : zero();
    return as_floats(pair_halves(round_halves(load_first(p, count)), round_halves(second)));
  }
};

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
