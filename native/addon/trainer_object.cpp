#include "addon/trainer_object.h"

#include <algorithm>
#include <utility>

#include "addon/convert.h"
#include "addon/train_request.h"

namespace elasticlm {

Napi::Function TrainerObject::define(Napi::Env env) {
  return DefineClass(env, "Trainer",
                     {
                         InstanceMethod<&TrainerObject::load>("load"),
                         InstanceMethod<&TrainerObject::step>("step"),
                         InstanceMethod<&TrainerObject::mask_gradients>("maskGradients"),
                         InstanceMethod<&TrainerObject::update>("update"),
                         InstanceMethod<&TrainerObject::write_checkpoint>("writeCheckpoint"),
                         InstanceMethod<&TrainerObject::write_state>("writeState"),
                         InstanceMethod<&TrainerObject::read_state>("readState"),
                         InstanceMethod<&TrainerObject::metadata>("metadata"),
                         InstanceMethod<&TrainerObject::num_updates>("numUpdates"),
                         InstanceMethod<&TrainerObject::bytes>("bytes"),
                         InstanceMethod<&TrainerObject::close>("close"),
                     });
}

TrainerObject::TrainerObject(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  guarded(info.Env(), [&] {
    const Napi::Object spec = to_object(info[0], "spec");
    auto state = std::make_shared<State>();
    state->spec = to_session_spec(spec);
    const int num_threads = static_cast<int>(to_count(spec["threads"], "threads"));
    executor_ = Environment::of(info.Env()).create_executor(num_threads, Concurrency::kOneAtATime);
    state_ = std::move(state);
  });
}

TrainerObject::~TrainerObject() {
  // A stopped executor may mean that the environment has ended: nothing of it is touched then.
  if (executor_ == nullptr || executor_->closing()) return;
  Environment::of(Env()).abandon(executor_, [state = state_](const Job&) { state->session.reset(); });
}

void TrainerObject::publish(State& state) {
  const std::lock_guard lock(state.mutex);
  state.facts.num_updates = state.session->num_updates();
  state.facts.bytes = state.session->bytes();
}

TrainerObject::Facts TrainerObject::facts() const {
  const std::lock_guard lock(state_->mutex);
  return state_->facts;
}

Napi::Value TrainerObject::load(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Environment::of(info.Env()).start(executor_, [state = state_](const Job& job) {
      state->session = std::make_unique<TrainSession>(state->spec, TrainThreads{job.pool, job.worker_idx});
      publish(*state);
    });
  });
}

Napi::Value TrainerObject::start(Napi::Env env, Act act, Napi::Value outputs) {
  const auto work = [state = state_, act = std::move(act)](const Job& job) {
    if (state->session == nullptr) fail_contract("trainer", "a loaded trainer");
    act(*state->session, {job.pool, job.worker_idx, &job.aborted});
    publish(*state);
  };
  return Environment::of(env).start(executor_, work, outputs);
}

Napi::Value TrainerObject::step(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const Napi::Object spec = to_object(info[0], "spec");
    const auto request = std::make_shared<const StepRequest>(spec);
    const auto act = [request](TrainSession& session, const TrainThreads& threads) {
      const TokenBatch batch = request->data.batch();
      const StepArgs args{.batch = batch,
                          .objective = request->data.objective(),
                          .structure_idx = request->structure_idx,
                          .weights = request->weights,
                          .mode = request->mode,
                          .num_sequences = request->num_sequences};
      copy_losses(session.step(args, threads), request->losses.data);
    };
    return start(info.Env(), act, spec["losses"]);
  });
}

Napi::Value TrainerObject::mask_gradients(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto request = std::make_shared<const TrainRequest>(to_object(info[0], "spec"));
    const OutputArray<double> heads = to_double_output(info[1], "heads");
    const OutputArray<double> neurons = to_double_output(info[2], "neurons");
    const auto act = [request, heads, neurons](TrainSession& session, const TrainThreads& threads) {
      const MaskGradients masks = session.mask_gradients(request->batch(), request->objective(), threads);
      if (std::ssize(masks.heads) != heads.size || std::ssize(masks.neurons) != neurons.size) {
        fail_contract("heads and neurons", "[L * H] and [L * F] numbers");
      }
      std::copy(masks.heads.begin(), masks.heads.end(), heads.data);
      std::copy(masks.neurons.begin(), masks.neurons.end(), neurons.data);
    };
    Napi::Array outputs = Napi::Array::New(info.Env(), 2);
    outputs[0u] = info[1];
    outputs[1u] = info[2];
    return start(info.Env(), act, outputs);
  });
}

Napi::Value TrainerObject::update(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const AdamWOptions options = to_adamw_options(to_object(info[0], "spec"));
    const OutputArray<double> norm = to_double_output(info[1], "norm");
    if (norm.size != 1) fail_contract("norm", "one number");
    const auto act = [options, norm](TrainSession& session, const TrainThreads& threads) {
      // Half an update would be none: it runs to its end, a few milliseconds.
      *norm.data = session.update(options, {threads.pool, threads.worker_idx});
    };
    return start(info.Env(), act, info[1]);
  });
}

Napi::Value TrainerObject::write_checkpoint(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto act = [path = to_string(info[0], "path"), dtype = to_stored_dtype(info[1])](
                         TrainSession& session, const TrainThreads&) {
      session.write_checkpoint(dtype, path);
    };
    return start(info.Env(), act);
  });
}

Napi::Value TrainerObject::write_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto act = [path = to_string(info[0], "path"), metadata = to_string(info[1], "metadata")](
                         TrainSession& session, const TrainThreads&) { session.write_state(metadata, path); };
    return start(info.Env(), act);
  });
}

Napi::Value TrainerObject::read_state(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const auto act = [state = state_, path = to_string(info[0], "path")](TrainSession& session,
                                                                         const TrainThreads& threads) {
      std::string metadata = session.read_state(path, {threads.pool, threads.worker_idx});
      const std::lock_guard lock(state->mutex);
      state->facts.metadata = std::move(metadata);
    };
    return start(info.Env(), act);
  });
}

Napi::Value TrainerObject::metadata(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] { return Napi::String::New(info.Env(), facts().metadata); });
}

Napi::Value TrainerObject::num_updates(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), static_cast<double>(facts().num_updates)); });
}

Napi::Value TrainerObject::bytes(const Napi::CallbackInfo& info) {
  return guarded(info.Env(),
                 [&] { return Napi::Number::New(info.Env(), static_cast<double>(facts().bytes)); });
}

Napi::Value TrainerObject::close(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    return Environment::of(info.Env()).close(executor_, [state = state_](const Job&) {
      state->session.reset();
    });
  });
}

}  // namespace elasticlm
