#include <cmath>
#include <vector>

#include "kernels/pooling.h"

namespace elasticlm {

void pooling_forward_ref(const PoolingArgs& args) {
  const int64_t num_rows = args.pooling == Pooling::kCls ? 1 : args.num_rows;
  std::vector<double> pooled(static_cast<size_t>(args.hidden_size));
  double squares = 0.0;
  for (int64_t e = 0; e < args.hidden_size; ++e) {
    double sum = 0.0;
    for (int64_t row = 0; row < num_rows; ++row) sum += args.x[row * args.ldx + e];
    const double mean = sum / static_cast<double>(num_rows);
    pooled[static_cast<size_t>(e)] = mean;
    squares += mean * mean;
  }
  const double gain = args.normalize && squares > 0.0 ? 1.0 / std::sqrt(squares) : 1.0;
  for (int64_t e = 0; e < args.hidden_size; ++e) {
    args.y[e] = static_cast<float>(pooled[static_cast<size_t>(e)] * gain);
  }
}

}  // namespace elasticlm
