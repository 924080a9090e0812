// How matrices lie in shared memory for WGMMA, and where TMA puts them: the 128-byte swizzle and matrix
// descriptors. Pure functions of addresses, from the PTX manual's "Asynchronous Warpgroup Level Matrix Shared
// Memory Layout".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace elasticlm::emulator {

// 128-byte swizzle: the 16-byte chunk's number within 128 bytes (address bits 4 to 6) is xored with the
// number of the 128 bytes within 1024 (bits 7 to 9). In CuTe's words, which the manual uses: Swizzle<3, 4,
// 3>. It is its own inverse.
constexpr uint32_t swizzle_128(uint32_t address) { return address ^ ((address >> 3) & 0x70); }
inline constexpr uint32_t kSwizzlePattern = 1024;  // bytes after which it repeats

// "Matrix Descriptor Format", its fields decoded to bytes.
struct MatrixDescriptor {
  uint32_t start = 0;           // bits 0-13, in units of 16 bytes
  uint32_t leading_offset = 0;  // bits 16-29, in units of 16 bytes
  uint32_t stride_offset = 0;   // bits 32-45, in units of 16 bytes
  uint32_t base_offset = 0;     // bits 49-51
  uint32_t swizzle = 0;         // bits 62-63: 0 none, 1 128-byte, 2 64-byte, 3 32-byte
  uint64_t reserved = 0;        // all other bits, in place

  bool operator==(const MatrixDescriptor&) const = default;
};
MatrixDescriptor decode_descriptor(uint64_t bits);

// An operand of [extent of M or N, 16 of K] 16-bit elements.
struct OperandShape {
  int extent = 0;         // 64 for A, N for B
  bool mn_major = false;  // M (or N) runs fastest in memory, not K
};

// Why the descriptor cannot be what its author meant, or is beyond what is modelled here; nullopt when
// neither.
std::optional<std::string> descriptor_fault(const MatrixDescriptor& descriptor, const OperandShape& shape);

// Where element (mn, k) lies, an address in the shared window. In elements of 16 bits, T = 8 of them to 16
// bytes, the manual's canonical layouts under the 128-byte swizzle ("Major-ness supported by Strides",
// "Canonical Layouts") are:
//
//   K-major   ((8, m), (T, 2k)) : ((8T, SBO), (1, T))
//     Rows of 128 bytes (64 of K), 8 of them to a pattern of 1024 bytes; SBO from 8 rows of M or N to the
//     next 8. LBO is not used
//     ("assumed to be 1"). One instruction reads 32 bytes of each row; adding 32 to the start address takes
//     the next 16 of K, since the swizzle acts on the finished address.
//
//   MN-major  ((T, 8, m), (8, k)) : ((1, T, LBO), (8T, SBO))
//     Rows of 128 bytes (64 of M or N), one for each of K, 8 of them to a pattern; LBO from 64 of M or N to
//     the next 64, SBO from 8 of K to the next 8. An instruction reads whole patterns; the next 16 of K are
//     two SBO further.
uint32_t element_address(const MatrixDescriptor& descriptor, const OperandShape& shape, int mn, int k);

}  // namespace elasticlm::emulator
