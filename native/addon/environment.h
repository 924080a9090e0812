// What one JavaScript environment (the main thread's or a worker_thread's) has in flight. There are no
// globals: the addon loads into any number of environments, and each ends by itself.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "addon/executor.h"

namespace elasticlm {

class Environment {
 public:
  explicit Environment(Napi::Env env);
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  static Environment& of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }

  std::shared_ptr<Executor> create_executor(int num_threads,
                                            Concurrency concurrency = Concurrency::kParallel);
  // One thread for work that belongs to no model, started by its first use.
  const std::shared_ptr<Executor>& tools();

  // Queues `work` and returns { id, promise }. `outputs` is kept until the promise settles: what `work`
  // writes to.
  Napi::Value start(const std::shared_ptr<Executor>& executor, Work work,
                    Napi::Value outputs = Napi::Value());
  // Queues `release` behind everything else; the executor's threads end with it.
  Napi::Value close(const std::shared_ptr<Executor>& executor, Work release);
  // The same for an object that was collected without being closed.
  void abandon(const std::shared_ptr<Executor>& executor, Work release);
  void cancel(uint32_t id);

 private:
  Call& create_call(const std::shared_ptr<Executor>& executor, Work work);
  Napi::Value promise_of(Call& call);
  void post(Call* call);
  void settle_finished();
  void settle(Call& call);
  void shut_down();

  const Napi::Env env_;
  napi_threadsafe_function wake_ = nullptr;
  uint32_t last_id_ = 0;
  std::unordered_map<uint32_t, std::unique_ptr<Call>> calls_;  // not settled
  std::unordered_set<std::shared_ptr<Executor>> executors_;    // not stopped
  std::shared_ptr<Executor> tools_;

  std::mutex mutex_;
  bool shut_down_ = false;       // guarded by mutex_: `wake_` is gone
  std::vector<Call*> finished_;  // guarded by mutex_: run, not settled
};

}  // namespace elasticlm
