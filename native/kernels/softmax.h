// softmax_forward: each row of x becomes p = softmax(scale * x), and log_sums[row] = log Σ exp(scale * x):
// the loss of a label is log_sums[row] - scale * x[label], its gradient p - 1 at the label.
// softmax_difference: with p = softmax(scale * x) and t = softmax(scale * y), x becomes p - t, the gradient
// of KL(t || p) with respect to scale * x, and divergences[row] = KL(t || p). y is destroyed.
//
// A row's bits depend on its own values and num_columns alone. A NaN makes its whole row NaN. Exponentials
// are summed in f32 over at most kSoftmaxSumColumns columns, such sums in f64.
#pragma once

#include <cstdint>

namespace elasticlm {

inline constexpr int64_t kSoftmaxSumColumns = 1024;

struct SoftmaxArgs {
  float* x = nullptr;          // [num_rows, num_columns], ldx; overwritten
  double* log_sums = nullptr;  // [num_rows], written
  int64_t num_rows = 0;
  int64_t num_columns = 0;  // at least 1
  int64_t ldx = 0;
  float scale = 1.0f;  // positive
};
using SoftmaxForward = void (*)(const SoftmaxArgs&);

struct SoftmaxDifferenceArgs {
  float* x = nullptr;             // [num_rows, num_columns], ldx; overwritten
  float* y = nullptr;             // [num_rows, num_columns], ldy; destroyed
  double* divergences = nullptr;  // [num_rows], written
  int64_t num_rows = 0;
  int64_t num_columns = 0;  // at least 1
  int64_t ldx = 0;
  int64_t ldy = 0;
  float scale = 1.0f;  // positive
};
using SoftmaxDifference = void (*)(const SoftmaxDifferenceArgs&);

}  // namespace elasticlm
