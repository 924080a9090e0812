// A whole dense layer of a head over some rows, in f32.
#pragma once

#include <cstdint>

#include "core/packed_matrix.h"
#include "kernels/kernel_table.h"

namespace elasticlm {

struct DenseRows {
  const float* x;  // [num_rows, K], ldx
  int64_t ldx;
  float* y;  // [num_rows, N], ldy: written up to a multiple of 16 columns
  int64_t ldy;
  int64_t num_rows;
};

// y = act(x Wᵀ + b). A row's bits do not depend on the rows beside it.
void dense(const KernelTable& kernels, const PackedMatrix& weight, Activation activation,
           const DenseRows& rows);

}  // namespace elasticlm
