// What the emulator keeps in the 128 opaque bytes of a tensor map.
#pragma once

#include <cstdint>

#include "kernels/cuda/tensor_map.h"

namespace elasticlm::emulator {

struct TensorMapImage {
  uint64_t magic = 0;  // kTensorMapMagic
  uint64_t address = 0;
  uint64_t columns = 0;  // elements of 16 bits
  uint64_t rows = 0;
  uint64_t row_stride = 0;  // bytes
  uint32_t box_columns = 0;
  uint32_t box_rows = 0;
  uint32_t swizzle = 0;  // CUtensorMapSwizzle

  uint32_t box_bytes() const { return box_columns * box_rows * uint32_t{sizeof(uint16_t)}; }
};
static_assert(sizeof(TensorMapImage) <= sizeof(cuda::TensorMap));

inline constexpr uint64_t kTensorMapMagic = 0x70616d726f736e65;

}  // namespace elasticlm::emulator
