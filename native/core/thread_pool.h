// The library's own threads. A model owns one pool; nothing heavy ever runs on Node's threads.
//
// Two kinds of work. A job (`submit`) is one forward or one other call, run in order of arrival by whichever
// thread is free. A job may split a step of its own with `parallel_for`: its thread works through the chunks,
// and threads that have no job help it. Chunks are claimed one at a time, and the caller never waits for a
// thread that has not claimed one, so a thread that the system has taken away costs at most the chunk it
// holds. Threads spin briefly, then park: an idle pool uses no processor time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace elasticlm {

class ThreadPool {
 public:
  // Starts `num_threads` (at least 1) threads. Throws std::system_error when the system refuses one.
  explicit ThreadPool(int num_threads);
  // Runs the jobs already submitted to their end, then joins. Not from one of the pool's own threads.
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const;

  // Queues a job. `job` must not throw; it receives the worker's position in [0, num_threads). A job may
  // submit others.
  void submit(std::function<void(int worker_idx)> job);

  // Calls `chunk(chunk_idx, worker_idx)` once for every chunk_idx in [0, num_chunks), begun in rising order
  // on any of the pool's threads, and returns when all have ended. Only from inside a job; `worker_idx` is
  // the caller's. Two chunks with the same worker_idx never run at the same time. The first exception that a
  // chunk throws is rethrown here, after all claimed chunks have ended; the unclaimed ones are dropped.
  // Called from inside a chunk, it runs its chunks in place.
  void parallel_for(int64_t num_chunks, int worker_idx, const std::function<void(int64_t, int)>& chunk);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace elasticlm
