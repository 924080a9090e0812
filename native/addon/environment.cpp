#include "addon/environment.h"

#include <utility>

namespace elasticlm {

Environment::Environment(Napi::Env env) : env_(env) {
  napi_value name = Napi::String::New(env, "elasticlm");
  const auto on_wake = [](napi_env wake_env, napi_value, void* context, void*) {
    if (wake_env != nullptr) static_cast<Environment*>(context)->settle_finished();
  };
  const napi_status created = napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr,
                                                              nullptr, this, on_wake, &wake_);
  if (created != napi_ok) fail_contract("environment", "a thread-safe function");
  // An idle environment may end: the function holds the event loop only while calls are in flight.
  napi_unref_threadsafe_function(env, wake_);
  // Hooks run last in, first out: this one before the function's own, so that no thread posts to a function
  // that is gone.
  const auto on_exit = [](void* self) { static_cast<Environment*>(self)->shut_down(); };
  if (napi_add_env_cleanup_hook(env, on_exit, this) != napi_ok)
    fail_contract("environment", "a clean-up hook");
}

std::shared_ptr<Executor> Environment::create_executor(int num_threads, Concurrency concurrency) {
  auto executor = std::make_shared<Executor>(num_threads, concurrency, [this](Call* call) { post(call); });
  executors_.insert(executor);
  return executor;
}

const std::shared_ptr<Executor>& Environment::tools() {
  if (tools_ == nullptr) tools_ = create_executor(1);
  return tools_;
}

Napi::Value Environment::start(const std::shared_ptr<Executor>& executor, Work work, Napi::Value outputs) {
  if (executor->closing()) {
    fail(ErrorCode::kModelClosed, {"an open model, index or trainer", "a call", "a closed one", ""});
  }
  Call& call = create_call(executor, std::move(work));
  if (!outputs.IsEmpty()) napi_create_reference(env_, outputs, 1, &call.outputs);
  const Napi::Value result = promise_of(call);
  executor->submit(&call);
  return result;
}

Napi::Value Environment::close(const std::shared_ptr<Executor>& executor, Work release) {
  if (executor->closing()) {
    fail(ErrorCode::kModelClosed, {"an open model, index or trainer", "close()", "a closed one", ""});
  }
  Call& call = create_call(executor, std::move(release));
  const Napi::Value result = promise_of(call);
  executor->submit_last(&call);
  return result;
}

void Environment::abandon(const std::shared_ptr<Executor>& executor, Work release) {
  if (executor->closing()) return;
  executor->submit_last(&create_call(executor, std::move(release)));
}

void Environment::cancel(uint32_t id) {
  const auto found = calls_.find(id);
  if (found == calls_.end()) return;
  Call& call = *found->second;
  call.aborted = true;
  if (!call.executor->remove(&call)) return;  // running: it ends between two steps
  call.failure = Failure{ErrorCode::kCallAborted, "the call was aborted before it began"};
  settle(call);
}

Call& Environment::create_call(const std::shared_ptr<Executor>& executor, Work work) {
  do ++last_id_;
  while (calls_.contains(last_id_));
  auto call = std::make_unique<Call>();
  call->id = last_id_;
  call->executor = executor;
  call->work = std::move(work);
  if (calls_.empty()) napi_ref_threadsafe_function(env_, wake_);
  return *calls_.emplace(last_id_, std::move(call)).first->second;
}

Napi::Value Environment::promise_of(Call& call) {
  napi_value promise = nullptr;
  napi_create_promise(env_, &call.deferred, &promise);
  Napi::Object result = Napi::Object::New(env_);
  result["id"] = call.id;
  result["promise"] = Napi::Value(env_, promise);
  return result;
}

void Environment::post(Call* call) {
  std::lock_guard lock(mutex_);
  if (shut_down_) return;
  finished_.push_back(call);
  // One wake settles everything that has finished by then.
  if (finished_.size() == 1) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Environment::settle_finished() {
  std::vector<Call*> finished;
  {
    std::lock_guard lock(mutex_);
    finished.swap(finished_);
  }
  for (Call* call : finished) settle(*call);
}

// Only plain C calls, their statuses unread: a worker_thread that is being terminated refuses them, and then
// there is nobody left to tell.
void Environment::settle(Call& call) {
  if (call.deferred != nullptr) {
    napi_value value = nullptr;
    if (call.failure.has_value()) {
      value = to_error(env_, *call.failure);
      napi_reject_deferred(env_, call.deferred, value);
    } else {
      napi_get_undefined(env_, &value);
      napi_resolve_deferred(env_, call.deferred, value);
    }
  }
  if (call.outputs != nullptr) napi_delete_reference(env_, call.outputs);
  const std::shared_ptr<Executor> executor = call.executor;
  const bool was_last = executor->settled(&call);
  const uint32_t id = call.id;
  calls_.erase(id);
  if (calls_.empty()) napi_unref_threadsafe_function(env_, wake_);
  if (was_last) {
    executor->stop();
    executors_.erase(executor);
  }
}

// Runs when the environment ends: process exit by itself, or a worker_thread that returns, exits or is
// terminated. Waits for the threads, because they write into memory of this environment; running calls end
// between two of their steps.
void Environment::shut_down() {
  {
    std::lock_guard lock(mutex_);
    shut_down_ = true;
    finished_.clear();
  }
  for (const auto& [id, call] : calls_) call->aborted = true;
  for (const auto& executor : executors_) executor->stop();
  executors_.clear();
  tools_.reset();
  calls_.clear();
}

}  // namespace elasticlm
