#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

#include "kernels/attention_backward.h"

namespace elasticlm {

int64_t attention_backward_scratch_floats_ref(int64_t, int64_t) { return 0; }

void attention_backward_ref(const AttentionBackwardArgs& args) {
  const int64_t S = args.num_rows;
  const int64_t D = args.head_dim;
  const double scale = args.scale;
  std::vector<double> p(static_cast<size_t>(S));   // of one query row
  std::vector<double> dp(static_cast<size_t>(S));  // of one query row
  for (int64_t h = args.head_begin; h < args.head_end; ++h) {
    std::vector<double> gradients(static_cast<size_t>(S * 3 * D));  // [S, 3 D], as dqkv
    for (int64_t i = 0; i < S; ++i) {
      const float* q = args.qkv + h * args.head_stride + i * args.ldqkv;
      const float* dc = args.dcontext + i * args.lddcontext + h * D;
      for (int64_t j = 0; j < S; ++j) {
        const float* k = args.qkv + h * args.head_stride + j * args.ldqkv + D;
        const float* v = k + D;
        double score = 0.0;
        double sum = 0.0;
        for (int64_t d = 0; d < D; ++d) {
          score += static_cast<double>(q[d]) * k[d];
          sum += static_cast<double>(dc[d]) * v[d];
        }
        p[static_cast<size_t>(j)] = scale * score;
        dp[static_cast<size_t>(j)] = sum;
      }
      const double largest = *std::max_element(p.begin(), p.end());
      double sum = 0.0;
      for (double& weight : p) sum += weight = std::exp(weight - largest);
      for (double& weight : p) weight /= sum;
      double mean = 0.0;  // rowsum(P * dP)
      for (size_t j = 0; j < p.size(); ++j) mean += p[j] * dp[j];

      double* dq = gradients.data() + i * 3 * D;
      for (int64_t j = 0; j < S; ++j) {
        const float* k = args.qkv + h * args.head_stride + j * args.ldqkv + D;
        double* dk = gradients.data() + j * 3 * D + D;
        double* dv = dk + D;
        const double weight = p[static_cast<size_t>(j)];
        const double ds = weight * (dp[static_cast<size_t>(j)] - mean);
        for (int64_t d = 0; d < D; ++d) {
          dq[d] += scale * ds * k[d];
          dk[d] += scale * ds * q[d];
          dv[d] += weight * dc[d];
        }
      }
    }
    for (int64_t i = 0; i < S; ++i) {
      std::copy_n(gradients.data() + i * 3 * D, 3 * D, args.dqkv + h * args.head_stride + i * args.ldqkv);
    }
  }
}

}  // namespace elasticlm
