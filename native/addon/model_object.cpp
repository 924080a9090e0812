#include "addon/model_object.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "addon/convert.h"

namespace elasticlm {
namespace {

// What a forward reads, owned by its call.
struct OwnedBatch {
  PackedIds ids;
  std::vector<int32_t> structure_idx;

  Batch view() const { return {ids.input_ids, ids.token_type_ids, ids.cu_seqlens, structure_idx}; }
};

struct ForwardRequest {
  OwnedBatch batch;
  std::vector<Structure> structures;  // empty: those of the model
  ForwardOptions options;
  OutputArray<float> out;
};

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

DType to_dtype(const std::string& name) {
  if (name == "f32") return DType::kF32;
  if (name == "f16") return DType::kF16;
  if (name == "bf16") return DType::kBF16;
  fail_contract("cuda.precision", "f32, f16 or bf16");
}

std::optional<CudaChoice> to_cuda_choice(const Napi::Value& value) {
  if (value.IsUndefined()) return std::nullopt;
  const Napi::Object object = to_object(value, "cuda");
  return CudaChoice{.library = to_string(object["library"], "cuda.library"),
                    .device_idx = static_cast<int>(to_count(object["device"], "cuda.device")),
                    .precision = to_dtype(to_string(object["precision"], "cuda.precision")),
                    .path = to_string(object["path"], "cuda.path")};
}

Napi::Object device_value(Napi::Env env, const DeviceSummary& device) {
  Napi::Object value = Napi::Object::New(env);
  value["idx"] = device.idx;
  value["name"] = device.name;
  value["computeCapability"] =
      std::to_string(device.compute_capability / 10) + "." + std::to_string(device.compute_capability % 10);
  value["numMultiprocessors"] = device.num_sms;
  value["emulated"] = Napi::Boolean::New(env, device.emulated);
  return value;
}

std::unique_ptr<const Adapters> make_adapters(const BackendSpec& spec,
                                              const std::vector<int32_t>& adapter_idx) {
  if (std::all_of(adapter_idx.begin(), adapter_idx.end(), [](int32_t idx) { return idx < 0; }))
    return nullptr;
  // Whatever the backend: they run here.
  return std::make_unique<const Adapters>(
      AdapterSpec{.config = spec.config,
                  .paths = spec.paths,
                  .adapter_idx = adapter_idx,
                  .isa = spec.cuda.has_value() ? choose_isa("") : spec.isa});
}

// A batch of the same shape whose ids cannot be wrong: `plan` has only shapes, and is checked by the same
// rules.
void validate_shape(const OwnedBatch& batch, const EncoderConfig& config, int64_t num_structures) {
  const std::vector<int32_t>& cu_seqlens = batch.ids.cu_seqlens;
  const int64_t total_tokens = cu_seqlens.empty() ? 0 : std::max(cu_seqlens.back(), 0);
  const std::vector<int32_t> zeros(static_cast<size_t>(total_tokens));
  validate(Batch{zeros, zeros, cu_seqlens, batch.structure_idx}, config, num_structures);
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
    BackendSpec& backend = state->spec;
    backend.config = to_config(spec["config"]);
    backend.paths = to_strings(spec["paths"], "paths");
    backend.structures = to_structures(spec["structures"], backend.config);
    state->adapter_idx = to_int32s(spec["adapterIdx"], "adapterIdx");
    if (state->adapter_idx.size() != backend.structures.size()) {
      fail_contract("adapterIdx", "one number for each structure");
    }
    backend.cuda = to_cuda_choice(spec["cuda"]);
    if (!backend.cuda.has_value()) {
      backend.isa = choose_isa(to_string(spec["isa"], "isa"));
      backend.precision = to_precision(spec["precision"]);
    }
    backend.num_threads = static_cast<int>(to_count(spec["threads"], "threads"));
    executor_ = Environment::of(info.Env()).create_executor(backend.num_threads);
    state_ = std::move(state);
  });
}

ModelObject::~ModelObject() {
  // A stopped executor may mean that the environment has ended: nothing of it is touched then.
  if (executor_ == nullptr || executor_->closing()) return;
  Environment::of(Env()).abandon(executor_, [state = state_](const Job&) {
    state->backend.reset();
    state->adapters.reset();
  });
}

Napi::Value ModelObject::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Environment::of(info.Env()).start(executor_, [state = state_](const Job&) {
      state->backend =
          state->spec.cuda.has_value() ? make_cuda_backend(state->spec) : make_cpu_backend(state->spec);
      state->adapters = make_adapters(state->spec, state->adapter_idx);
    });
  });
}

