// gelu_forward: y = x Φ(x), exact (kernels/linear.h has it fused; training keeps x and needs it apart).
// gelu_backward: dx = dy * (Φ(x) + x φ(x)), and y = x Φ(x) once more, which the gradient of the weights
// behind it needs. φ and Φ are density and distribution of the standard normal.
#pragma once

#include <cstdint>

#include "core/precision.h"

namespace elasticlm {

struct GeluArgs {
  const float* x = nullptr;  // [num_rows, num_columns], ldx
  // [num_rows, num_columns], ldy, of y_precision: kF32, or kBF16 (rounded to nearest even). A row of bf16 is
  // filled with zeros up to a whole word.
  void* y = nullptr;
  Precision y_precision = Precision::kF32;
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t ldx = 0;
  int64_t ldy = 0;  // elements
};

// In place: dx may be dy, and y may be x, each with the same ld.
struct GeluBackwardArgs {
  const float* x = nullptr;   // [num_rows, num_columns], ldx
  const float* dy = nullptr;  // [num_rows, num_columns], lddy
  float* dx = nullptr;        // [num_rows, num_columns], lddy
  float* y = nullptr;         // [num_rows, num_columns], ldx
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t ldx = 0;
  int64_t lddy = 0;
};

using GeluForward = void (*)(const GeluArgs&);
using GeluBackward = void (*)(const GeluBackwardArgs&);

}  // namespace elasticlm
