// What one TMA tile load brings.
#pragma once

#include <cstdint>
#include <vector>

#include "emulator/async/tensor_map_image.h"

namespace elasticlm::emulator {

// The box whose first element is (column, row), either of which may be negative, as it lies in shared memory
// from a 1024-byte aligned address on: rows of 128 bytes, swizzled; elements outside the matrix are zeros.
std::vector<unsigned char> read_box(const TensorMapImage& map, int32_t column, int32_t row);

}  // namespace elasticlm::emulator
