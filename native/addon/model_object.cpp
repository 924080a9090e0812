#include "addon/model_object.h"

#include <algorithm>
#include <utility>

#include "addon/convert.h"

namespace elasticlm {
namespace {

// What a forward reads, owned by its call.
struct OwnedBatch {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> token_type_ids;
  std::vector<int32_t> cu_seqlens;
  std::vector<int32_t> structure_idx;

  Batch view() const { return {input_ids, token_type_ids, cu_seqlens, structure_idx}; }
};

struct ForwardRequest {
  OwnedBatch batch;
  std::vector<Structure> structures;  // empty: those of the model
  ForwardOptions options;
  OutputArray<float> out;
};

OwnedBatch to_batch(const Napi::Object& spec) {
  return {to_int32s(spec["inputIds"], "inputIds"),
          to_int32s(spec["tokenTypeIds"], "tokenTypeIds"),
          to_int32s(spec["cuSeqlens"], "cuSeqlens"),
          {}};
}

std::vector<Structure> to_own_structures(const Napi::Object& spec, const EncoderConfig& config) {
  const Napi::Value structures = spec["structures"];
  return structures.IsUndefined() ? std::vector<Structure>() : to_structures(structures, config);
}

Output to_output(const std::string& name) {
  if (name == "hidden") return Output::kHidden;
  if (name == "pooled") return Output::kPooled;
  if (name == "pooler") return Output::kPooler;
  if (name == "logits") return Output::kLogits;
  fail_contract("output", "hidden, pooled, pooler or logits");
}

Pooling to_pooling(const std::string& name) {
  if (name == "cls") return Pooling::kCls;
  if (name == "mean") return Pooling::kMean;
  fail_contract("pooling", "cls or mean");
}

// A batch of the same shape whose ids cannot be wrong: `plan` has only shapes, and is checked by the same
// rules.
void validate_shape(const OwnedBatch& batch, const EncoderConfig& config, int64_t num_structures) {
  const int64_t total_tokens = batch.cu_seqlens.empty() ? 0 : std::max(batch.cu_seqlens.back(), 0);
  const std::vector<int32_t> zeros(static_cast<size_t>(total_tokens));
  validate(Batch{zeros, zeros, batch.cu_seqlens, batch.structure_idx}, config, num_structures);
}

}  // namespace

Napi::Function ModelObject::define(Napi::Env env) {
  return DefineClass(env, "Model",
                     {
                         InstanceMethod<&ModelObject::load>("load"),
                         InstanceMethod<&ModelObject::facts>("facts"),
                         InstanceMethod<&ModelObject::arena_bytes>("arenaBytes"),
                         InstanceMethod<&ModelObject::forward>("forward"),
                         InstanceMethod<&ModelObject::plan>("plan"),
                         InstanceMethod<&ModelObject::calibrate>("calibrate"),
                         InstanceMethod<&ModelObject::close>("close"),
                     });
}

ModelObject::ModelObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const Napi::Object spec = to_object(info[0], "spec");
    auto state = std::make_shared<State>();
    state->config = to_config(spec["config"]);
    state->paths = to_strings(spec["paths"], "paths");
    state->structures = to_structures(spec["structures"], state->config);
    state->isa = choose_isa(to_string(spec["isa"], "isa"));
    const int64_t threads = to_count(spec["threads"], "threads");
    executor_ = Environment::of(info.Env()).create_executor(static_cast<int>(threads));
    state_ = std::move(state);
  });
}

ModelObject::~ModelObject() {
  // A stopped executor may mean that the environment has ended: nothing of it is touched then.
  if (executor_ == nullptr || executor_->closing()) return;
  Environment::of(Env()).abandon(executor_, [state = state_](const Job&) { state->encoder.reset(); });
}

Napi::Value ModelObject::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Environment::of(info.Env()).start(executor_, [state = state_](const Job& job) {
      state->encoder.emplace(load_weights(state->config, state->paths), state->isa, job.pool.num_threads());
    });
  });
}

Encoder& ModelObject::encoder() const {
  if (!state_->encoder.has_value()) fail_contract("model", "a loaded model");
  return *state_->encoder;
}

