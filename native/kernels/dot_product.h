// dot_product_forward: scores[q, d] = Σ_e queries[q, e] * documents[d, e], for exact search over stored
// vectors. A score's bits depend on its two vectors alone, not on its place in the call.
#pragma once

#include <cstdint>

namespace elasticlm {

struct DotProductArgs {
  const float* queries = nullptr;    // [num_queries, dims]
  const float* documents = nullptr;  // [num_documents, dims]
  float* scores = nullptr;           // [num_queries, num_documents]
  int64_t num_queries = 0;
  int64_t num_documents = 0;
  int64_t dims = 0;
};

using DotProductForward = void (*)(const DotProductArgs&);

}  // namespace elasticlm
