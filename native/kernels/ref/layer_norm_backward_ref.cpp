#include "kernels/layer_norm_backward.h"

#include <cmath>

namespace elasticlm {

void layer_norm_backward_ref(const LayerNormBackwardArgs& args) {
  const int64_t E = args.hidden_size;
  const auto size = static_cast<double>(E);
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* x = args.x + row * args.ldx;
    const float* dy = args.dy + row * args.lddy;
    float* dx = args.dx + row * args.lddx;
    double mean = 0.0;
    for (int64_t e = 0; e < E; ++e) mean += x[e];
    mean /= size;
    double variance = 0.0;
    for (int64_t e = 0; e < E; ++e) variance += (x[e] - mean) * (x[e] - mean);
    const double rstd = 1.0 / std::sqrt(variance / size + args.eps);
    args.mean[row] = static_cast<float>(mean);
    args.rstd[row] = static_cast<float>(rstd);

    double mean_g = 0.0;
    double mean_gx = 0.0;
    for (int64_t e = 0; e < E; ++e) {
      const double g = static_cast<double>(dy[e]) * args.gamma[e];
      mean_g += g / size;
      mean_gx += g * (x[e] - mean) * rstd / size;
    }
    for (int64_t e = 0; e < E; ++e) {
      const double g = static_cast<double>(dy[e]) * args.gamma[e];
      dx[e] = static_cast<float>(rstd * (g - mean_g - (x[e] - mean) * rstd * mean_gx));
    }
  }
}

void layer_norm_parameter_backward_ref(const LayerNormParameterArgs& args) {
  for (int64_t e = args.column_begin; e < args.column_end; ++e) {
    double dgamma = 0.0;
    double dbeta = 0.0;
    for (int64_t row = 0; row < args.num_rows; ++row) {
      const double dy = args.dy[row * args.lddy + e];
      const double centred = static_cast<double>(args.x[row * args.ldx + e]) - args.mean[row];
      dgamma += dy * centred * args.rstd[row];
      dbeta += dy;
    }
    args.dgamma[e] += static_cast<float>(dgamma);
    args.dbeta[e] += static_cast<float>(dbeta);
  }
}

}  // namespace elasticlm
