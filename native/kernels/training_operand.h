// From f32 matrices to what linear_forward multiplies, in f32 or bf16 (rounded to nearest even). A gradient
// of weights is a product over the rows of a batch, Aᵀ B: linear_forward computes it from the transposed rows
// of A and from B packed with its rows as depth.
#pragma once

#include <cstdint>

#include "core/packed_matrix.h"
#include "core/precision.h"

namespace elasticlm {

// y[r, c] = x[r, c], rounded. bf16 only: f32 rows are operands already.
struct RoundRowsArgs {
  const float* x = nullptr;  // [num_rows, num_columns], ldx
  BF16* y = nullptr;         // [num_rows, num_columns], ldy; zeros up to a whole word
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t ldx = 0;
  int64_t ldy = 0;
};
using RoundRows = void (*)(const RoundRowsArgs&);

// y[c, r] = x[r, c]: columns become rows.
struct TransposeRowsArgs {
  const float* x = nullptr;  // [num_rows, num_columns], ldx
  void* y = nullptr;         // [num_columns, num_rows] of `precision`, ldy; zeros up to a whole word
  Precision precision = Precision::kF32;  // kF32 or kBF16
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t ldx = 0;
  // Elements; whole words. Rows of y a multiple of 4 KB apart share the sets of a cache: slower by a quarter
  // to a half than with one line more between them.
  int64_t ldy = 0;
};
using TransposeRows = void (*)(const TransposeRowsArgs&);

// Panels as in core/packed_matrix.h of a matrix with N columns and depth K. Whole panels [panel_begin,
// panel_end) are written, padding included (zeros), so that threads can share the work and memory may be
// dirty.
struct PackArgs {
  const float* x =
      nullptr;  // kDepthRows: [K, N], row k holds the N columns' weights; kColumnRows: [N, K], as W is stored
  std::byte* words = nullptr;             // of the whole packed matrix
  Precision precision = Precision::kF32;  // kF32 or kBF16
  int64_t N = 0;
  int64_t K = 0;
  int64_t ldx = 0;
  int64_t panel_begin = 0;
  int64_t panel_end = 0;
};
using PackDepthRows = void (*)(const PackArgs&);
using PackColumnRows = void (*)(const PackArgs&);

}  // namespace elasticlm
