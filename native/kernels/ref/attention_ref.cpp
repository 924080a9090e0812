#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention.h"

namespace elasticlm {

int64_t attention_scratch_floats_ref(int64_t, int64_t) { return 0; }

void attention_forward_ref(const AttentionArgs& args) {
  const int64_t D = args.head_dim;
  std::vector<double> scores(static_cast<size_t>(args.num_rows));
  std::vector<double> context(static_cast<size_t>(D));
  for (int64_t h = args.head_begin; h < args.head_end; ++h) {
    const float* head = args.qkv + h * args.head_stride;
    for (int64_t row = args.query_begin; row < args.query_end; ++row) {
      const float* q = head + row * args.ldqkv;
      for (int64_t key = 0; key < args.num_rows; ++key) {
        const float* k = head + key * args.ldqkv + D;
        double score = 0.0;
        for (int64_t d = 0; d < D; ++d) score += static_cast<double>(q[d]) * k[d];
        scores[static_cast<size_t>(key)] = score * args.scale;
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0.0;
      std::fill(context.begin(), context.end(), 0.0);
      for (int64_t key = 0; key < args.num_rows; ++key) {
        const float* v = head + key * args.ldqkv + 2 * D;
        const double weight = std::exp(scores[static_cast<size_t>(key)] - largest);
        sum += weight;
        for (int64_t d = 0; d < D; ++d) context[static_cast<size_t>(d)] += weight * v[d];
      }
      float* target = args.context + row * args.ldcontext + h * D;
      for (int64_t d = 0; d < D; ++d) target[d] = static_cast<float>(context[static_cast<size_t>(d)] / sum);
    }
  }
}

}  // namespace elasticlm
