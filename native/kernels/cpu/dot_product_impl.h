// Dot products over the vector wrapper of one instruction set. Included by dot_product_<isa>.cpp after the
// wrapper and its dot products.
//
// Both vectors of a score lie along dims. A score gathers kLanes partial sums, lane l those of the elements
// (in i8: of the words) that are l modulo kLanes, in rising order; then lanes l and l + kLanes / 2 are added,
// and so on by halves. Its place has no part in that.
#include "kernels/dot_product.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// 16 or 8 chains: enough to hide the latency of a multiply-add.
constexpr int kMaxTileQueries = kLanes > 8 ? 4 : 2;
constexpr int kMaxTileDocuments = 4;
// A single query waits for memory, which is fastest when it is read from front to back: one document at a
// time.
constexpr int tile_documents(int queries) { return queries == 1 ? 1 : kMaxTileDocuments; }
constexpr int64_t kDocumentBlockBytes =
    16 * 1024;  // half of a 32 KB L1 cache: read once, used by every query
constexpr int64_t kVecBytes = kLanes * 4;

// Where several documents are read at once, the first queries to meet them fetch them this far ahead into the
// L2 cache. Reading from front to back is left to the hardware: a single query over 600,000 x 384 read 27
// GB/s without and 21 GB/s with it (f32; 29 and 22 in i8; 2-core Zen 4, 2026-11-24).
constexpr int64_t kPrefetchBytes = 12 * 1024;
constexpr int kPrefetchLocality = 2;

// How the vectors of a call lie in memory and multiply. A step is kLanes words of 4 bytes.
struct F32Vectors {
  using Args = DotProductArgs;
  using Sum = Vec;
  using Document = Vec;
  using Query = Vec;

  ELASTICLM_INLINE static int64_t row_bytes(const Args& args) {
    return args.dims * static_cast<int64_t>(sizeof(float));
  }
  ELASTICLM_INLINE static Sum zero_sum() { return zero(); }
  ELASTICLM_INLINE static Vec read(const std::byte* p) { return load(reinterpret_cast<const float*>(p)); }
  ELASTICLM_INLINE static Vec read_last(const std::byte* p, int64_t bytes) {
    return load_first(reinterpret_cast<const float*>(p), bytes / static_cast<int64_t>(sizeof(float)));
  }
  ELASTICLM_INLINE static Document document(Vec a) { return a; }
  ELASTICLM_INLINE static Query query(Vec a) { return a; }
  ELASTICLM_INLINE static Sum add(Sum sum, Query query, Document document) {
    return fma(query, document, sum);
  }
  ELASTICLM_INLINE static Vec floats(Sum sum) { return sum; }
  ELASTICLM_INLINE static float score(const Args&, float sum, int64_t, int64_t) { return sum; }
};

struct I8Vectors {
  using Args = DotProductI8Args;
  using Sum = Sums;
  using Document = U8Words;
  using Query = S8Words;

  ELASTICLM_INLINE static int64_t row_bytes(const Args& args) { return code_stride(args.dims); }
  ELASTICLM_INLINE static Sum zero_sum() { return broadcast_sum(0); }
  ELASTICLM_INLINE static Words read(const std::byte* p) { return load_words(p); }
  ELASTICLM_INLINE static Words read_last(const std::byte* p, int64_t) { return load_words(p); }  // never met
  ELASTICLM_INLINE static Document document(Words a) { return u8_words(a); }
  ELASTICLM_INLINE static Query query(Words a) { return s8_words(a); }
  ELASTICLM_INLINE static Sum add(Sum sum, Query query, Document document) {
    return dot(sum, query, document);
  }
  ELASTICLM_INLINE static Vec floats(Sum sum) { return to_floats(sum); }
  ELASTICLM_INLINE static float score(const Args& args, float sum, int64_t query, int64_t document) {
    const RowScale& scale = args.query_scales[query];
    return (sum - 128.0f * static_cast<float>(scale.sum)) * (scale.scale * args.document_scales[document]);
  }
};

// The partial sums of a tile of scores.
template <typename Vectors, int kQueries>
struct PartialSums {
  static constexpr int kDocuments = tile_documents(kQueries);
  static constexpr int kScores = kQueries * kDocuments;
  typename Vectors::Sum sum[kScores];

  ELASTICLM_INLINE void clear() {
#pragma GCC unroll 16
    for (int i = 0; i < kScores; ++i) sum[i] = Vectors::zero_sum();
  }

