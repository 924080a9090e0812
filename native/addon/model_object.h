// The addon's Model: weights, an encoder over them, and the threads that run it.
#pragma once

#include <napi.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "addon/environment.h"
#include "exec/encoder.h"

namespace elasticlm {

class ModelObject : public Napi::ObjectWrap<ModelObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit ModelObject(const Napi::CallbackInfo& info);
  ~ModelObject() override;

 private:
  // Shared with the calls in flight, which outlive a collected object.
  struct State {
    EncoderConfig config;
    std::vector<std::string> paths;
    std::vector<Structure> structures;
    Isa isa = Isa::kRef;
    std::optional<Encoder> encoder;  // set by load, emptied by close
  };

  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value facts(const Napi::CallbackInfo& info);
  Napi::Value arena_bytes(const Napi::CallbackInfo& info);
  Napi::Value forward(const Napi::CallbackInfo& info);
  Napi::Value plan(const Napi::CallbackInfo& info);
  Napi::Value calibrate(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  Encoder& encoder() const;

  std::shared_ptr<State> state_;
  std::shared_ptr<Executor> executor_;
};

}  // namespace elasticlm
