#include "train/session.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>
#include <random>

#include "test/check.h"
#include "test/checkpoint_files.h"
#include "test/encoder_fixture.h"
#include "test/isas.h"
#include "test/reference_gradients.h"

namespace elasticlm::test {
namespace {

EncoderConfig tiny_config() {
  EncoderConfig config = small_config();
  config.num_heads = 4;
  config.hidden_size = 32;
  config.intermediate_size = 40;
  return config;
}

// A checkpoint that looks trained.
std::string write_checkpoint(const TemporaryFolder& folder, const EncoderConfig& config, uint64_t seed) {
  ParameterSet parameters(std::make_shared<ParameterLayout>(config, HeadShapes{.pooler = true}));
  fill_randomly(seed, parameters);
  const std::string path = folder.path("model-" + std::to_string(seed) + ".safetensors");
  write_parameters(parameters, StoredDtype::kF32, path);
  return path;
}

Structure prefix(const EncoderConfig& config, int64_t num_heads, int64_t num_neurons) {
  Structure structure = Structure::full(config);
  for (LayerStructure& layer : structure.layers) {
    layer.num_heads = num_heads;
    layer.num_neurons = num_neurons;
  }
  return structure;
}

SessionSpec spec_of(const TemporaryFolder& folder) {
  SessionSpec spec;
  spec.config = tiny_config();
  spec.paths = {write_checkpoint(folder, spec.config, 1)};
  spec.teacher_paths = {write_checkpoint(folder, spec.config, 2)};
  spec.structures = {prefix(spec.config, 4, 40), prefix(spec.config, 2, 17), prefix(spec.config, 1, 0)};
  return spec;
}

OwnedBatch batch_of(const EncoderConfig& config, uint64_t seed) {
  Random random(seed);
  OwnedBatch owned;
  for (const int64_t length : {3, 7, 1, 5}) owned.add(random_sequence(random, config, length, 1));
  return owned;
}

TokenBatch view(const OwnedBatch& owned) { return {owned.input_ids, owned.token_type_ids, owned.cu_seqlens}; }

Objective embedding_objective() {
  Objective objective;
  objective.embedding.cosine_weight = 1;
  objective.embedding.similarity_weight = 0.5;
  return objective;
}

constexpr int32_t kAll[] = {0, 1, 2};
constexpr double kWeights[] = {0.5, 0.25, 0.25};

// A session and the threads that it runs on.
class Training {
 public:
  explicit Training(const SessionSpec& spec, int num_threads = 2)
      : pool_(num_threads), config_(spec.config), objective_(embedding_objective()) {
    run([&](const TrainThreads& threads) { session_.emplace(spec, threads); });
  }

  TrainSession& session() { return *session_; }
  Objective& objective() { return objective_; }

  std::vector<Losses> step(uint64_t seed, StepMode mode = StepMode::kTraverse,
                           const std::atomic<bool>* aborted = nullptr) {
    const OwnedBatch owned = batch_of(config_, seed);
    return step(view(owned), mode, aborted);
  }
  std::vector<Losses> step(const TokenBatch& batch, StepMode mode, const std::atomic<bool>* aborted) {
    std::vector<Losses> losses;
    const StepArgs args{batch, objective_, kAll, kWeights, mode};
    run([&](const TrainThreads& threads) { losses = session_->step(args, threads); }, aborted);
    return losses;
  }
  double update(double learning_rate = 1e-2) {
    double norm = 0;
    run([&](const TrainThreads& threads) {
      norm = session_->update({.learning_rate = learning_rate}, threads);
    });
    return norm;
  }
  std::string read_state(const std::string& path) {
    std::string metadata;
    run([&](const TrainThreads& threads) { metadata = session_->read_state(path, threads); });
    return metadata;
  }
  void run(const std::function<void(const TrainThreads&)>& body, const std::atomic<bool>* aborted = nullptr) {
    run_job(pool_, body, aborted);
  }

 private:
  ThreadPool pool_;
  const EncoderConfig config_;
  Objective objective_;
  std::optional<TrainSession> session_;
};

std::vector<float> copy(std::span<const float> values) { return {values.begin(), values.end()}; }

bool all_zero(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return value == 0.0f; });
}

