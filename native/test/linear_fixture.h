// What the suites of linear_forward share: weights and row groups of every precision, poison in all memory
// that a kernel may not read or write, and what must come out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/packed_matrix.h"
#include "kernels/kernel_table.h"
#include "test/kernel_support.h"

namespace elasticlm::test {

struct LinearKind {
  Precision precision = Precision::kF32;
  OutputType y_type = OutputType::kF32;
};
inline constexpr LinearKind kLinearKinds[] = {{Precision::kF32, OutputType::kF32},
                                              {Precision::kBF16, OutputType::kF32},
                                              {Precision::kBF16, OutputType::kBF16},
                                              {Precision::kI8, OutputType::kF32},
                                              {Precision::kI8, OutputType::kBF16}};
inline constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBF16, Precision::kI8};
// One that `i` chooses among those of a precision.
LinearKind linear_kind(Precision precision, int64_t i);
Activation activation_of(int64_t i);

// Supported instruction sets with a kernel of their own.
std::vector<Isa> linear_isas(Precision precision);

struct LinearGroup;

// W [num_blocks * 16, K], random, as its precision rounds it, and a random bias.
struct LinearWeights {
  LinearWeights(Precision precision, int64_t num_blocks, int64_t K, Random& random);
  // Column n from its K weights.
  void set_column(int64_t n, std::span<const float> weights);
  // Weight (n, k) as stored: in i8 the whole number that the column's scale multiplies.
  double at(int64_t n, int64_t k) const { return stored[static_cast<size_t>(n * K + k)]; }
  // The same weights with poison in place of all that `group` leaves out: NaN, but in i8, and beside the last
  // kept depth in its word, the column's largest weight. (x is zero there; zero times NaN is NaN.)
  PackedMatrix poisoned_beside(const LinearGroup& group) const;

  int64_t num_blocks;
  int64_t K;
  PackedMatrix packed;
  std::vector<float> stored;  // [num_blocks * 16, K]
  std::vector<float> bias;    // [num_blocks * 16]
};

// A RowGroup with its memory. x stands behind one word of poison, so that it is aligned to no more than a
// word, and its last kept word ends the memory, so that a sanitizer sees a read past it. Between rows, and
// behind the kept depth in its last word, stands poison (i8: any bytes); y stands among poison, or the
// residual's values when it is the residual.
struct LinearGroup {
  LinearKind kind;
  int64_t num_rows = 0;
  std::vector<ColumnRun> columns;
  std::vector<KRun> depth;
  bool has_residual = false;
  bool in_place = false;  // y is the residual
  int64_t ldx = 0;
  int64_t ldy = 0;
  std::vector<std::byte> x;
  std::vector<RowScale> scales;  // i8
  std::vector<float> residual;
  std::vector<std::byte> y;

  // Fills the memory once the fields before ldx are set. `head_major`: each run's output is a matrix of its
  // own.
  void lay_out(Random& random, bool head_major);
  // x[r, k], k counting the kept depth; i8 wants whole numbers in [-127, 127].
  void set_x(int64_t r, int64_t k, float value);
  // As the weights are: without its row's scale.
  double x_at(int64_t r, int64_t k) const;

  int64_t kept_depth() const;
  int64_t kept_words() const { return words_of(kept_depth(), kind.precision); }
  std::byte* x_row(int64_t r);
  const std::byte* x_row(int64_t r) const { return const_cast<LinearGroup*>(this)->x_row(r); }
  int64_t y_bytes() const { return kind.y_type == OutputType::kF32 ? 4 : 2; }
  int64_t y_size() const { return static_cast<int64_t>(y.size()) / y_bytes(); }
  float y_at(int64_t i) const;
  uint32_t y_bits(int64_t i) const;
  // Calls visit(row, weight column n, element of y) for every element that belongs to the group.
  template <typename Visit>
  void for_each_output(const Visit& visit) const {
    for (const ColumnRun& run : columns) {
      for (int64_t r = 0; r < num_rows; ++r) {
        for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c)
          visit(r, run.block_begin * kBlockColumns + c, run.y_offset + r * ldy + c);
      }
    }
  }
  RowGroup view();
};

// The first blocks and the first `depth` of K, for all rows.
LinearGroup prefix_group(Random& random, LinearKind kind, int64_t num_rows, int64_t num_blocks,
                         int64_t depth);
// Random runs of blocks and of words, the last of which may end within a word; with or without residual.
LinearGroup random_group(Random& random, const LinearWeights& weights, OutputType y_type, int64_t num_rows);
// `group` with only row r of its rows.
LinearGroup one_row_of(const LinearGroup& group, int64_t r);

// Runs the kernel of the weights' precision; all groups have one y_type.
void linear_forward(Isa isa, const PackedMatrixView& weight, Activation activation,
                    std::span<LinearGroup> groups);

struct LinearCase {
  const LinearWeights& weights;
  Activation activation = Activation::kNone;
  std::vector<LinearGroup> groups;
  bool has_bias = true;
};

// Fails unless every instruction set writes each element of y within its bound and nothing else. `packed`:
// what the kernels are given.
void check_linear(const LinearCase& linear, const PackedMatrix& packed);
inline void check_linear(const LinearCase& linear) { check_linear(linear, linear.weights.packed); }

// The elements of y that belong to row r, as bits.
std::vector<uint32_t> bits_of_row(const LinearGroup& group, int64_t r);
// Fails unless both groups' outputs are the same bits, row by row.
void check_same_rows(Isa isa, const LinearGroup& got, const LinearGroup& expected, const char* what);
void check_same_row(Isa isa, const LinearGroup& got, int64_t got_row, const LinearGroup& expected,
                    int64_t expected_row, const char* what);

}  // namespace elasticlm::test
