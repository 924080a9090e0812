#include "train/session.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "core/status.h"
#include "exec/encoder.h"
#include "train/batch_part.h"
#include "train/state_file.h"

namespace elasticlm {
namespace {

HeadShapes joined_heads(const HeadShapes& wanted, const HeadShapes& stored) {
  return {.pooler = wanted.pooler || stored.pooler,
          .num_labels = wanted.num_labels > 0 ? wanted.num_labels : stored.num_labels,
          .relation = wanted.relation,
          .mlm = wanted.mlm || stored.mlm,
          .num_adapters = wanted.num_adapters};
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

void validate_adapters(const SessionSpec& spec, int64_t num_adapters) {
  const auto size = static_cast<int64_t>(spec.adapter_idx.size());
  bool is_right = size == 0 || size == std::ssize(spec.structures);
  for (const int32_t idx : spec.adapter_idx) is_right = is_right && idx >= -1 && idx < num_adapters;
  if (is_right) return;
  fail(ErrorCode::kStructureInvalid,
       {.expected = "-1 or one of " + std::to_string(num_adapters) + " adapters for each SubLM",
        .subject = "adapter_idx",
        .received = std::to_string(size) + " numbers",
        .remedy = ""});
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
    read_parameters(checkpoint, nullptr, spec.seed, parameters);
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
  const std::vector<int32_t> adapter_idx;
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
        adapter_idx(spec.adapter_idx.empty() ? std::vector<int32_t>(structures.size(), -1)
                                             : spec.adapter_idx),
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
    if (args.num_sequences.empty()) return;
    if (args.num_sequences.size() != args.structure_idx.size()) {
      refuse_step("num_sequences", std::to_string(args.structure_idx.size()) + ", one for each SubLM",
                  std::to_string(args.num_sequences.size()));
    }
    const int64_t all = args.batch.num_sequences();
    for (const int32_t count : args.num_sequences) {
      if (count < 1 || count > all) {
        refuse_step("num_sequences", "1 to the batch's " + std::to_string(all), std::to_string(count));
      }
      if (count < all && args.objective.has_groups()) {
        refuse_step("num_sequences", "all " + std::to_string(all) + ", which pairs and lists need",
                    std::to_string(count));
      }
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

  // What the SubLMs of one pass see.
  struct Seen {
    const TokenBatch& batch;
    const Objective& objective;
    const TeacherOutputs* teacher;  // where the objective needs one
  };
  // Those of a step that it takes.
  struct Range {
    int64_t begin;
    int64_t end;
  };

  // Forward, losses and backward of some SubLMs in one pass, their losses appended.
  void run_pass(const StepArgs& args, const Seen& seen, Range range, std::vector<Losses>& losses,
                const TrainThreads& threads) {
    std::vector<Structure> chosen;
    for (int64_t i = range.begin; i < range.end; ++i) chosen.push_back(structures[structure_of(args, i)]);
    pass.forward(seen.batch, chosen, threads);
    float* const gradient = make_d_hidden();
    for (int64_t i = range.begin; i < range.end; ++i) {
      const int64_t sub = i - range.begin;
      losses.push_back(evaluate({.objective = seen.objective,
                                 .batch = seen.batch,
                                 .hidden = pass.hidden(sub),
                                 .teacher = seen.teacher,
                                 .parameters = parameters,
                                 .adapter_idx = adapter_idx[structure_of(args, i)],
                                 .weight = args.weights[static_cast<size_t>(i)],
                                 .d_hidden = gradient + sub * seen.batch.num_tokens() * config.hidden_size,
                                 .gradients = gradients,
                                 .isa = weights.isa()},
                                threads));
    }
    pass.backward(gradient, gradients, nullptr, threads);
  }

  static size_t structure_of(const StepArgs& args, int64_t i) {
    return static_cast<size_t>(args.structure_idx[static_cast<size_t>(i)]);
  }
  // What SubLM i of a step sees.
  static int64_t num_sequences_of(const StepArgs& args, int64_t i) {
    return args.num_sequences.empty() ? args.batch.num_sequences()
                                      : args.num_sequences[static_cast<size_t>(i)];
  }

  std::vector<Losses> run_step(const StepArgs& args, const TrainThreads& threads) {
    if (args.num_sequences.empty()) return run_passes(args, threads);
    // What no SubLM sees the teacher need not read.
    const int32_t most = *std::max_element(args.num_sequences.begin(), args.num_sequences.end());
    if (most == args.batch.num_sequences()) return run_passes(args, threads);
    const BatchPart part = first_sequences(args.batch, args.objective, nullptr, most);
    return run_passes(
        {part.batch, part.objective, args.structure_idx, args.weights, args.mode, args.num_sequences},
        threads);
  }

  std::vector<Losses> run_passes(const StepArgs& args, const TrainThreads& threads) {
    const std::optional<TeacherOutputs> targets = ask_teacher(args.batch, args.objective, threads);
    std::vector<Losses> losses;
    const TeacherOutputs* const compared = targets.has_value() ? &*targets : nullptr;
    const int64_t count = std::ssize(args.structure_idx);
    for (int64_t begin = 0; begin < count;) {
      const int64_t num_sequences = num_sequences_of(args, begin);
      int64_t end = begin + 1;
      if (args.mode == StepMode::kMixed) {
        while (end < count && num_sequences_of(args, end) == num_sequences) ++end;
      }
      if (num_sequences == args.batch.num_sequences()) {
        run_pass(args, {args.batch, args.objective, compared}, {begin, end}, losses, threads);
      } else {
        const BatchPart part = first_sequences(args.batch, args.objective, compared, num_sequences);
        run_pass(args, {part.batch, part.objective, &part.teacher}, {begin, end}, losses, threads);
      }
      begin = end;
    }
    return losses;
  }
};

TrainSession::TrainSession(const SessionSpec& spec, const TrainThreads& threads) {
  validate(spec.config);
  validate_structures(spec.structures, spec.config);
  const Checkpoint checkpoint(spec.paths);
  state_ = std::make_unique<State>(spec, checkpoint);
  validate_adapters(spec, state_->layout->heads.num_adapters);
  std::optional<Checkpoint> teacher;
  if (!spec.teacher_paths.empty()) teacher.emplace(spec.teacher_paths);
  read_parameters(checkpoint, teacher.has_value() ? &*teacher : nullptr, spec.seed, state_->parameters);
  state_->weights.refresh(threads);
  if (teacher.has_value()) state_->teacher = std::make_unique<Teacher>(spec, *teacher, threads);
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
