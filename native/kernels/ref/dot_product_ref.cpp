// The scalar truth of the dot products.
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

void dot_product_i8_forward_ref(const DotProductI8Args& args) {
  const int64_t stride = code_stride(args.dims);
  for (int64_t q = 0; q < args.num_queries; ++q) {
    const RowScale& scale = args.query_scales[q];
    for (int64_t d = 0; d < args.num_documents; ++d) {
      int32_t sum = -128 * scale.sum;
      for (int64_t e = 0; e < stride; ++e)
        sum += args.queries[q * stride + e] * args.documents[d * stride + e];
      args.scores[q * args.num_documents + d] =
          static_cast<float>(sum) * (scale.scale * args.document_scales[d]);
    }
  }
}

}  // namespace elasticlm
