// Dot products of queries and documents, for exact search over stored vectors. A score's bits depend on its
// two vectors alone, not on its place in the call.
//
//   dot_product_forward     scores[q, d] = Σ_e queries[q, e] * documents[d, e], in f32
//   dot_product_i8_forward  the same of quantised vectors: products and their partial sums exact in i32, then
//                           (Σ x_q * (w_q + 128) - 128 Σ x_q) * (query's scale * document's scale) in f32,
//                           exact before the scales up to 512 dims
#pragma once

#include <cstdint>

#include "core/precision.h"

namespace elasticlm {

struct DotProductArgs {
  const float* queries = nullptr;    // [num_queries, dims]
  const float* documents = nullptr;  // [num_documents, dims]
  float* scores = nullptr;           // [num_queries, num_documents]
  int64_t num_queries = 0;
  int64_t num_documents = 0;
  int64_t dims = 0;
};

// Rows of codes are whole cache lines, so that every vector register is whole. All of a row counts.
inline constexpr int64_t kCodeRowBytes = 64;
constexpr int64_t code_stride(int64_t dims) {
  return (dims + kCodeRowBytes - 1) / kCodeRowBytes * kCodeRowBytes;
}

struct DotProductI8Args {
  const int8_t* queries = nullptr;         // [num_queries, code_stride(dims)]
  const RowScale* query_scales = nullptr;  // [num_queries]
  const uint8_t* documents = nullptr;      // [num_documents, code_stride(dims)], 128 added
  const float* document_scales = nullptr;  // [num_documents]
  float* scores = nullptr;                 // [num_queries, num_documents]
  int64_t num_queries = 0;
  int64_t num_documents = 0;
  int64_t dims = 0;
};

using DotProductForward = void (*)(const DotProductArgs&);
using DotProductI8Forward = void (*)(const DotProductI8Args&);

}  // namespace elasticlm
