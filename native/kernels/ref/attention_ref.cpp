#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention.h"

namespace elasticlm {

int64_t attention_scratch_floats_ref(int64_t, int64_t) { return 0; }

void attention_forward_ref(const AttentionArgs& args) {
  const int64_t D = args.head_dim;
  std::vector<double> weights(static_cast<size_t>(args.num_rows));
  for (int64_t h = args.head_begin; h < args.head_end; ++h) {
    const float* head = args.qkv + h * args.head_stride;
    for (int64_t row = args.query_begin; row < args.query_end; ++row) {
      const float* q = head + row * args.ldqkv;
      for (int64_t key = 0; key < args.num_rows; ++key) {
        const float* k = head + key * args.ldqkv + D;
        double score = 0.0;
        for (int64_t d = 0; d < D; ++d) score += static_cast<double>(q[d]) * k[d];
        weights[static_cast<size_t>(key)] = score * args.scale;
      }
      const double largest = *std::max_element(weights.begin(), weights.end());
      double sum = 0.0;
      for (double& weight : weights) sum += weight = std::exp(weight - largest);
      for (int64_t d = 0; d < D; ++d) {
        double context = 0.0;
        for (int64_t key = 0; key < args.num_rows; ++key) {
          context += weights[static_cast<size_t>(key)] * head[key * args.ldqkv + 2 * D + d];
        }
        args.context[row * args.ldcontext + h * D + d] = static_cast<float>(context / sum);
      }
    }
  }
}

}  // namespace elasticlm
