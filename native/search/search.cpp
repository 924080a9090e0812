#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/status.h"
#include "search/vector_index.h"

namespace elasticlm {
namespace {

// A block of documents is scored against every query of a group while it lies in L2: a quarter of the
// smallest common L2 (1 MB), which leaves room for the queries, the scores and the candidates.
constexpr int64_t kDocumentBlockBytes = 256 * 1024;
// Queries scored at a time, so that their scores for one block stay in L2 as well (16 x 170 floats at 384
// dims: 11 KB; 43 KB in i8).
constexpr int64_t kQueryTile = 16;
// Queries that share one pass over the documents: far past the point where arithmetic hides the memory
// traffic.
constexpr int64_t kQueryGroup = 256;
// What the candidates of one group may take over all workers; a large top_k makes the groups smaller.
constexpr int64_t kCandidateBytes = 64 * 1024 * 1024;

struct Candidate {
  float score;
  int32_t document;
};

// The order of results, total over all documents of a query: so the k best are one set in one order,
// whichever worker saw which document and when.
bool is_better(const Candidate& a, const Candidate& b) {
  const bool a_is_nan = std::isnan(a.score);
  const bool b_is_nan = std::isnan(b.score);
  if (a_is_nan != b_is_nan) return b_is_nan;
  if (!a_is_nan && a.score != b.score) return a.score > b.score;
  return a.document < b.document;
}

// Scores that are compared with the worst candidate at once: four vectors of the baseline target.
constexpr int64_t kScoresAtOnce = 16;

bool any_above(const float* scores, float limit) {
  int above = 0;
  for (int64_t i = 0; i < kScoresAtOnce; ++i) above |= scores[i] > limit ? 1 : 0;
  return above != 0;
}

// The k best candidates of one query that one worker has seen: a heap with the worst of them in front.
class BestOf {
 public:
  // Scores of documents [first, first + count), which rise from call to call: once k are held, an equal score
  // comes too late.
  void add_all(const float* scores, int64_t count, int64_t first, size_t top_k) {
    int64_t i = 0;
    while (i < count) {
      const bool is_whole = i + kScoresAtOnce <= count;
      const bool has_limit = heap_.size() == top_k && !std::isnan(heap_.front().score);
      if (is_whole && has_limit && !any_above(scores + i, heap_.front().score)) {
        i += kScoresAtOnce;
        continue;
      }
      const int64_t end = is_whole ? i + kScoresAtOnce : count;
      for (; i < end; ++i) add({scores[i], static_cast<int32_t>(first + i)}, top_k);
    }
  }

  void clear() { heap_.clear(); }
  const std::vector<Candidate>& candidates() const { return heap_; }

 private:
  void add(Candidate candidate, size_t top_k) {
    if (heap_.size() < top_k) {
      heap_.push_back(candidate);
      std::push_heap(heap_.begin(), heap_.end(), is_better);
    } else if (is_better(candidate, heap_.front())) {
      std::pop_heap(heap_.begin(), heap_.end(), is_better);
      heap_.back() = candidate;
      std::push_heap(heap_.begin(), heap_.end(), is_better);
    }
  }
  std::vector<Candidate> heap_;
};

struct Worker {
  AlignedBuffer scores;      // [kQueryTile, documents of a block]
  std::vector<BestOf> best;  // [queries of a group]
};

// The queries of a group as the index's kernel reads them.
class Queries {
 public:
  Queries(const VectorIndex& index, std::span<const float> queries) : index_(index), floats_(queries) {
    if (index.precision() == Precision::kF32) return;
    const int64_t dims = index.dims();
    const int64_t stride = code_stride(dims);
    const int64_t count = size();
    std::vector<uint8_t> codes(static_cast<size_t>(count * stride));
    std::vector<float> scales(static_cast<size_t>(count));
    quantize_vectors(queries, dims, codes.data(), scales.data());
    codes_.resize(codes.size());
    std::ranges::transform(codes, codes_.begin(),
                           [](uint8_t code) { return static_cast<int8_t>(code - 128); });
    for (int64_t i = 0; i < count; ++i) {
      const auto row = codes_.begin() + i * stride;
      scales_.push_back({scales[static_cast<size_t>(i)], std::accumulate(row, row + stride, int32_t{0})});
    }
  }

  int64_t size() const { return static_cast<int64_t>(floats_.size()) / index_.dims(); }

