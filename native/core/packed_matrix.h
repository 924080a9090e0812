// The one layout of linear weights, shared by every kernel, every precision and every SubLM.
//
// A weight matrix W [N, K] (y = x Wᵀ) is cut into blocks of 16 columns of y. Three blocks stand side by side
// in a panel: a panel is k-major, [words of K, 48], so that one step of a 48-column tile reads three
// neighbouring cache lines. A word holds one k in f32, two in bf16, four in i8 (core/precision.h). The last
// panel is padded with zero columns, the last word of K with zero weights.
//
//   word (n, k / e) = words[(n / 48) * num_words * 48 + (k / e) * 48 + n % 48], e elements per word
//
// An i8 weight is q = round(w / scale[n]) with scale[n] = max |w[n, :]| / 127, stored as q + 128: unsigned,
// as the dot product of unsigned and signed bytes wants it. The 128 is taken away by the row's sum, which
// needs nothing of the weights, so that a prefix of the depth is as good as all of it.
//
// A block is the unit in which a SubLM keeps or leaves out columns: block j starts at word (j / 3) *
// num_words * 48 + (j % 3) * 16 and its next word row is 48 words further. 16 words are one cache line and
// one AVX-512 register (two AVX2 registers), so any list of blocks is as cheap to read as a prefix of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/aligned_buffer.h"
#include "core/precision.h"

namespace elasticlm {

inline constexpr int64_t kBlockColumns = 16;
inline constexpr int64_t kPanelBlocks = 3;
inline constexpr int64_t kPanelColumns = kBlockColumns * kPanelBlocks;
inline constexpr int64_t kWordBytes = 4;
// Bytes from one word row of a panel to the next.
inline constexpr int64_t kWordRowBytes = kPanelColumns * kWordBytes;

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr int64_t num_blocks_of(int64_t columns) { return (columns + kBlockColumns - 1) / kBlockColumns; }

// What a kernel sees of packed weights.
struct PackedMatrixView {
  const std::byte* words = nullptr;  // panels as above
  const float* bias = nullptr;       // [num_blocks * 16], or null for none
  const float* scales = nullptr;     // [num_blocks * 16], i8 only
  const float* sums = nullptr;       // [num_blocks * 16], i8 only: Σ_k of the column's weights as stored
  Precision precision = Precision::kF32;
  int64_t K = 0;
  int64_t num_blocks = 0;

  int64_t num_words() const { return words_of(K, precision); }
  // First word of block j; its next word row is kWordRowBytes further.
  const std::byte* block(int64_t j) const {
    return words + ((j / kPanelBlocks) * num_words() * kPanelColumns + (j % kPanelBlocks) * kBlockColumns) *
                       kWordBytes;
  }
  // Weight (n, k), for whatever need not be fast.
  float value(int64_t n, int64_t k) const;
};

// Owned packed weights, zero where nothing was set.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(int64_t num_blocks, int64_t K, Precision precision = Precision::kF32);
  // The words in huge pages.
  PackedMatrix(int64_t num_blocks, int64_t K, Precision precision, HugeMemory& memory);

  // Column n of y: row n of W, K weights, rounded to the precision. i8 wants finite weights.
  void set_column(int64_t n, std::span<const float> weights);
  // One weight, rounded; not in i8, where the whole column decides about its scale.
  void set(int64_t n, int64_t k, float weight);
  void set_bias(int64_t n, float value) { bias_.data()[n] = value; }
  // Column n becomes `from_n` of `from`, of the same precision, at the positions `depth` of its K: the same
  // stored values.
  void copy_column(int64_t n, const PackedMatrixView& from, int64_t from_n, std::span<const int64_t> depth);

  PackedMatrixView view() const;
  int64_t bytes() const;

 private:
  PackedMatrix(int64_t num_blocks, int64_t K, Precision precision, AlignedBuffer words);
  std::byte* element(int64_t n, int64_t k);
  void take_sum(int64_t n);
  void quantize_column(int64_t n, std::span<const float> weights);

  int64_t K_ = 0;
  int64_t num_blocks_ = 0;
  Precision precision_ = Precision::kF32;
  AlignedBuffer words_;   // one float's room each
  AlignedBuffer bias_;    // [num_blocks * 16]
  AlignedBuffer scales_;  // [num_blocks * 16], i8 only
  AlignedBuffer sums_;    // [num_blocks * 16], i8 only
};

}  // namespace elasticlm
