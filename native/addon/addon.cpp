// What JavaScript sees, and nothing else. lib/binding/addon.ts mirrors it with types.
#include <napi.h>

#include <memory>

#include "addon/checkpoint_tools.h"
#include "addon/convert.h"
#include "addon/environment.h"
#include "addon/index_object.h"
#include "addon/model_object.h"
#include "core/cpu_features.h"

namespace elasticlm {
namespace {

void cancel(const Napi::CallbackInfo& info) {
  guarded(info.Env(),
          [&] { Environment::of(info.Env()).cancel(static_cast<uint32_t>(to_count(info[0], "id"))); });
}

Napi::Value available_processors_value(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), available_processors());
}

Napi::Value choose_isa_name(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Napi::String::New(info.Env(), isa_name(choose_isa(to_string(info[0], "requested"))));
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  guarded(env, [&] { env.SetInstanceData(std::make_unique<Environment>(env).release()); });
  exports["Model"] = ModelObject::define(env);
  exports["Index"] = IndexObject::define(env);
  exports["cancel"] = Napi::Function::New<cancel>(env, "cancel");
  exports["writePermutedCheckpoint"] =
      Napi::Function::New<write_permuted_checkpoint_async>(env, "writePermutedCheckpoint");
  exports["outgoingNorms"] = Napi::Function::New<outgoing_norms_async>(env, "outgoingNorms");
  exports["availableProcessors"] =
      Napi::Function::New<available_processors_value>(env, "availableProcessors");
  exports["chooseIsa"] = Napi::Function::New<choose_isa_name>(env, "chooseIsa");
  return exports;
}

}  // namespace

NODE_API_MODULE(elasticlm, initialise)

}  // namespace elasticlm
