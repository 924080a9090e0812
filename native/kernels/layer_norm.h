// layer_norm_forward: y = (x - mean) / sqrt(variance + eps) * gamma + beta for each row; variance is the
// biased one, computed from the centred row. In place allowed (y == x, ldy == ldx). `operand`, where it has a
// precision, receives y once more: rounded to bf16, or quantised as kernels/quantize.h says.
#pragma once

#include <cstdint>

#include "core/precision.h"

namespace elasticlm {

struct LayerNormArgs {
  const float* x = nullptr;      // [num_rows, E], ldx
  const float* gamma = nullptr;  // [E]
  const float* beta = nullptr;   // [E]
  float* y = nullptr;            // [num_rows, E], ldy
  OperandRows operand;           // [num_rows, E]
  int64_t num_rows = 0;
  int64_t hidden_size = 0;  // E
  int64_t ldx = 0;
  int64_t ldy = 0;
  float eps = 0.0f;
};

using LayerNormForward = void (*)(const LayerNormArgs&);

}  // namespace elasticlm
