// The addon's Model: weights on a backend, and the threads that run it.
#pragma once

#include <napi.h>

#include <memory>

#include "addon/backend.h"
#include "addon/environment.h"
#include "exec/adapters.h"

namespace elasticlm {

class ModelObject : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ModelObject(const Napi::CallbackInfo& info);
  ~ModelObject() override;

 private:
  // Shared with the calls in flight, which outlive a collected object.
  struct State {
    BackendSpec spec;
    std::vector<int32_t> adapter_idx;  // [structures]
    // Set by load, emptied by close.
    std::unique_ptr<Backend> backend;
    std::unique_ptr<const Adapters> adapters;  // null where no structure has one
  };

  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value facts(const Napi::CallbackInfo& info);
  Napi::Value arena_bytes(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value plan(const Napi::CallbackInfo& info);
  Napi::Value calibrate(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  Backend& backend() const;

  std::shared_ptr<State> state_;
  std::shared_ptr<Executor> executor_;
};

}  // namespace elasticlm
