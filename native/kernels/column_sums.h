// column_sums: sums[c] += Σ_rows x[r, c] for the columns [column_begin, column_end): the gradient of a bias.
// Each column's sum has one order, rows rising, whatever the range. column_dots: sums[g] += Σ_rows Σ_{c in
// group g} x[r, c] * y[r, c] in f64: the gradient of a mask of ones over groups of columns (design:
// importance).
#pragma once

#include <cstdint>

namespace elasticlm {

struct ColumnSumsArgs {
  const float* x = nullptr;  // [num_rows, column_end], ldx
  float* sums = nullptr;     // [column_end], added to
  int64_t num_rows = 0;
  int64_t column_begin = 0;
  int64_t column_end = 0;
  int64_t ldx = 0;
};
using ColumnSums = void (*)(const ColumnSumsArgs&);

struct ColumnDotsArgs {
  const float* x = nullptr;  // [num_rows, num_groups * group_size], ldx
  const float* y = nullptr;  // like x, ldy
  double* sums = nullptr;    // [num_groups], added to
  int64_t num_rows = 0;
  int64_t num_groups = 0;
  int64_t group_size = 0;
  int64_t ldx = 0;
  int64_t ldy = 0;
};
using ColumnDots = void (*)(const ColumnDotsArgs&);

}  // namespace elasticlm
