// Loops of training over the pool's threads.
#pragma once

#include <cstdint>
#include <functional>

#include "core/status.h"
#include "train/train_batch.h"

namespace elasticlm {

// Throws kCallAborted when the call is no longer wanted.
inline void check_wanted(const TrainThreads& threads) {
  if (threads.aborted == nullptr || !threads.aborted->load(std::memory_order_relaxed)) return;
  fail(ErrorCode::kCallAborted, {.expected = "a call that runs to its end",
                                 .subject = "the training step",
                                 .received = "an abort signal",
                                 .remedy = ""});
}

// run(chunk_idx, worker_idx) for all chunks, on any of the pool's threads.
template <typename Run>
void for_each_chunk(const TrainThreads& threads, int64_t num_chunks, const Run& run) {
  check_wanted(threads);
  const auto chunk = [&](int64_t chunk_idx, int worker_idx) {
    check_wanted(threads);
    run(chunk_idx, worker_idx);
  };
  // By reference: a std::function holds it without allocating.
  threads.pool.parallel_for(num_chunks, threads.worker_idx, std::ref(chunk));
}

}  // namespace elasticlm