  // One step at byte `at`, or `left` bytes of one at the end. `ahead`: how much further to prefetch
  // documents.
  template <bool kWhole, bool kPrefetch>
  ELASTICLM_INLINE void add(const std::byte* const (&queries)[kQueries],
                            const std::byte* const (&documents)[kDocuments], int64_t at, int64_t left,
                            int64_t ahead) {
    const auto read = [ at, left ](const std::byte* vector) __attribute__((always_inline)) {
      return kWhole ? Vectors::read(vector + at) : Vectors::read_last(vector + at, left);
    };
    typename Vectors::Document document[kDocuments];
#pragma GCC unroll 4
    for (int d = 0; d < kDocuments; ++d) {
      document[d] = Vectors::document(read(documents[d]));
      if constexpr (kPrefetch) __builtin_prefetch(documents[d] + at + ahead, 0, kPrefetchLocality);
    }
#pragma GCC unroll 4
    for (int q = 0; q < kQueries; ++q) {
      const typename Vectors::Query query = Vectors::query(read(queries[q]));
#pragma GCC unroll 4
      for (int d = 0; d < kDocuments; ++d) {
        sum[q * kDocuments + d] = Vectors::add(sum[q * kDocuments + d], query, document[d]);
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
        for (int i = 0; i < kLanes; ++i) lanes[i] = Vectors::floats(sum[first + i]);
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
      for (int i = 0; i < kScores; ++i) scores[i] = reduce_add(Vectors::floats(sum[i]));
    }
  }
};

// Queries [query, query + kQueries) against documents [document, document + num_documents), at most a tile.
template <typename Vectors, int kQueries, bool kPrefetch>
void score_tile(const typename Vectors::Args& args, int64_t query, int64_t document, int64_t num_documents) {
  const int64_t row_bytes = Vectors::row_bytes(args);
  const auto* const first_query = reinterpret_cast<const std::byte*>(args.queries);
  const auto* const first_document = reinterpret_cast<const std::byte*>(args.documents);
  const std::byte* queries[kQueries];
#pragma GCC unroll 4
  for (int q = 0; q < kQueries; ++q) queries[q] = first_query + (query + q) * row_bytes;
  // In place of documents past the last one, the last is read again: every tile is whole, and only real
  // scores are kept.
  constexpr int kDocuments = tile_documents(kQueries);
  const std::byte* documents[kDocuments];
#pragma GCC unroll 4
  for (int64_t d = 0; d < kDocuments; ++d) {
    documents[d] = first_document + (document + (d < num_documents ? d : num_documents - 1)) * row_bytes;
  }

  PartialSums<Vectors, kQueries> sums;
  sums.clear();
  const bool more = (document + kDocuments) * row_bytes + kPrefetchBytes <= args.num_documents * row_bytes;
  const int64_t ahead = more ? kPrefetchBytes : 0;
  int64_t at = 0;
  for (; at + kVecBytes <= row_bytes; at += kVecBytes) {
    sums.template add<true, kPrefetch>(queries, documents, at, kVecBytes, ahead);
  }
  if (at < row_bytes) sums.template add<false, kPrefetch>(queries, documents, at, row_bytes - at, ahead);

  float scores[kQueries * kDocuments];
  sums.write(scores);
  for (int64_t q = 0; q < kQueries; ++q) {
    float* const out = args.scores + (query + q) * args.num_documents + document;
    for (int64_t d = 0; d < num_documents; ++d) {
      out[d] = Vectors::score(args, scores[q * kDocuments + d], query + q, document + d);
    }
  }
}

template <typename Vectors, int kQueries>
void score_documents(const typename Vectors::Args& args, int64_t query, int64_t begin, int64_t end) {
  constexpr int kDocuments = tile_documents(kQueries);
  for (int64_t document = begin; document < end; document += kDocuments) {
    const int64_t left = end - document;
    const int64_t count = left < kDocuments ? left : kDocuments;
    if (kQueries > 1 && query == 0) {
      score_tile<Vectors, kQueries, true>(args, query, document, count);
    } else {
      score_tile<Vectors, kQueries, false>(args, query, document, count);
    }
  }
}

template <typename Vectors>
void score_all(const typename Vectors::Args& args) {
  const int64_t fit = kDocumentBlockBytes / (Vectors::row_bytes(args) + 1);
  const int64_t block =
      fit > kMaxTileDocuments ? fit / kMaxTileDocuments * kMaxTileDocuments : kMaxTileDocuments;
  for (int64_t begin = 0; begin < args.num_documents; begin += block) {
    const int64_t end = args.num_documents - begin < block ? args.num_documents : begin + block;
    int64_t query = 0;
    for (; query + kMaxTileQueries <= args.num_queries; query += kMaxTileQueries) {
      score_documents<Vectors, kMaxTileQueries>(args, query, begin, end);
    }
    for (; query < args.num_queries; ++query) score_documents<Vectors, 1>(args, query, begin, end);
  }
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(dot_product_forward)(const DotProductArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  isa::score_all<isa::F32Vectors>(args);
}

void ELASTICLM_KERNEL(dot_product_i8_forward)(const DotProductI8Args& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  isa::score_all<isa::I8Vectors>(args);
}

}  // namespace elasticlm
