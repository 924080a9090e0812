#include <cmath>

#include "kernels/layer_norm.h"
#include "kernels/ref/operand_ref.h"

namespace elasticlm {

void layer_norm_forward_ref(const LayerNormArgs& args) {
  const int64_t E = args.hidden_size;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* x = args.x + row * args.ldx;
    float* y = args.y + row * args.ldy;
    double mean = 0.0;
    for (int64_t e = 0; e < E; ++e) mean += x[e];
    mean /= static_cast<double>(E);
    double variance = 0.0;
    for (int64_t e = 0; e < E; ++e) variance += (x[e] - mean) * (x[e] - mean);
    variance /= static_cast<double>(E);
    const double gain = 1.0 / std::sqrt(variance + args.eps);
    for (int64_t e = 0; e < E; ++e) {
      y[e] = static_cast<float>((x[e] - mean) * gain * args.gamma[e] + args.beta[e]);
    }
    ref::write_operand(args.operand, row, y, E);
  }
}

}  // namespace elasticlm