// Two ways to the same gradient. Each is within 1e-5 of the truth, with a floor for what vanishes by
// cancellation (encoder_pass_test): together twice that.
void check_gradients(const ParameterLayout& layout, std::span<const float> actual,
                     std::span<const float> expected, const std::string& what) {
  double all_squares = 0;
  for (const float value : expected) all_squares += static_cast<double>(value) * value;
  for (const ParameterSlot* const slot : layout.slots()) {
    double squares = 0;
    double distance = 0;
    for (int64_t i = slot->offset; i < slot->offset + slot->size(); ++i) {
      const double value = expected[static_cast<size_t>(i)];
      squares += value * value;
      distance += std::pow(actual[static_cast<size_t>(i)] - value, 2);
    }
    const double tolerance = 2e-5 * std::sqrt(squares) + 2e-8 * std::sqrt(all_squares);
    CHECK(std::sqrt(distance) <= tolerance, what + ", " + slot->name + ": distance " +
                                                std::to_string(std::sqrt(distance)) + ", tolerance " +
                                                std::to_string(tolerance));
  }
}

TEST_CASE("the mixed pass has the traverse's losses and gradients on every instruction set") {
  const TemporaryFolder folder;
  SessionSpec spec = spec_of(folder);
  for (const Isa isa : supported_isas(Precision::kF32)) {
    spec.isa = isa;
    Training traverse(spec);
    Training mixed(spec);
    const std::vector<Losses> expected = traverse.step(5, StepMode::kTraverse);
    const std::vector<Losses> actual = mixed.step(5, StepMode::kMixed);
    CHECK(expected.size() == 3 && actual.size() == 3, "one record for each SubLM");
    for (size_t i = 0; i < expected.size(); ++i) {
      // A row's bits do not depend on the rows beside it.
      CHECK(actual[i].total == expected[i].total, "loss of SubLM " + std::to_string(i));
      CHECK(actual[i].total > 0, "a student that differs from its teacher has a loss");
      CHECK(actual[i].total == actual[i].embedding, "the one term is the whole objective");
    }
    check_gradients(*traverse.session().gradients().shared_layout(), mixed.session().gradients().values(),
                    traverse.session().gradients().values(), name_of(isa, Precision::kF32));
  }
}

TEST_CASE("gradients of several steps add up, and an update clears them and lowers the loss") {
  const TemporaryFolder folder;
  Training training(spec_of(folder));
  const double before = training.step(5)[0].total;
  std::vector<float> twice = copy(training.session().gradients().values());
  for (float& value : twice) value *= 2;
  training.step(5);
  check_gradients(training.session().parameters().layout(), training.session().gradients().values(), twice,
                  "the same step twice");
  CHECK(training.session().num_updates() == 0, "no update yet");
  double loss = before;
  for (int i = 0; i < 20; ++i) {
    CHECK(training.update() > 0, "a gradient");
    CHECK(all_zero(training.session().gradients().values()), "an update leaves gradients of 0");
    loss = training.step(5)[0].total;
  }
  CHECK(training.session().num_updates() == 20, "twenty updates");
  CHECK(loss < 0.5 * before, "loss " + std::to_string(before) + " to " + std::to_string(loss));
  CHECK(training.session().bytes() > 4 * training.session().parameters().layout().num_floats * 4,
        "bytes of more than parameters, gradients and moments");
}

// A step of some SubLMs over the first `num_sequences` of batch 5 each.
struct PartialStep {
  std::vector<int32_t> structure_idx;
  std::vector<double> weights;
  std::vector<int32_t> num_sequences;  // empty: all
};
std::vector<Losses> run_partial(Training& training, const TokenBatch& batch, const PartialStep& step,
                                StepMode mode) {
  std::vector<Losses> losses;
  training.run([&](const TrainThreads& threads) {
    losses = training.session().step({.batch = batch,
                                      .objective = training.objective(),
                                      .structure_idx = step.structure_idx,
                                      .weights = step.weights,
                                      .mode = mode,
                                      .num_sequences = step.num_sequences},
                                     threads);
  });
  return losses;
}

