#include "addon/executor.h"

#include <utility>

namespace elasticlm {

Executor::Executor(int num_threads, Finished finished)
    : num_threads_(num_threads),
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
  pool_->submit([this](int worker_idx) { run_next(worker_idx); });
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

void Executor::run_next(int worker_idx) {
  Call* call = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (waiting_.empty()) return;
    call = waiting_.front();
    waiting_.pop_front();
  }
  try {
    call->work({running_pool_, worker_idx, call->aborted});
  } catch (...) {
    call->failure = current_failure();
  }
  finished_(call);
}

}  // namespace elasticlm
