#include <cmath>

#include "kernels/activation_norm.h"

namespace elasticlm {

void activation_norm_accumulate_ref(const ActivationNormArgs& args) {
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* x = args.x + row * args.ldx;
    for (int64_t group = 0; group < args.num_groups; ++group) {
      double squares = 0.0;
      for (int64_t i = 0; i < args.group_size; ++i) {
        const double value = x[group * args.group_size + i];
        squares += value * value;
      }
      args.sums[group] += std::sqrt(squares);
    }
  }
}

}  // namespace elasticlm
