// The one layout of linear weights, shared by every kernel and every SubLM.
//
// A weight matrix W [N, K] (y = x Wᵀ) is cut into blocks of 16 columns of y. Three blocks stand side by side
// in a panel: a panel is k-major, [K, 48], so that one k step of a 48-column tile reads three neighbouring
// cache lines. The last panel is padded with zero columns.
//
//   element (n, k) = data[(n / 48) * K * 48 + k * 48 + n % 48]
//
// A block is the unit in which a SubLM keeps or leaves out columns: block j starts at data + (j / 3) * K * 48
// + (j % 3) * 16 and its k-th row is 48 floats further for each k. 16 f32 columns are one cache line and one
// AVX-512 register (two AVX2 registers), so any list of blocks is as cheap to read as a prefix of them.
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned_buffer.h"

namespace elasticlm {

inline constexpr int64_t kBlockColumns = 16;
inline constexpr int64_t kPanelBlocks = 3;
inline constexpr int64_t kPanelColumns = kBlockColumns * kPanelBlocks;

constexpr int64_t round_up(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}
constexpr int64_t num_blocks_of(int64_t columns) { return (columns + kBlockColumns - 1) / kBlockColumns; }

// What a kernel sees of packed weights.
struct PackedMatrixView {
  const float* data = nullptr;  // panels as above
  const float* bias = nullptr;  // [num_blocks * 16], or null for none
  int64_t K = 0;
  int64_t num_blocks = 0;

  // First element of block j; row k of it is 48 * k floats further.
  const float* block(int64_t j) const {
    return data + (j / kPanelBlocks) * K * kPanelColumns + (j % kPanelBlocks) * kBlockColumns;
  }
};

// Owned packed weights, zero where nothing was set.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  PackedMatrix(int64_t num_blocks, int64_t K)
      : K_(K),
        num_blocks_(num_blocks),
        data_(static_cast<size_t>(round_up(num_blocks, kPanelBlocks) * kBlockColumns * K)),
        bias_(static_cast<size_t>(num_blocks * kBlockColumns)) {}

  void set(int64_t n, int64_t k, float value) {
    data_.data()[(n / kPanelColumns) * K_ * kPanelColumns + k * kPanelColumns + n % kPanelColumns] = value;
  }
  // Panel p, [K, 48], for packing a whole panel at a time.
  float* panel(int64_t p) { return data_.data() + p * K_ * kPanelColumns; }
  void set_bias(int64_t n, float value) { bias_.data()[n] = value; }
  PackedMatrixView view() const { return {data_.data(), bias_.data(), K_, num_blocks_}; }
  int64_t bytes() const { return static_cast<int64_t>((data_.size() + bias_.size()) * sizeof(float)); }

 private:
  int64_t K_ = 0;
  int64_t num_blocks_ = 0;
  AlignedBuffer data_;
  AlignedBuffer bias_;
};

}  // namespace elasticlm
