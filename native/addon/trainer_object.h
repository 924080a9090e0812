// The addon's Trainer: a training session, and the threads that run it. Its calls run one at a time.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "addon/environment.h"
#include "train/session.h"

namespace elasticlm {

class TrainerObject : public Napi::ObjectWrap<TrainerObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit TrainerObject(const Napi::CallbackInfo& info);
  ~TrainerObject() override;

 private:
  // What JavaScript may ask for while a call runs: as it was after the last one.
  struct Facts {
    int64_t num_updates = 0;
    int64_t bytes = 0;
    std::string metadata;  // of the state read last
  };
  // Shared with the calls in flight, which outlive a collected object.
  struct State {
    SessionSpec spec;
    std::unique_ptr<TrainSession> session;  // set by load, emptied by close
    std::mutex mutex;
    Facts facts;  // guarded by mutex
  };
  using Act = std::function<void(TrainSession&, const TrainThreads&)>;

  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value step(const Napi::CallbackInfo& info);
  Napi::Value mask_gradients(const Napi::CallbackInfo& info);
  Napi::Value update(const Napi::CallbackInfo& info);
  Napi::Value write_checkpoint(const Napi::CallbackInfo& info);
  Napi::Value write_state(const Napi::CallbackInfo& info);
  Napi::Value read_state(const Napi::CallbackInfo& info);
  Napi::Value metadata(const Napi::CallbackInfo& info);
  Napi::Value num_updates(const Napi::CallbackInfo& info);
  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  static void publish(State& state);
  // Queues `act` on the loaded session.
  Napi::Value start(Napi::Env env, Act act, Napi::Value outputs = Napi::Value());
  Facts facts() const;

  std::shared_ptr<State> state_;
  std::shared_ptr<Executor> executor_;
};

}  // namespace elasticlm
