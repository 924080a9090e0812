#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/softmax.h"

namespace elasticlm {
namespace {

// log softmax(scale * x) of one row; returns log Σ exp(scale * x).
double log_softmax(const float* x, int64_t num_columns, double scale, std::vector<double>& log_p) {
  const double largest = scale * *std::max_element(x, x + num_columns);
  double sum = 0.0;
  for (int64_t c = 0; c < num_columns; ++c) sum += std::exp(scale * x[c] - largest);
  const double log_sum = largest + std::log(sum);
  log_p.resize(static_cast<size_t>(num_columns));
  for (int64_t c = 0; c < num_columns; ++c) log_p[static_cast<size_t>(c)] = scale * x[c] - log_sum;
  return log_sum;
}

}  // namespace

void softmax_forward_ref(const SoftmaxArgs& args) {
  std::vector<double> log_p;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    float* const x = args.x + row * args.ldx;
    args.log_sums[row] = log_softmax(x, args.num_columns, args.scale, log_p);
    for (int64_t c = 0; c < args.num_columns; ++c)
      x[c] = static_cast<float>(std::exp(log_p[static_cast<size_t>(c)]));
  }
}

void softmax_difference_ref(const SoftmaxDifferenceArgs& args) {
  std::vector<double> log_p;
  std::vector<double> log_t;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    float* const x = args.x + row * args.ldx;
    log_softmax(x, args.num_columns, args.scale, log_p);
    log_softmax(args.y + row * args.ldy, args.num_columns, args.scale, log_t);
    double divergence = 0.0;
    for (size_t c = 0; c < log_p.size(); ++c) {
      const double t = std::exp(log_t[c]);
      divergence += t * (log_t[c] - log_p[c]);
      x[c] = static_cast<float>(std::exp(log_p[c]) - t);
    }
    args.divergences[row] = divergence;
  }
}

}  // namespace elasticlm
