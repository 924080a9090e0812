// activation_norm_accumulate: sums[g] += Σ_rows ‖x[row, g * group_size : (g + 1) * group_size]‖₂ in f64, for
// calibration (label-free importance: a head's context with group_size = head_dim, a neuron's output with
// group_size = 1).
#pragma once

#include <cstdint>

namespace elasticlm {

struct ActivationNormArgs {
  const float* x = nullptr;  // [num_rows, num_groups * group_size], ldx
  double* sums = nullptr;    // [num_groups]
  int64_t num_rows = 0;
  int64_t num_groups = 0;
  int64_t group_size = 0;
  int64_t ldx = 0;
};

using ActivationNormAccumulate = void (*)(const ActivationNormArgs&);

}  // namespace elasticlm