  // scores: [num_queries, num_documents].
  void score(const KernelTable& kernels, int64_t query, int64_t num_queries, int64_t document,
             int64_t num_documents, float* scores) const {
    const int64_t dims = index_.dims();
    if (index_.precision() == Precision::kF32) {
      return kernels.dot_product_forward({.queries = floats_.data() + query * dims,
                                          .documents = index_.vectors() + document * dims,
                                          .scores = scores,
                                          .num_queries = num_queries,
                                          .num_documents = num_documents,
                                          .dims = dims});
    }
    const int64_t stride = code_stride(dims);
    kernels.dot_product_i8_forward({.queries = codes_.data() + query * stride,
                                    .query_scales = scales_.data() + query,
                                    .documents = index_.codes() + document * stride,
                                    .document_scales = index_.scales() + document,
                                    .scores = scores,
                                    .num_queries = num_queries,
                                    .num_documents = num_documents,
                                    .dims = dims});
  }

 private:
  const VectorIndex& index_;
  std::span<const float> floats_;  // [size(), dims]
  std::vector<int8_t> codes_;      // [size(), code_stride(dims)], i8 only
  std::vector<RowScale> scales_;   // [size()], i8 only
};

// Scores documents [begin, end) against the group's queries and keeps the best.
struct BlockScorer {
  const Queries& queries;
  const KernelTable& kernels;
  size_t top_k;

  void run(int64_t begin, int64_t end, Worker& worker) const {
    const int64_t num_documents = end - begin;
    for (int64_t q = 0; q < queries.size(); q += kQueryTile) {
      const int64_t tile = std::min(kQueryTile, queries.size() - q);
      float* const scores = worker.scores.data();
      queries.score(kernels, q, tile, begin, num_documents, scores);
      for (int64_t i = 0; i < tile; ++i) {
        worker.best[static_cast<size_t>(q + i)].add_all(scores + i * num_documents, num_documents, begin,
                                                        top_k);
      }
    }
  }
};

int64_t queries_per_group(int64_t top_k, int num_threads) {
  const int64_t bytes_per_query = top_k * static_cast<int64_t>(sizeof(Candidate)) * num_threads;
  return std::clamp<int64_t>(kCandidateBytes / bytes_per_query, 1, kQueryGroup);
}

// Writes the k best of every worker's candidates for one query of the group.
void write_best(const std::vector<Worker>& workers, size_t query, int64_t top_k, int32_t* documents,
                float* scores) {
  std::vector<Candidate> all;
  for (const Worker& worker : workers) {
    const std::vector<Candidate>& seen = worker.best[query].candidates();
    all.insert(all.end(), seen.begin(), seen.end());
  }
  std::partial_sort(all.begin(), all.begin() + top_k, all.end(), is_better);
  for (int64_t i = 0; i < top_k; ++i) {
    documents[i] = all[static_cast<size_t>(i)].document;
    scores[i] = all[static_cast<size_t>(i)].score;
  }
}

}  // namespace

void search(const VectorIndex& index, const SearchArgs& args, const KernelTable& kernels, ThreadPool& pool,
            int worker_idx) {
  const int64_t dims = index.dims();
  if (args.queries.size() % static_cast<size_t>(dims) != 0 || args.top_k < 0) {
    fail(ErrorCode::kIndexInvalid,
         {"[Q, " + std::to_string(dims) + "] floats and a top_k of at least 0", "a search",
          std::to_string(args.queries.size()) + " floats and " + std::to_string(args.top_k), ""});
  }
  const int64_t num_queries = static_cast<int64_t>(args.queries.size()) / dims;
  const int64_t count = index.count();
  const int64_t top_k = std::min(args.top_k, count);
  if (num_queries == 0 || top_k == 0) return;

  const int64_t group = std::min(num_queries, queries_per_group(top_k, pool.num_threads()));
  const int64_t block = std::clamp<int64_t>(kDocumentBlockBytes / (index.bytes() / count), 1, count);
  const int64_t num_blocks = (count + block - 1) / block;

  std::vector<Worker> workers(static_cast<size_t>(pool.num_threads()));
  for (Worker& worker : workers) {
    worker.scores = AlignedBuffer(static_cast<size_t>(std::min(group, kQueryTile) * block));
    worker.best.resize(static_cast<size_t>(group));
  }

  for (int64_t q = 0; q < num_queries; q += group) {
    const int64_t size = std::min(group, num_queries - q);
    for (Worker& worker : workers) {
      for (BestOf& best : worker.best) best.clear();
    }
    const Queries queries(
        index, args.queries.subspan(static_cast<size_t>(q * dims), static_cast<size_t>(size * dims)));
    const BlockScorer scorer{queries, kernels, static_cast<size_t>(top_k)};
    pool.parallel_for(num_blocks, worker_idx, [&](int64_t block_idx, int worker) {
      const int64_t begin = block_idx * block;
      scorer.run(begin, std::min(begin + block, count), workers[static_cast<size_t>(worker)]);
    });
    pool.parallel_for(size, worker_idx, [&](int64_t i, int) {
      const int64_t row = (q + i) * top_k;
      write_best(workers, static_cast<size_t>(i), top_k, args.documents + row, args.scores + row);
    });
  }
}

}  // namespace elasticlm
