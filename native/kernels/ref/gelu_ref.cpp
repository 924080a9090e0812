#include "kernels/gelu.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/dtype.h"

namespace elasticlm {
namespace {

double normal_distribution(double x) { return 0.5 * std::erfc(-x / std::numbers::sqrt2); }

double normal_density(double x) {
  return std::exp(-0.5 * x * x) * std::numbers::inv_sqrtpi / std::numbers::sqrt2;
}

float gelu(float x) { return static_cast<float>(x * normal_distribution(x)); }

}  // namespace

void gelu_forward_ref(const GeluArgs& args) {
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* const x = args.x + row * args.ldx;
    if (args.y_precision == Precision::kBF16) {
      BF16* const y = static_cast<BF16*>(args.y) + row * args.ldy;
      std::fill_n(y, words_of(args.num_columns, Precision::kBF16) * word_elements(Precision::kBF16), BF16{});
      for (int64_t i = 0; i < args.num_columns; ++i) y[i].bits = f32_to_bf16(gelu(x[i]));
    } else {
      float* const y = static_cast<float*>(args.y) + row * args.ldy;
      for (int64_t i = 0; i < args.num_columns; ++i) y[i] = gelu(x[i]);
    }
  }
}

void gelu_backward_ref(const GeluBackwardArgs& args) {
  for (int64_t row = 0; row < args.num_rows; ++row) {
    for (int64_t i = 0; i < args.num_columns; ++i) {
      const float x = args.x[row * args.ldx + i];
      const float dy = args.dy[row * args.lddy + i];
      args.dx[row * args.lddy + i] =
          static_cast<float>(dy * (normal_distribution(x) + x * normal_density(x)));
      args.y[row * args.ldx + i] = gelu(x);
    }
  }
}

}  // namespace elasticlm
