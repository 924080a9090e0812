// What a pass runs: packed sequences, and for whom.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "core/thread_pool.h"

namespace elasticlm {

// Packed sequences. All spans are owned by the caller and stay unchanged meanwhile.
struct TokenBatch {
  std::span<const int32_t> input_ids;       // [T]
  std::span<const int32_t> token_type_ids;  // [T]
  std::span<const int32_t> cu_seqlens;      // [B + 1]

  int64_t num_tokens() const { return static_cast<int64_t>(input_ids.size()); }
  int64_t num_sequences() const { return static_cast<int64_t>(cu_seqlens.size()) - 1; }
};

// The threads that a pass may use, and whether it is still wanted.
struct TrainThreads {
  ThreadPool& pool;
  int worker_idx = 0;
  const std::atomic<bool>* aborted = nullptr;  // checked between steps; kCallAborted when it turns true
};

}  // namespace elasticlm
