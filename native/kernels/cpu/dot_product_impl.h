// dot_product_forward over the vector wrapper of one instruction set. Include the simd header first; one .cpp
// per set does.
//
// Both vectors of a score lie along dims. A score gathers kLanes partial sums, lane l those of the dims that
// are l modulo kLanes, in rising order; then lanes l and l + kLanes / 2 are added, and so on by halves. Its
// place has no part in that.
#include "kernels/dot_product.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

constexpr int kTileDocuments = 4;
constexpr int kMaxTileQueries =
    kLanes > 8 ? 4 : 2;  // 16 or 8 chains: enough to hide the latency of a multiply-add
constexpr int64_t kDocumentBlockBytes =
    16 * 1024;  // half of a 32 KB L1 cache: read once, used by every query

// Documents are fetched two tiles ahead into the L2 cache by the first queries to meet them: 20 instead of 11
// GB/s for one query of 384 dims, where plain reading reaches 18 (AVX-512, Zen 4 with other work running,
// 2026-11-23).
constexpr int64_t kPrefetchDocuments = 2 * kTileDocuments;
constexpr int kPrefetchLocality = 2;

// The partial sums of kQueries x kTileDocuments scores.
template <int kQueries>
struct PartialSums {
  static constexpr int kScores = kQueries * kTileDocuments;
  Vec sum[kScores];

  ELASTICLM_INLINE void clear() {
#pragma GCC unroll 16
    for (int i = 0; i < kScores; ++i) sum[i] = zero();
  }

  // dims [e, e + count): kLanes of them, or fewer at the end. `ahead`: how much further to prefetch
  // documents.
  template <bool kWhole, bool kPrefetch>
  ELASTICLM_INLINE void add(const float* const (&queries)[kQueries],
                            const float* const (&documents)[kTileDocuments], int64_t e, int64_t count,
                            int64_t ahead) {
    const auto read = [ e, count ](const float* vector) __attribute__((always_inline)) {
      return kWhole ? load(vector + e) : load_first(vector + e, count);
    };
    Vec document[kTileDocuments];
#pragma GCC unroll 4
    for (int d = 0; d < kTileDocuments; ++d) {
      document[d] = read(documents[d]);
      if constexpr (kPrefetch) __builtin_prefetch(documents[d] + e + ahead, 0, kPrefetchLocality);
    }
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) {
      const Vec query = read(queries[q]);
#pragma GCC unroll 4
      for (int d = 0; d < kTileDocuments; ++d) {
        sum[q * kTileDocuments + d] = fma(query, document[d], sum[q * kTileDocuments + d]);
      }
    }
  }

  // Adds the lanes of each. The halving tree is that of reduce_add; a whole register of scores takes it side
  // by side, after a transposition, in half the instructions.
  ELASTICLM_INLINE void write(float (&scores)[kScores]) const {
    if constexpr (kScores % kLanes == 0) {
#pragma GCC unroll 2
      for (int first = 0; first < kScores; first += kLanes) {
        Vec lanes[kLanes];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) lanes[i] = sum[first + i];
        transpose(lanes);
#pragma GCC unroll 4
        for (int half = kLanes / 2; half > 0; half /= 2) {
#pragma GCC unroll 8
          for (int i = 0; i < half; ++i) lanes[i] = lanes[i] + lanes[i + half];
        }
        store(scores + first, lanes[0]);
      }
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kScores; ++i) scores[i] = reduce_add(sum[i]);
    }
  }
};

// Queries [query, query + kQueries) against documents [document, document + num_documents), at most
// kTileDocuments.
template <int kQueries, bool kPrefetch>
void score_tile(const DotProductArgs& args, int64_t query, int64_t document, int64_t num_documents) {
  const float* queries[kQueries];
#pragma GCC unroll 4
  for (int q = 0; q < kQueries; ++q) queries[q] = args.queries + (query + q) * args.dims;
  // In place of documents past the last one, the last is read again: every tile is whole, and only real
  // scores are kept.
  const float* documents[kTileDocuments];
#pragma GCC unroll 4
  for (int64_t d = 0; d < kTileDocuments; ++d) {
    documents[d] = args.documents + (document + (d < num_documents ? d : num_documents - 1)) * args.dims;
  }

  PartialSums<kQueries> sums;
  sums.clear();
  const bool more = document + kTileDocuments + kPrefetchDocuments <= args.num_documents;
  const int64_t ahead = more ? kPrefetchDocuments * args.dims : 0;
  int64_t e = 0;
  for (; e + kLanes <= args.dims; e += kLanes) {
    sums.template add<true, kPrefetch>(queries, documents, e, kLanes, ahead);
  }
  if (e < args.dims) sums.template add<false, kPrefetch>(queries, documents, e, args.dims - e, ahead);

  float scores[kQueries * kTileDocuments];
  sums.write(scores);
  for (int64_t q = 0; q < kQueries; ++q) {
    float* const out = args.scores + (query + q) * args.num_documents + document;
    for (int64_t d = 0; d < num_documents; ++d) out[d] = scores[q * kTileDocuments + d];
  }
}

template <int kQueries>
void score_documents(const DotProductArgs& args, int64_t query, int64_t begin, int64_t end) {
  for (int64_t document = begin; document < end; document += kTileDocuments) {
    const int64_t left = end - document;
    const int64_t count = left < kTileDocuments ? left : kTileDocuments;
    if (query == 0) {
      score_tile<kQueries, true>(args, query, document, count);
    } else {
      score_tile<kQueries, false>(args, query, document, count);
    }
  }
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(dot_product_forward)(const DotProductArgs& args) {
  using namespace ELASTICLM_ISA_NAMESPACE;
  const int64_t fit = kDocumentBlockBytes / (args.dims * int64_t{sizeof(float)} + 1);
  const int64_t block = fit > kTileDocuments ? fit / kTileDocuments * kTileDocuments : kTileDocuments;
  for (int64_t begin = 0; begin < args.num_documents; begin += block) {
    const int64_t end = args.num_documents - begin < block ? args.num_documents : begin + block;
    int64_t query = 0;
    for (; query + kMaxTileQueries <= args.num_queries; query += kMaxTileQueries) {
      score_documents<kMaxTileQueries>(args, query, begin, end);
    }
    for (; query < args.num_queries; ++query) score_documents<1>(args, query, begin, end);
  }
}

}  // namespace elasticlm
