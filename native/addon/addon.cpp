// What JavaScript sees, and nothing else. lib/binding/addon.ts mirrors it with types.
#include <napi.h>

#include <memory>

#include "addon/checkpoint_tools.h"
#include "addon/convert.h"
#include "addon/environment.h"
#include "addon/index_object.h"
#include "addon/model_object.h"
#include "addon/trainer_object.h"
#include "core/cpu_features.h"
#include "search/vector_index.h"

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

// Codes and scales of an i8 index, for the file that JavaScript writes.
void quantize_vectors_sync(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] {
    const std::vector<float> vectors = to_floats(info[0], "vectors");
    const int64_t dims = to_count(info[1], "dims");
    const OutputArray<uint8_t> codes = to_uint8_output(info[2], "codes");
    const OutputArray<float> scales = to_float_output(info[3], "scales");
    if (dims < 1 || std::ssize(vectors) != scales.size * dims ||
        codes.size != scales.size * code_stride(dims)) {
      fail_contract("vectors, codes and scales", "[count, dims], [count, whole cache lines] and [count]");
    }
    quantize_vectors(vectors, dims, codes.data, scales.data);
  });
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  guarded(env, [&] { env.SetInstanceData(std::make_unique<Environment>(env).release()); });
  exports["Model"] = ModelObject::define(env);
  exports["Index"] = IndexObject::define(env);
  exports["Trainer"] = TrainerObject::define(env);
  exports["cancel"] = Napi::Function::New<cancel>(env, "cancel");
  exports["writePermutedCheckpoint"] =
      Napi::Function::New<write_permuted_checkpoint_async>(env, "writePermutedCheckpoint");
  exports["outgoingNorms"] = Napi::Function::New<outgoing_norms_async>(env, "outgoingNorms");
  exports["availableProcessors"] =
      Napi::Function::New<available_processors_value>(env, "availableProcessors");
  exports["quantizeVectors"] = Napi::Function::New<quantize_vectors_sync>(env, "quantizeVectors");
  exports["chooseIsa"] = Napi::Function::New<choose_isa_name>(env, "chooseIsa");
  return exports;
}

}  // namespace

NODE_API_MODULE(elasticlm, initialise)

}  // namespace elasticlm