TEST_CASE("SubLMs that see a part of the batch learn as from that part alone, each with its adapter") {
  const TemporaryFolder folder;
  SessionSpec spec = spec_of(folder);
  spec.heads.num_adapters = 2;
  spec.adapter_idx = {-1, 0, 1};
  const OwnedBatch owned = batch_of(spec.config, 5);
  const TokenBatch whole = view(owned);
  // Parts of 1, 3 and 3 of the 4 sequences: the last two share a pass when mixed.
  const PartialStep partial{{0, 1, 2}, {0.5, 0.25, 0.25}, {1, 3, 3}};
  for (const StepMode mode : {StepMode::kTraverse, StepMode::kMixed}) {
    Training together(spec);
    Training apart(spec);
    const std::vector<Losses> actual = run_partial(together, whole, partial, mode);
    for (size_t i = 0; i < 3; ++i) {
      const auto count = static_cast<size_t>(partial.num_sequences[i]);
      const auto num_tokens = static_cast<size_t>(owned.cu_seqlens[count]);
      const TokenBatch part{whole.input_ids.first(num_tokens), whole.token_type_ids.first(num_tokens),
                            whole.cu_seqlens.first(count + 1)};
      const PartialStep alone{{partial.structure_idx[i]}, {partial.weights[i]}, {}};
      const std::vector<Losses> expected = run_partial(apart, part, alone, mode);
      CHECK(actual[i].total == expected[0].total, "loss of SubLM " + std::to_string(i));
    }
    check_gradients(together.session().parameters().layout(), together.session().gradients().values(),
                    apart.session().gradients().values(), "parts of a batch");
    const HeadSlots& head = together.session().parameters().layout().head;
    for (const AdapterSlots& adapter : head.adapters) {
      const float* const gradient = together.session().gradients().at(adapter.weight);
      CHECK(
          std::any_of(gradient, gradient + adapter.weight.size(), [](float value) { return value != 0.0f; }),
          "each adapter has a gradient");
    }
  }
}

TEST_CASE("neither threads nor a state written and read between change a bit") {
  const TemporaryFolder folder;
  for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
    for (const StepMode mode : {StepMode::kTraverse, StepMode::kMixed}) {
      SessionSpec spec = spec_of(folder);
      spec.isa = supported_isas(precision).back();
      spec.precision = precision;
      Training whole(spec, 1);
      for (uint64_t i = 0; i < 6; ++i) {
        whole.step(i, mode);
        whole.update();
      }
      const std::string state = folder.path("state.safetensors");
      const std::string words = "where it stands: \"quoted\" \\ \n \xc3\xa9";
      {
        Training first(spec, 3);
        for (uint64_t i = 0; i < 3; ++i) {
          first.step(i, mode);
          first.update();
        }
        first.session().write_state(words, state);
      }
      Training second(spec, 2);
      second.step(99, mode);  // what was there is gone
      CHECK(second.read_state(state) == words, "the caller's words");
      CHECK(second.session().num_updates() == 3, "updates of the state");
      for (uint64_t i = 3; i < 6; ++i) {
        second.step(i, mode);
        second.update();
      }
      check_same_bits(second.session().parameters().values(), whole.session().parameters().values(),
                      "parameters after a resume");
    }
  }
}

TEST_CASE("an aborted step leaves gradients of 0, and the next one is whole") {
  const TemporaryFolder folder;
  Training training(spec_of(folder));
  training.step(5);
  const std::vector<float> expected = copy(training.session().gradients().values());
  const std::atomic<bool> aborted{true};
  for (const StepMode mode : {StepMode::kTraverse, StepMode::kMixed}) {
    check_throws("an aborted step", ErrorCode::kCallAborted, "abort",
                 [&] { training.step(5, mode, &aborted); });
    CHECK(all_zero(training.session().gradients().values()), "half a micro-batch is no gradient");
  }
  training.step(5);
  check_same_bits(training.session().gradients().values(), expected, "after an abort");
}

TEST_CASE("a gradient that is not finite changes nothing") {
  const TemporaryFolder folder;
  Training training(spec_of(folder));
  training.step(1);
  training.update(1e37);  // finite, and far beyond what a forward can square
  const std::vector<float> before = copy(training.session().parameters().values());
  CHECK(!std::isfinite(training.step(2)[0].total), "the loss says so");
  CHECK(!std::isfinite(training.update()), "the norm says so");
  check_same_bits(training.session().parameters().values(), before, "parameters");
  CHECK(training.session().num_updates() == 1, "no update was counted");
}

