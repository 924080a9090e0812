#include "train/session.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "core/status.h"
#include "exec/encoder.h"
#include "train/state_file.h"

namespace elasticlm {
namespace {

HeadShapes joined_heads(const HeadShapes& wanted, const HeadShapes& stored) {
  return {.pooler = wanted.pooler || stored.pooler,
          .num_labels = wanted.num_labels > 0 ? wanted.num_labels : stored.num_labels,
          .relation = wanted.relation,
          .mlm = wanted.mlm || stored.mlm};
}

bool is_prefix(const Structure& structure) {
  for (const LayerStructure& layer : structure.layers) {
    if (!layer.heads.empty() || !layer.neuron_blocks.empty()) return false;
  }
  return true;
}

bool contains(const Structure& larger, const Structure& smaller) {
  for (size_t l = 0; l < larger.layers.size(); ++l) {
    if (smaller.layers[l].num_heads > larger.layers[l].num_heads ||
        smaller.layers[l].num_neurons > larger.layers[l].num_neurons) {
      return false;
    }
  }
  return true;
}

void validate_structures(std::span<const Structure> structures, const EncoderConfig& config) {
  for (size_t i = 0; i < structures.size(); ++i) {
    validate(structures[i], config);
    const bool is_nested = i == 0 || contains(structures[i - 1], structures[i]);
    if (is_nested && is_prefix(structures[i])) continue;
    fail(ErrorCode::kStructureInvalid,
         {.expected = "prefixes of each layer, by falling size",
          .subject = "SubLM " + std::to_string(i) + " of the training",
          .received = is_nested ? "lists of heads or neurons" : "more than the one before it in some layer",
          .remedy = "Train the levels of an elastic checkpoint"});
  }
}

[[noreturn]] void refuse_step(const std::string& subject, const std::string& expected,
                              const std::string& received) {
  fail(ErrorCode::kBatchInvalid,
       {.expected = expected, .subject = subject, .received = received, .remedy = ""});
}

// A frozen model of the student's configuration.
struct Teacher {
  ParameterSet parameters;
  TrainWeights weights;
  // Its backward never runs: only the layer at hand is kept.
  EncoderPass pass;

  Teacher(const SessionSpec& spec, const Checkpoint& checkpoint, const TrainThreads& threads)
      : parameters(std::make_shared<ParameterLayout>(spec.config, heads_of(spec.config, checkpoint))),
        weights(parameters, spec.precision, spec.isa),
        pass(weights, Saving::kRecompute) {
    read_parameters(checkpoint, spec.seed, parameters);
    weights.refresh(threads);
  }
};

std::shared_ptr<const ParameterLayout> student_layout(const SessionSpec& spec, const Checkpoint& checkpoint) {
  const HeadShapes stored = heads_of(spec.config, checkpoint);
  return std::make_shared<ParameterLayout>(spec.config, joined_heads(spec.heads, stored));
}

}  // namespace

struct TrainSession::State {
  const EncoderConfig config;
  const std::vector<Structure> structures;
  const std::vector<Structure> full;  // the one full structure
  const std::shared_ptr<const ParameterLayout> layout;
  ParameterSet parameters;
  ParameterSet gradients;
  Moments moments;
  TrainWeights weights;
  EncoderPass pass;
  std::unique_ptr<Teacher> teacher;                 // where there is one
  std::unique_ptr<ParameterSet> ignored_gradients;  // of mask_gradients, since its first call
  std::vector<float> d_hidden;                      // [num_rows, E] of the pass at hand

  State(const SessionSpec& spec, const Checkpoint& checkpoint)
      : config(spec.config),
        structures(spec.structures),
        full{Structure::full(spec.config)},
        layout(student_layout(spec, checkpoint)),
        parameters(layout),
        gradients(layout),
        moments{ParameterSet(layout), ParameterSet(layout), 0},
        weights(parameters, spec.precision, spec.isa),
        pass(weights, spec.saving) {}

