// Threads of one model or index, and the calls that wait for them.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>

#include "addon/failure.h"
#include "core/thread_pool.h"

namespace elasticlm {

class Executor;

// What a call's work runs in: a job of its executor's pool.
struct Job {
  ThreadPool& pool;
  int worker_idx;
  const std::atomic<bool>& aborted;
};
// Throws Error. Never touches JavaScript; memory of JavaScript that it writes to is held by the call.
using Work = std::function<void(const Job&)>;

// One asynchronous call, from its arguments to its settled promise. Created, settled and destroyed on the
// JavaScript thread; only `work`, `aborted` and `failure` are used by the thread that runs it, in between.
struct Call {
  uint32_t id = 0;
  std::shared_ptr<Executor> executor;
  Work work;
  std::atomic<bool> aborted = false;
  std::optional<Failure> failure;
  napi_deferred deferred = nullptr;  // null when nobody waits
  napi_ref outputs = nullptr;        // keeps the arrays that `work` writes to
};

// Whether calls may run at the same time. Either way they begin in the order in which they were submitted.
enum class Concurrency { kParallel, kOneAtATime };

// All methods are for the JavaScript thread. The environment owns the calls.
class Executor {
 public:
  using Finished = std::function<void(Call*)>;
  // `finished` is called on a thread of the pool for every call that has run.
  Executor(int num_threads, Concurrency concurrency, Finished finished);

  // Runs `call` after those submitted before it have begun.
  void submit(Call* call);
  // Runs `call` once all others are settled; then the environment calls stop(). Nothing may be submitted
  // afterwards.
  void submit_last(Call* call);
  // Takes a call that has not begun out of the queue. False when it has begun.
  bool remove(Call* call);
  // To be called when a call was settled. True when it was the last; starts the last when it was the one
  // before.
  bool settled(const Call* call);
  // Forgets waiting calls, waits for running ones, ends the threads.
  void stop();

  bool closing() const { return last_ != nullptr || stopped(); }
  bool stopped() const { return pool_ == nullptr; }
  int num_threads() const { return num_threads_; }

 private:
  void enqueue(Call* call);
  void run_waiting(int worker_idx);
  Call* begin_next();
  void run(Call* call, int worker_idx);

  const int num_threads_;
  const Concurrency concurrency_;
  const Finished finished_;
  int64_t unsettled_ = 0;  // submitted and not settled, the last call not counted
  Call* last_ = nullptr;
  std::mutex mutex_;
  std::deque<Call*> waiting_;  // guarded by mutex_
  int num_running_ = 0;        // guarded by mutex_
  std::unique_ptr<ThreadPool> pool_;
  ThreadPool& running_pool_;  // what jobs use: `pool_` is already empty while its destructor waits for them
};

}  // namespace elasticlm