TEST_CASE("mask gradients leave parameters and gradients alone, and are those of a loss along the mask") {
  const TemporaryFolder folder;
  Training training(spec_of(folder));
  training.step(5);
  const std::vector<float> gradients = copy(training.session().gradients().values());
  const OwnedBatch owned = batch_of(tiny_config(), 7);
  MaskGradients masks;
  for (int round = 0; round < 2; ++round) {
    training.run([&](const TrainThreads& threads) {
      const MaskGradients again =
          training.session().mask_gradients(view(owned), training.objective(), threads);
      CHECK(round == 0 || again.heads == masks.heads, "the same for the same batch");
      masks = again;
    });
  }
  const EncoderConfig config = tiny_config();
  CHECK(std::ssize(masks.heads) == config.num_layers * config.num_heads, "one number for each head");
  CHECK(std::ssize(masks.neurons) == config.num_layers * config.intermediate_size, "and for each neuron");
  for (const double value : masks.heads) CHECK(std::isfinite(value) && value != 0, "a number that tells");
  check_same_bits(training.session().gradients().values(), gradients, "gradients");
}

TEST_CASE("a step refuses what does not fit, before it has done anything") {
  const TemporaryFolder folder;
  SessionSpec spec = spec_of(folder);
  Training training(spec);
  training.step(5);
  const std::vector<float> gradients = copy(training.session().gradients().values());
  OwnedBatch owned = batch_of(spec.config, 3);
  const Objective objective = embedding_objective();
  const auto refuse = [&](const std::string& label, ErrorCode code, const std::string& wording,
                          std::vector<int32_t> idx, std::vector<double> weights) {
    const TokenBatch batch = view(owned);
    check_throws(label, code, wording, [&] {
      training.run([&](const TrainThreads& threads) {
        training.session().step({batch, objective, idx, weights}, threads);
      });
    });
  };
  refuse("no SubLM", ErrorCode::kBatchInvalid, "at least one SubLM", {}, {});
  refuse("a SubLM twice", ErrorCode::kBatchInvalid, "rising positions below 3", {1, 1}, {1, 1});
  refuse("one that is not there", ErrorCode::kBatchInvalid, "received 3", {0, 3}, {1, 1});
  refuse("a negative one", ErrorCode::kBatchInvalid, "received -1", {-1}, {1});
  refuse("too few weights", ErrorCode::kBatchInvalid, "2, one for each SubLM", {0, 1}, {1});
  refuse("a weight that is none", ErrorCode::kBatchInvalid, "finite", {0}, {NAN});
  const auto refuse_part = [&](const std::string& wording, std::vector<int32_t> num_sequences) {
    check_throws("a part of a batch", ErrorCode::kBatchInvalid, wording, [&] {
      run_partial(training, view(owned), {{0, 1}, {1, 1}, std::move(num_sequences)}, StepMode::kMixed);
    });
  };
  refuse_part("2, one for each SubLM", {1});
  refuse_part("1 to the batch's 4", {1, 0});
  refuse_part("1 to the batch's 4", {5, 1});
  training.objective().contrastive = {.weight = 1, .num_queries = 2};
  refuse_part("all 4, which pairs and lists need", {4, 2});
  training.objective().contrastive = {};
  owned.input_ids[2] = static_cast<int32_t>(spec.config.vocab_size);
  refuse("an id beyond the vocabulary", ErrorCode::kBatchInvalid, "11", {0}, {1});
  owned = OwnedBatch();
  refuse("no sequence", ErrorCode::kBatchInvalid, "at least one sequence", {0}, {1});
  check_same_bits(training.session().gradients().values(), gradients, "gradients");

  spec.teacher_paths.clear();
  check_throws("no teacher", ErrorCode::kConfigInvalid, "a teacher", [&] { Training(spec).step(1); });
  spec.adapter_idx = {-1, 0, 0};
  check_throws("an adapter that is not there", ErrorCode::kStructureInvalid, "adapters",
               [&] { Training{spec}; });
  spec.adapter_idx = {};
  spec.structures = {prefix(spec.config, 1, 1), prefix(spec.config, 2, 1)};
  check_throws("rising sizes", ErrorCode::kStructureInvalid, "SubLM 1", [&] { Training{spec}; });
}

class StateFile {
 public:
  StateFile() : training_(spec_of(folder_)) {
    training_.step(1);
    training_.update();
    path_ = folder_.path("state.safetensors");
    training_.session().write_state("words", path_);
    bytes_ = read_file(path_);
    expected_ = copy(training_.session().parameters().values());
  }

  const std::string& bytes() const { return bytes_; }
  Training& training() { return training_; }