  void check_batch(const TokenBatch& batch, const Objective& objective) const {
    const std::vector<int32_t> structure_idx(
        static_cast<size_t>(std::max<int64_t>(batch.num_sequences(), 0)));
    validate(Batch{batch.input_ids, batch.token_type_ids, batch.cu_seqlens, structure_idx}, config, 1);
    if (batch.num_sequences() < 1) refuse_step("the micro-batch", "at least one sequence", "none");
    validate(objective, batch, *layout);
    if (!objective.needs_teacher() || teacher != nullptr) return;
    fail(ErrorCode::kConfigInvalid, {.expected = "a teacher",
                                     .subject = "an objective that compares with one",
                                     .received = "a training without a teacher",
                                     .remedy = "Give the teacher's checkpoint"});
  }

  void check_step(const StepArgs& args) const {
    check_batch(args.batch, args.objective);
    if (args.structure_idx.empty()) refuse_step("structure_idx", "at least one SubLM", "none");
    if (args.weights.size() != args.structure_idx.size()) {
      refuse_step("weights", std::to_string(args.structure_idx.size()) + ", one for each SubLM",
                  std::to_string(args.weights.size()));
    }
    int64_t previous = -1;
    for (const int32_t idx : args.structure_idx) {
      if (idx <= previous || idx >= std::ssize(structures)) {
        refuse_step("structure_idx", "rising positions below " + std::to_string(structures.size()),
                    std::to_string(idx));
      }
      previous = idx;
    }
    for (const double weight : args.weights) {
      if (!std::isfinite(weight)) refuse_step("weights", "finite numbers", std::to_string(weight));
    }
  }

  std::optional<TeacherOutputs> ask_teacher(const TokenBatch& batch, const Objective& objective,
                                            const TrainThreads& threads) {
    if (!objective.needs_teacher()) return std::nullopt;
    teacher->pass.forward(batch, full, threads);
    const TeacherPass seen{.hidden = teacher->pass.hidden(0),
                           .last_qkv = teacher->pass.last_qkv(),
                           .last_qkv_ld = teacher->pass.last_qkv_ld(),
                           .isa = weights.isa()};
    return teacher_outputs(objective, batch, seen, teacher->parameters, threads);
  }

  // Memory for the gradient of all hidden states of the pass that has just run forward.
  float* make_d_hidden() {
    d_hidden.resize(static_cast<size_t>(pass.num_rows() * config.hidden_size));
    return d_hidden.data();
  }

  // Forward, losses and backward of some SubLMs in one pass, their losses appended.
  void run_pass(const StepArgs& args, std::span<const int32_t> idx, const TeacherOutputs* targets,
                std::vector<Losses>& losses, const TrainThreads& threads) {
    std::vector<Structure> chosen;
    for (const int32_t i : idx) chosen.push_back(structures[static_cast<size_t>(i)]);
    pass.forward(args.batch, chosen, threads);
    float* const gradient = make_d_hidden();
    for (size_t i = 0; i < chosen.size(); ++i) {
      const int64_t sub = static_cast<int64_t>(i);
      const double weight = args.weights[losses.size()];
      losses.push_back(evaluate({.objective = args.objective,
                                 .batch = args.batch,
                                 .hidden = pass.hidden(sub),
                                 .teacher = targets,
                                 .parameters = parameters,
                                 .weight = weight,
                                 .d_hidden = gradient + sub * args.batch.num_tokens() * config.hidden_size,
                                 .gradients = gradients,
                                 .isa = weights.isa()},
                                threads));
    }
    pass.backward(gradient, gradients, nullptr, threads);
  }

