#include <algorithm>
#include <cmath>
#include <vector>

#include "core/dtype.h"
#include "kernels/attention.h"

namespace elasticlm {
namespace {

double value_of(float element) { return element; }
double value_of(BF16 element) { return bf16_to_f32(element.bits); }
void set(float& element, double value) { element = static_cast<float>(value); }
void set(BF16& element, double value) { element.bits = f32_to_bf16(static_cast<float>(value)); }

template <typename Element>
void forward(const AttentionArgsOf<Element>& args) {
  const int64_t D = args.head_dim;
  std::vector<double> scores(static_cast<size_t>(args.num_rows));
  std::vector<double> context(static_cast<size_t>(D));
  for (int64_t h = args.head_begin; h < args.head_end; ++h) {
    // All of q | k | v once, as numbers.
    std::vector<double> head;
    for (int64_t row = 0; row < args.num_rows; ++row) {
      const Element* stored = args.qkv + h * args.head_stride + row * args.ldqkv;
      for (int64_t i = 0; i < 3 * D; ++i) head.push_back(value_of(stored[i]));
    }
    for (int64_t row = args.query_begin; row < args.query_end; ++row) {
      const double* q = head.data() + row * 3 * D;
      for (int64_t key = 0; key < args.num_rows; ++key) {
        const double* k = head.data() + key * 3 * D + D;
        double score = 0.0;
        for (int64_t d = 0; d < D; ++d) score += q[d] * k[d];
        scores[static_cast<size_t>(key)] = score * args.scale;
      }
      const double largest = *std::max_element(scores.begin(), scores.end());
      double sum = 0.0;
      std::fill(context.begin(), context.end(), 0.0);
      for (int64_t key = 0; key < args.num_rows; ++key) {
        const double* v = head.data() + key * 3 * D + 2 * D;
        const double weight = std::exp(scores[static_cast<size_t>(key)] - largest);
        sum += weight;
        for (int64_t d = 0; d < D; ++d) context[static_cast<size_t>(d)] += weight * v[d];
      }
      Element* target = args.context + row * args.ldcontext + h * D;
      for (int64_t d = 0; d < D; ++d) set(target[d], context[static_cast<size_t>(d)] / sum);
    }
  }
}

}  // namespace

int64_t attention_scratch_floats_ref(int64_t, int64_t) { return 0; }
int64_t attention_bf16_scratch_floats_ref(int64_t, int64_t) { return 0; }

void attention_forward_ref(const AttentionArgs& args) { forward(args); }
void attention_bf16_forward_ref(const AttentionBf16Args& args) { forward(args); }

}  // namespace elasticlm