  // Reading `bytes` must fail with one of the codes of a broken file and leave the session as it was.
  void check_refused(const std::string& label, const std::string& bytes, const std::string& wording) {
    write_file(path_, bytes);
    check_throws(label, ErrorCode::kCheckpointInvalid, wording, [&] { training_.read_state(path_); });
    check_same_bits(training_.session().parameters().values(), expected_, label + ": parameters");
    CHECK(training_.session().num_updates() == 1, label + ": updates");
  }
  bool is_accepted(const std::string& bytes) {
    write_file(path_, bytes);
    try {
      training_.read_state(path_);
      return true;
    } catch (const Error&) {
      check_same_bits(training_.session().parameters().values(), expected_, "parameters after a refusal");
      return false;
    }
  }

 private:
  TemporaryFolder folder_;
  Training training_;
  std::string path_;
  std::string bytes_;
  std::vector<float> expected_;
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  CHECK(at != std::string::npos && from.size() == to.size(), "a replacement of the same length: " + from);
  return text.replace(at, from.size(), to);
}

TEST_CASE("states that are broken or another model's are refused whole") {
  StateFile state;
  const std::string& bytes = state.bytes();
  state.check_refused("an empty file", "", "empty");
  state.check_refused("a cut file", bytes.substr(0, bytes.size() - 4), "");
  state.check_refused("half a header", bytes.substr(0, 100), "");
  state.check_refused("another format", replaced(bytes, "training-state-1", "training-state-9"), "format");
  state.check_refused("no updates", replaced(bytes, "\"num_updates\":\"1\"", "\"num_updates\":\"x\""),
                      "number of updates");
  state.check_refused("negative updates", replaced(bytes, "\"num_updates\":\"1\"", "\"num_update\":\"-1\""),
                      "num_updates");
  state.check_refused("another name",
                      replaced(bytes, "parameters.layer.0.ffn_up\"", "parameters.layer.7.ffn_up\""), "");
  state.check_refused("another dtype", replaced(bytes, "\"F32\"", "\"I32\""), "F32");

  const size_t data = bytes.size() - 4;  // the last float of the last tensor
  const auto with_float = [&](float value) {
    std::string changed = bytes;
    std::memcpy(changed.data() + data, &value, sizeof value);
    return changed;
  };
  state.check_refused("a NaN", with_float(NAN), "finite");
  state.check_refused("an infinity", with_float(INFINITY), "finite");
  state.check_refused("a negative second moment", with_float(-1.0f), "at least 0");

  const TemporaryFolder folder;
  SessionSpec other = spec_of(folder);
  other.heads.relation = true;
  Training wider(other);
  const std::string path = folder.path("other.safetensors");
  wider.session().write_state("words", path);
  state.check_refused("a model with another head", read_file(path), "tensors");
  CHECK(state.is_accepted(bytes), "the file as it was written");
}

TEST_CASE("a thousand mutated states are refused with a code or read whole") {
  StateFile state;
  std::mt19937_64 random(17);
  const size_t header_bytes = 8 + static_cast<size_t>(static_cast<unsigned char>(state.bytes()[0])) +
                              (static_cast<size_t>(static_cast<unsigned char>(state.bytes()[1])) << 8);
  for (int round = 0; round < 1000; ++round) {
    std::string bytes = state.bytes();
    const uint64_t num_changes = 1 + random() % 3;
    for (uint64_t i = 0; i < num_changes; ++i) bytes[random() % header_bytes] = static_cast<char>(random());
    if (round % 5 == 0) bytes.resize(random() % bytes.size());
    // A change of the caller's words, or of white space, is no fault of the file.
    if (state.is_accepted(bytes)) CHECK(state.training().session().num_updates() >= 0, "a count");
    CHECK(state.is_accepted(state.bytes()), "the true file, after each");
  }
}

TEST_CASE("the checkpoint that is written is what the session holds") {
  const TemporaryFolder folder;
  SessionSpec spec = spec_of(folder);
  Training training(spec);
  training.step(1);
  training.update();
  const std::string path = folder.path("trained.safetensors");
  training.session().write_checkpoint(StoredDtype::kF32, path);
  spec.paths = {path};
  Training again(spec);
  check_same_bits(again.session().parameters().values(), training.session().parameters().values(),
                  "parameters");
}

}  // namespace
}  // namespace elasticlm::test
