#include "addon/index_object.h"

#include <algorithm>
#include <span>
#include <utility>

#include "addon/convert.h"

namespace elasticlm {
namespace {

Precision to_index_precision(const Napi::Value& value) {
  const std::string name = to_string(value, "precision");
  if (name == precision_name(Precision::kI8)) return Precision::kI8;
  if (name != precision_name(Precision::kF32)) fail_contract("precision", "'f32' or 'i8'");
  return Precision::kF32;
}

}  // namespace

Napi::Function IndexObject::define(Napi::Env env) {
  return DefineClass(env, "Index",
                     {
                         InstanceMethod<&IndexObject::open>("open"),
                         InstanceMethod<&IndexObject::append>("append"),
                         InstanceMethod<&IndexObject::build>("build"),
                         InstanceMethod<&IndexObject::dims>("dims"),
                         InstanceMethod<&IndexObject::count>("count"),
                         InstanceMethod<&IndexObject::precision>("precision"),
                         InstanceMethod<&IndexObject::bytes>("bytes"),
                         InstanceMethod<&IndexObject::search>("search"),
                         InstanceMethod<&IndexObject::close>("close"),
                     });
}

IndexObject::IndexObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const Napi::Object spec = to_object(info[0], "spec");
    auto state = std::make_shared<State>();
    state->isa = choose_isa(to_string(spec["isa"], "isa"));
    const int64_t threads = to_count(spec["threads"], "threads");
    executor_ = Environment::of(info.Env()).create_executor(static_cast<int>(threads));
    state_ = std::move(state);
  });
}

IndexObject::~IndexObject() {
  // A stopped executor may mean that the environment has ended: nothing of it is touched then.
  if (executor_ == nullptr || executor_->closing()) return;
  Environment::of(Env()).abandon(executor_, [state = state_](const Job&) { state->release(); });
}

const VectorIndex& IndexObject::index() const {
  if (!state_->index.has_value()) fail_contract("index", "an opened or built index");
  return *state_->index;
}

Napi::Value IndexObject::open(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Environment::of(info.Env())
        .start(executor_, [state = state_, path = to_string(info[0], "path")](const Job&) {
          state->index.emplace(path);
        });
  });
}

void IndexObject::append(const Napi::CallbackInfo& info) {
  guarded(info.Env(), [&] { state_->appended.push_back(to_floats(info[0], "vectors")); });
}

Napi::Value IndexObject::build(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto work = [state = state_, dims = to_count(info[0], "dims"),
                       precision = to_index_precision(info[1])](const Job&) {
      const std::vector<std::vector<float>> appended = std::exchange(state->appended, {});
      const std::vector<std::span<const float>> parts(appended.begin(), appended.end());
      state->index.emplace(parts, dims, precision);
    };
    return Environment::of(info.Env()).start(executor_, work);
  });
}

Napi::Value IndexObject::dims(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), static_cast<double>(index().dims())); });
}

Napi::Value IndexObject::count(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), static_cast<double>(index().count())); });
}

Napi::Value IndexObject::precision(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::String::New(info.Env(), precision_name(index().precision())); });
}

Napi::Value IndexObject::bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), static_cast<double>(index().bytes())); });
}

Napi::Value IndexObject::search(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto queries = std::make_shared<const std::vector<float>>(to_floats(info[0], "queries"));
    const int64_t top_k = to_count(info[1], "topK");
    const OutputArray<int32_t> documents = to_int32_output(info[2], "documents");
    const OutputArray<float> scores = to_float_output(info[3], "scores");
    const int64_t num_queries = std::ssize(*queries) / index().dims();
    const int64_t found = num_queries * std::min(top_k, index().count());
    if (std::ssize(*queries) % index().dims() != 0 || documents.size != found || scores.size != found) {
      fail_contract("queries, documents and scores", "[Q, dims] and twice [Q, min(topK, count)]");
    }
    const auto work = [state = state_, queries, top_k, documents, scores](const Job& job) {
      const SearchArgs args{*queries, top_k, documents.data, scores.data};
      elasticlm::search(*state->index, args, kernel_table(state->isa), job.pool, job.worker_idx);
    };
    Napi::Array outputs = Napi::Array::New(info.Env(), 2);
    outputs[0u] = info[2];
    outputs[1u] = info[3];
    return Environment::of(info.Env()).start(executor_, work, outputs);
  });
}

Napi::Value IndexObject::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Environment::of(info.Env()).close(executor_, [state = state_](const Job&) { state->release(); });
  });
}

}  // namespace elasticlm
