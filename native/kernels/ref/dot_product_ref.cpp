// The scalar truth of dot_product_forward.
#include <cmath>

#include "kernels/dot_product.h"

namespace elasticlm {

void dot_product_forward_ref(const DotProductArgs& args) {
  for (int64_t q = 0; q < args.num_queries; ++q) {
    for (int64_t d = 0; d < args.num_documents; ++d) {
      float sum = 0.0f;
      for (int64_t e = 0; e < args.dims; ++e) {
        sum = std::fma(args.queries[q * args.dims + e], args.documents[d * args.dims + e], sum);
      }
      args.scores[q * args.num_documents + d] = sum;
    }
  }
}

}  // namespace elasticlm
