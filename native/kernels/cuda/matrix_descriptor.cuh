// How operands of WGMMA lie in shared memory, and the descriptors that say so.
//
// A tile is a row of panels. A panel is 64 stored rows of 64 elements, 128 bytes each, on a 1024-byte
// boundary, as TMA writes it with the 128-byte swizzle (tensor_map.h): the 16-byte chunk c of row r is at
// chunk c ^ (r % 8). Four boxes of 16 rows, or one of 64, make the same panel, because 16 is a multiple of
// the pattern's 8 rows.
//
// The PTX manual ("Asynchronous Warpgroup Level Matrix Shared Memory Layout") counts in units of 128 bits, 8
// elements here, and builds an operand of swizzle atoms. With the 128-byte swizzle an atom is 8 x 8 units,
// 1024 bytes: 8 lines of 8 units, each line 128 bytes along the dimension that is contiguous. Which atoms
// follow one another is said by two strides:
//
//   K-major     An atom is 8 rows of M or N by 64 of K: 8 stored rows of a panel.
//     stride    "from the first 8 rows to the next 8 rows": the next 8 stored rows, 1024. Panels follow one
//     another at 8192 =
//               8 x 1024, so the same stride goes on through all panels of a tile.
//     leading   not used with a swizzle ("assumed to be 1"): one instruction reads 16 of the atom's 64 of K.
//     k16 step  16 elements along the 128-byte lines: 32 bytes. The hardware forms the addresses and then
//     applies the swizzle
//               to their bits (bits 4-6 ^= bits 7-9), so the start moves by plain 32 bytes; it stays in the
//               atom's first line, where bits 7-9 are 0, and the base offset is 0.
//
//   N-major     (the transpose bit) A line is 64 of N, the atom's 8 lines are 8 of K: again 8 stored rows of
//   a panel, whose rows
//               are now depth and whose 128 bytes are columns of y.
//     stride    "from the first 8 columns to the next 8 columns", columns being K: the next 8 stored rows,
//     1024. leading   "from the first (swizzle-byte-size / 16) rows to the next": 128 / 16 = 8 units of N, so
//     from one 64 of N to the
//               next, which is the next panel: 8192.
//     k16 step  16 stored rows: 2048, a multiple of 1024, so the base offset is 0.
#pragma once

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/records.h"
#include "kernels/cuda/tensor_map.h"

namespace elasticlm::cuda {

inline constexpr int kLineBytes = kBoxColumns * 2;           // a stored row in a panel
inline constexpr int kPanelBytes = kPanelRows * kLineBytes;  // a box of DeviceMatrix::panel_map
inline constexpr int kBlockBytes = kRowBlock * kLineBytes;   // a box of DeviceMatrix::block_map
inline constexpr int kSwizzleAtomBytes = 8 * kLineBytes;
inline constexpr int kMmaDepth = 16;  // of one instruction

// The descriptor of a tile at `shared`, a panel's beginning.
template <ptx::Major kMajor>
ELASTICLM_DEVICE uint64_t matrix_descriptor(uint32_t shared) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;  // bits 62-63
  constexpr uint64_t kStride = uint64_t{kSwizzleAtomBytes >> 4} << 32;
  constexpr uint64_t kLeading = uint64_t{kMajor == ptx::Major::kN ? kPanelBytes >> 4 : 1} << 16;
  return kSwizzle128 | kStride | kLeading | ((shared & 0x3ffff) >> 4);
}

// What to add to a descriptor for the same tile one step of kMmaDepth further. The address field does not
// overflow: shared memory ends below 2^18.
template <ptx::Major kMajor>
inline constexpr uint64_t kDescriptorStep =
    (kMajor == ptx::Major::kN ? kMmaDepth * kLineBytes : kMmaDepth * 2) >> 4;

}  // namespace elasticlm::cuda