  std::vector<Losses> run_step(const StepArgs& args, const TrainThreads& threads) {
    const std::optional<TeacherOutputs> targets = ask_teacher(args.batch, args.objective, threads);
    const TeacherOutputs* const compared = targets.has_value() ? &*targets : nullptr;
    std::vector<Losses> losses;
    const size_t per_pass = args.mode == StepMode::kMixed ? args.structure_idx.size() : 1;
    for (size_t i = 0; i < args.structure_idx.size(); i += per_pass) {
      run_pass(args, args.structure_idx.subspan(i, per_pass), compared, losses, threads);
    }
    return losses;
  }
};

TrainSession::TrainSession(const SessionSpec& spec, const TrainThreads& threads) {
  validate(spec.config);
  validate_structures(spec.structures, spec.config);
  const Checkpoint checkpoint(spec.paths);
  state_ = std::make_unique<State>(spec, checkpoint);
  read_parameters(checkpoint, spec.seed, state_->parameters);
  state_->weights.refresh(threads);
  if (!spec.teacher_paths.empty()) {
    state_->teacher = std::make_unique<Teacher>(spec, Checkpoint(spec.teacher_paths), threads);
  }
}

TrainSession::~TrainSession() = default;

std::vector<Losses> TrainSession::step(const StepArgs& args, const TrainThreads& threads) {
  state_->check_step(args);
  try {
    return state_->run_step(args, threads);
  } catch (...) {
    // Half of a micro-batch is no gradient of anything.
    state_->gradients.clear();
    throw;
  }
}

MaskGradients TrainSession::mask_gradients(const TokenBatch& batch, const Objective& objective,
                                           const TrainThreads& threads) {
  State& state = *state_;
  state.check_batch(batch, objective);
  const std::optional<TeacherOutputs> targets = state.ask_teacher(batch, objective, threads);
  if (state.ignored_gradients == nullptr) {
    state.ignored_gradients = std::make_unique<ParameterSet>(state.layout);
  }
  state.pass.forward(batch, state.full, threads);
  float* const gradient = state.make_d_hidden();
  evaluate({.objective = objective,
            .batch = batch,
            .hidden = state.pass.hidden(0),
            .teacher = targets.has_value() ? &*targets : nullptr,
            .parameters = state.parameters,
            .weight = 1,
            .d_hidden = gradient,
            .gradients = *state.ignored_gradients,
            .isa = state.weights.isa()},
           threads);
  MaskGradients masks;
  state.pass.backward(gradient, *state.ignored_gradients, &masks, threads);
  return masks;
}

double TrainSession::update(const AdamWOptions& options, const TrainThreads& threads) {
  const double norm = adamw_update(options, state_->parameters, state_->gradients, state_->moments, threads);
  if (std::isfinite(norm)) state_->weights.refresh(threads);
  return norm;
}

const ParameterSet& TrainSession::parameters() const { return state_->parameters; }
const ParameterSet& TrainSession::gradients() const { return state_->gradients; }
int64_t TrainSession::num_updates() const { return state_->moments.step; }

int64_t TrainSession::bytes() const {
  const State& state = *state_;
  const int64_t set_bytes = state.layout->num_floats * static_cast<int64_t>(sizeof(float));
  const int64_t num_sets = state.ignored_gradients == nullptr ? 4 : 5;
  int64_t bytes = num_sets * set_bytes + state.weights.bytes() + state.pass.arena_bytes() +
                  std::ssize(state.d_hidden) * static_cast<int64_t>(sizeof(float));
  if (state.teacher != nullptr) {
    const Teacher& teacher = *state.teacher;
    bytes += teacher.parameters.layout().num_floats * static_cast<int64_t>(sizeof(float)) +
             teacher.weights.bytes() + teacher.pass.arena_bytes();
  }
  return bytes;
}

void TrainSession::write_checkpoint(StoredDtype dtype, const std::string& path) const {
  write_parameters(state_->parameters, dtype, path);
}

void TrainSession::write_state(const std::string& metadata, const std::string& path) const {
  write_state_file({state_->parameters, state_->moments}, metadata, path);
}

std::string TrainSession::read_state(const std::string& path, const TrainThreads& threads) {
  std::string metadata = read_state_file(path, {state_->parameters, state_->moments});
  state_->gradients.clear();
  state_->weights.refresh(threads);
  return metadata;
}

}  // namespace elasticlm
