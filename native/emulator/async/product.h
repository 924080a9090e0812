// The arithmetic of one WGMMA, apart from when it happens.
#pragma once

#include <cstdint>
#include <vector>

#include "core/dtype.h"
#include "emulator/async/layout.h"

namespace elasticlm::emulator {

inline constexpr int kProductRows = 64;
inline constexpr int kProductDepth = 16;

// The 16-byte chunks of shared memory that hold an operand; each holds 8 neighbours in the operand's
// direction of memory.
struct OperandChunk {
  uint32_t address = 0;
  int mn = 0;  // of its first element
  int k = 0;
};
std::vector<OperandChunk> operand_chunks(const MatrixDescriptor& descriptor, const OperandShape& shape);

// d [64, n] = (accumulate ? d : 0) + aᵀ b, a [16, 64], b [16, n]. The manual leaves order and rounding open;
// measurements agree that tensor cores cut off rather than round, so this sums exactly and rounds the sum
// towards zero, once.
void product_m64k16(std::vector<float>& d, const std::vector<float>& a, const std::vector<float>& b, int n,
                    bool accumulate);

// Where register i of a thread of the warpgroup belongs in D ("Matrix Fragments for
// wgmma.mma_async.m64nNk16", accumulator D).
struct FragmentPlace {
  int row = 0;
  int column = 0;
};
constexpr FragmentPlace fragment_place(int thread, int i) {
  const int lane = thread % 32;
  return {thread / 32 * 16 + lane / 4 + (i / 2 % 2) * 8, i / 4 * 8 + lane % 4 * 2 + i % 2};
}

}  // namespace elasticlm::emulator
