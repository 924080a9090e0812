// layer_norm_backward: gradients of kernels/layer_norm.h. With x̂ = (x - mean) * rstd, rstd = 1 /
// sqrt(variance + eps) and g = dy * gamma, each row gives
//   dx = rstd * (g - mean(g) - x̂ * mean(g * x̂))
// Mean and rstd are computed from x as the forward does. Their rows are kept for
// layer_norm_parameter_backward, which sums over the rows: dgamma += Σ dy * x̂, dbeta += Σ dy.
#pragma once

#include <cstdint>

namespace elasticlm {

struct LayerNormBackwardArgs {
  const float* x = nullptr;      // [num_rows, E], ldx: what was normalised
  const float* gamma = nullptr;  // [E]
  const float* dy = nullptr;     // [num_rows, E], lddy
  float* dx = nullptr;           // [num_rows, E], lddx; written; overlaps nothing
  float* mean = nullptr;         // [num_rows], written
  float* rstd = nullptr;         // [num_rows], written
  int64_t num_rows = 0;
  int64_t hidden_size = 0;  // E
  int64_t ldx = 0;
  int64_t lddy = 0;
  int64_t lddx = 0;
  float eps = 0.0f;
};

using LayerNormBackward = void (*)(const LayerNormBackwardArgs&);

// The columns [column_begin, column_end) alone, so that threads can share the work; each column's sum has one
// order, rows rising, whatever the range. An element's sum over n rows may lose no more than a plain f32
// chain does.
struct LayerNormParameterArgs {
  const float* x = nullptr;     // [num_rows, E], ldx
  const float* dy = nullptr;    // [num_rows, E], lddy
  const float* mean = nullptr;  // [num_rows]
  const float* rstd = nullptr;  // [num_rows]
  float* dgamma = nullptr;      // [E], added to
  float* dbeta = nullptr;       // [E], added to
  int64_t num_rows = 0;
  int64_t column_begin = 0;
  int64_t column_end = 0;
  int64_t ldx = 0;
  int64_t lddy = 0;
};

using LayerNormParameterBackward = void (*)(const LayerNormParameterArgs&);

}  // namespace elasticlm
