#include <algorithm>
#include <cmath>
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
// dims: 11 KB).
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

// The k best candidates of one query that one worker has seen: a heap with the worst of them in front.
class BestOf {
 public:
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
  void clear() { heap_.clear(); }
  const std::vector<Candidate>& candidates() const { return heap_; }

 private:
  std::vector<Candidate> heap_;
};

struct Worker {
  AlignedBuffer scores;      // [kQueryTile, documents of a block]
  std::vector<BestOf> best;  // [queries of a group]
};

// Scores documents [begin, end) against the group's queries and keeps the best.
struct BlockScorer {
  const VectorIndex& index;
  const KernelTable& kernels;
  std::span<const float> queries;  // [queries of the group, dims]
  size_t top_k;

  void run(int64_t begin, int64_t end, Worker& worker) const {
    const int64_t dims = index.dims();
    const int64_t num_queries = static_cast<int64_t>(queries.size()) / dims;
    const int64_t num_documents = end - begin;
    for (int64_t q = 0; q < num_queries; q += kQueryTile) {
      const int64_t tile = std::min(kQueryTile, num_queries - q);
      kernels.dot_product_forward({.queries = queries.data() + q * dims,
                                   .documents = index.vectors() + begin * dims,
                                   .scores = worker.scores.data(),
                                   .num_queries = tile,
                                   .num_documents = num_documents,
                                   .dims = dims});
      for (int64_t i = 0; i < tile; ++i) {
        BestOf& best = worker.best[static_cast<size_t>(q + i)];
        const float* scores = worker.scores.data() + i * num_documents;
        for (int64_t d = 0; d < num_documents; ++d) {
          best.add({scores[d], static_cast<int32_t>(begin + d)}, top_k);
        }
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
  const int64_t block =
      std::clamp<int64_t>(kDocumentBlockBytes / (dims * static_cast<int64_t>(sizeof(float))), 1, count);
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
    const BlockScorer scorer{
        .index = index,
        .kernels = kernels,
        .queries = args.queries.subspan(static_cast<size_t>(q * dims), static_cast<size_t>(size * dims)),
        .top_k = static_cast<size_t>(top_k),
    };
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