Napi::Value ModelObject::facts(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const ModelWeights& weights = encoder().weights();
    Napi::Object facts = Napi::Object::New(info.Env());
    facts["isa"] = isa_name(encoder().isa());
    facts["threads"] = executor_->num_threads();
    facts["weightBytes"] = static_cast<double>(weights.packed_bytes());
    facts["numLabels"] = static_cast<double>(weights.num_labels);
    facts["hasPooler"] = weights.pooler.has_value();
    return facts;
  });
}

Napi::Value ModelObject::arena_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), static_cast<double>(encoder().arena_bytes())); });
}

Napi::Value ModelObject::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    encoder();
    const Napi::Object spec = to_object(info[0], "spec");
    const auto request = std::make_shared<ForwardRequest>();
    request->batch = to_batch(spec);
    request->batch.structure_idx = to_int32s(spec["structureIdx"], "structureIdx");
    request->structures = to_own_structures(spec, state_->config);
    request->options.output = to_output(to_string(spec["output"], "output"));
    request->options.pooling = to_pooling(to_string(spec["pooling"], "pooling"));
    request->options.normalize = to_bool(spec["normalize"], "normalize");
    request->out = to_float_output(spec["out"], "out");
    const auto work = [state = state_, request](const Job& job) {
      const Batch batch = request->batch.view();
      const auto& structures = request->structures.empty() ? state->structures : request->structures;
      validate(batch, state->config, static_cast<int64_t>(structures.size()));
      request->options.aborted = &job.aborted;
      if (state->encoder->output_floats(batch, request->options.output) != request->out.size) {
        fail_contract("out", "an array as long as the output");
      }
      state->encoder->forward(batch, structures, request->options, job.pool, job.worker_idx,
                              request->out.data);
    };
    return Environment::of(info.Env()).start(executor_, work, spec["out"]);
  });
}

Napi::Value ModelObject::plan(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object spec = to_object(info[0], "spec");
    const std::vector<Structure> own = to_own_structures(spec, state_->config);
    const std::vector<Structure>& structures = own.empty() ? state_->structures : own;
    OwnedBatch batch;
    batch.cu_seqlens = to_int32s(spec["cuSeqlens"], "cuSeqlens");
    batch.structure_idx = to_int32s(spec["structureIdx"], "structureIdx");
    validate_shape(batch, state_->config, static_cast<int64_t>(structures.size()));
    const BatchShape shape{batch.cu_seqlens, batch.structure_idx};
    const Plan plan = make_plan(state_->config, structures, shape, executor_->num_threads());
    return Napi::String::New(info.Env(), plan.to_string(state_->config, structures));
  });
}

Napi::Value ModelObject::calibrate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    encoder();
    const auto batch = std::make_shared<OwnedBatch>(to_batch(to_object(info[0], "batch")));
    batch->structure_idx.resize(batch->cu_seqlens.empty() ? 0 : batch->cu_seqlens.size() - 1);
    const OutputArray<double> heads = to_double_output(info[1], "heads");
    const OutputArray<double> neurons = to_double_output(info[2], "neurons");
    const auto work = [state = state_, batch, heads, neurons](const Job& job) {
      validate(batch->view(), state->config, 1);
      ActivationSums sums;
      state->encoder->accumulate_activations(batch->view(), job.pool, job.worker_idx, sums);
      if (std::ssize(sums.heads) != heads.size || std::ssize(sums.neurons) != neurons.size) {
        fail_contract("heads and neurons", "[L * H] and [L * F] numbers");
      }
      std::copy(sums.heads.begin(), sums.heads.end(), heads.data);
      std::copy(sums.neurons.begin(), sums.neurons.end(), neurons.data);
    };
    Napi::Array outputs = Napi::Array::New(info.Env(), 2);
    outputs[0u] = info[1];
    outputs[1u] = info[2];
    return Environment::of(info.Env()).start(executor_, work, outputs);
  });
}

Napi::Value ModelObject::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Environment::of(info.Env()).close(executor_, [state = state_](const Job&) {
      state->encoder.reset();
    });
  });
}

}  // namespace elasticlm
