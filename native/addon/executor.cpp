#include "addon/executor.h"

#include <utility>

namespace elasticlm {

Executor::Executor(int num_threads, Concurrency concurrency, Finished finished)
    : num_threads_(num_threads),
      concurrency_(concurrency),
      finished_(std::move(finished)),
      pool_(std::make_unique<ThreadPool>(num_threads)),
      running_pool_(*pool_) {}

void Executor::submit(Call* call) {
  enqueue(call);
  ++unsettled_;
}

void Executor::submit_last(Call* call) {
  last_ = call;
  if (unsettled_ == 0) enqueue(call);
}

void Executor::enqueue(Call* call) {
  {
    std::lock_guard lock(mutex_);
    waiting_.push_back(call);
  }
  // The job names no call: the one in front may be removed before a thread is free.
  pool_->submit([this](int worker_idx) { run_waiting(worker_idx); });
}

bool Executor::remove(Call* call) {
  std::lock_guard lock(mutex_);
  return std::erase(waiting_, call) == 1;
}

bool Executor::settled(const Call* call) {
  if (call == last_) return true;
  if (--unsettled_ == 0 && last_ != nullptr) enqueue(last_);
  return false;
}

void Executor::stop() {
  {
    std::lock_guard lock(mutex_);
    waiting_.clear();
  }
  pool_.reset();
}

// As many jobs as calls were queued, so one call each; where they take turns, whoever runs one runs those too
// whose jobs came meanwhile and found it running.
void Executor::run_waiting(int worker_idx) {
  do {
    Call* const call = begin_next();
    if (call == nullptr) return;
    run(call, worker_idx);
  } while (concurrency_ == Concurrency::kOneAtATime);
}

Call* Executor::begin_next() {
  std::lock_guard lock(mutex_);
  const bool must_wait = concurrency_ == Concurrency::kOneAtATime && num_running_ > 0;
  if (waiting_.empty() || must_wait) return nullptr;
  Call* const call = waiting_.front();
  waiting_.pop_front();
  ++num_running_;
  return call;
}

void Executor::run(Call* call, int worker_idx) {
  try {
    call->work({running_pool_, worker_idx, call->aborted});
  } catch (...) {
    call->failure = current_failure();
  }
  {
    std::lock_guard lock(mutex_);
    --num_running_;
  }
  finished_(call);
}

}  // namespace elasticlm