Backend& ModelObject::backend() const {
  if (state_->backend == nullptr) fail_contract("model", "a loaded model");
  return *state_->backend;
}

Napi::Value ModelObject::facts(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const BackendFacts& known = backend().facts();
    Napi::Object facts = Napi::Object::New(info.Env());
    facts["backend"] = known.device.has_value() ? "cuda" : "cpu";
    facts["isa"] = known.isa;
    facts["precision"] = known.precision;
    facts["threads"] = executor_->num_threads();
    const int64_t adapter_bytes = state_->adapters == nullptr ? 0 : state_->adapters->bytes();
    facts["weightBytes"] = static_cast<double>(known.weight_bytes + adapter_bytes);
    facts["numLabels"] = static_cast<double>(known.num_labels);
    facts["hasPooler"] = known.has_pooler;
    if (known.device.has_value()) facts["device"] = device_value(info.Env(), *known.device);
    return facts;
  });
}

Napi::Value ModelObject::arena_bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), static_cast<double>(backend().arena_bytes())); });
}

Napi::Value ModelObject::forward(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    backend();
    const Napi::Object spec = to_object(info[0], "spec");
    const auto request = std::make_shared<ForwardRequest>();
    request->batch.ids = to_packed_ids(spec);
    request->batch.structure_idx = to_int32s(spec["structureIdx"], "structureIdx");
    request->structures = to_own_structures(spec, state_->spec.config);
    request->options.output = to_output(to_string(spec["output"], "output"));
    request->options.pooling = to_pooling(spec["pooling"]);
    request->options.normalize = to_bool(spec["normalize"], "normalize");
    request->out = to_float_output(spec["out"], "out");
    const auto work = [state = state_, request](const Job& job) {
      const Batch batch = request->batch.view();
      const auto& own = request->structures;
      const size_t num_structures = own.empty() ? state->spec.structures.size() : own.size();
      validate(batch, state->spec.config, static_cast<int64_t>(num_structures));
      request->options.aborted = &job.aborted;
      if (state->backend->output_floats(batch, request->options.output) != request->out.size) {
        fail_contract("out", "an array as long as the output");
      }
      // The caller's own structures are no levels and have no adapters.
      const bool is_adapted =
          state->adapters != nullptr && own.empty() && request->options.output == Output::kPooled;
      ForwardOptions options = request->options;
      // Also where no sequence has an adapter: the same bits in any batch.
      if (is_adapted) options.normalize = false;
      state->backend->forward(batch, own, options, job, request->out.data);
      if (is_adapted) {
        state->adapters->apply(batch.structure_idx, request->options.normalize, request->out.data);
      }
    };
    return Environment::of(info.Env()).start(executor_, work, spec["out"]);
  });
}

Napi::Value ModelObject::plan(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object spec = to_object(info[0], "spec");
    const std::vector<Structure> own = to_own_structures(spec, state_->spec.config);
    const size_t num_structures = own.empty() ? state_->spec.structures.size() : own.size();
    OwnedBatch batch;
    batch.ids.cu_seqlens = to_int32s(spec["cuSeqlens"], "cuSeqlens");
    batch.structure_idx = to_int32s(spec["structureIdx"], "structureIdx");
    validate_shape(batch, state_->spec.config, static_cast<int64_t>(num_structures));
    const BatchShape shape{batch.ids.cu_seqlens, batch.structure_idx};
    return Napi::String::New(info.Env(), backend().plan_text(shape, own));
  });
}

Napi::Value ModelObject::calibrate(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    backend();
    const auto batch = std::make_shared<OwnedBatch>();
    batch->ids = to_packed_ids(to_object(info[0], "batch"));
    batch->structure_idx.resize(batch->ids.cu_seqlens.empty() ? 0 : batch->ids.cu_seqlens.size() - 1);
    const OutputArray<double> heads = to_double_output(info[1], "heads");
    const OutputArray<double> neurons = to_double_output(info[2], "neurons");
    const auto work = [state = state_, batch, heads, neurons](const Job& job) {
      validate(batch->view(), state->spec.config, 1);
      ActivationSums sums;
      state->backend->accumulate_activations(batch->view(), job, sums);
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
      state->backend.reset();
      state->adapters.reset();
    });
  });
}

}  // namespace elasticlm
