// ldmatrix and mma.sync: how the 32 lanes of a warp share 8 x 8 and 16 x 16 matrices, from the PTX manual's
// "Warp-level matrix load instruction: ldmatrix" and "Matrix Fragments for mma.m16n8k16 with floating point
// type".
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace elasticlm::emulator {

void load_matrices(uint32_t (&r)[4], uint32_t shared, bool transposed);
// d += a b
void multiply_fragments(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], DType dtype);

}  // namespace elasticlm::emulator
