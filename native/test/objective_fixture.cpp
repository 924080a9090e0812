#include "test/objective_fixture.h"

#include <algorithm>
#include <bit>

#include "train/heads.h"

namespace elasticlm::test {
namespace {

// The bar of a gradient: a share of its own norm.
constexpr double kGradientTolerance = 1e-5;

// Step of the differences. The fourth-order formula is off by h⁴/30 times the fifth derivative (at most 1e-11
// where a temperature of 0.1 multiplies each derivative by 10) and by 2^-53 / h = 1e-12 in rounding.
constexpr double kStep = 1e-4;

double norm_of(const std::vector<double>& values) {
  double squares = 0.0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

// d loss / d step at 0 along `direction`.
double difference(const ObjectiveCase& one, const std::vector<double>& direction) {
  const auto loss = [&](double step) { return one.reference(&direction, step).total; };
  return (8.0 * (loss(kStep) - loss(-kStep)) - (loss(2.0 * kStep) - loss(-2.0 * kStep))) / (12.0 * kStep);
}

// A run of the variables (hidden states, then parameters) with a name.
struct VariableRun {
  std::string name;
  int64_t begin;
  int64_t size;
};

std::vector<VariableRun> runs_of(const ObjectiveCase& one) {
  const int64_t num_hidden = static_cast<int64_t>(one.hidden.size());
  std::vector<VariableRun> runs = {{"hidden", 0, num_hidden}};
  for (const ParameterSlot* const slot : one.layout().slots()) {
    runs.push_back({slot->name, num_hidden + slot->offset, slot->size()});
  }
  return runs;
}

std::vector<float> gradient_of(const ObjectiveResult& result) {
  std::vector<float> all = result.d_hidden;
  const std::span<const float> values = result.gradients->values();
  all.insert(all.end(), values.begin(), values.end());
  return all;
}

std::vector<double> losses_of(const Losses& losses) {
  return {losses.total,  losses.embedding, losses.contrastive, losses.classification, losses.regression,
          losses.logits, losses.ranking,   losses.hidden,      losses.relation,       losses.mlm};
}

void check_losses(const ObjectiveResult& result, const Losses& expected, const std::string& subject) {
  const std::vector<double> actual = losses_of(result.losses);
  const std::vector<double> reference = losses_of(expected);
  for (size_t i = 0; i < actual.size(); ++i) {
    const double tolerance = kGradientTolerance * std::max(1.0, std::abs(expected.total));
    CHECK(std::abs(actual[i] - reference[i]) <= tolerance,
          subject + ": loss " + std::to_string(i) + " received " + std::to_string(actual[i]) + ", expected " +
              std::to_string(reference[i]) + ", tolerance " + std::to_string(tolerance));
  }
}

// Only the heads' parameters (of adapters the one that is used), and the word embeddings below a head of
// masked language modelling, have gradients.
bool has_gradient(const ObjectiveCase& one, const VariableRun& run) {
  if (run.name == "hidden") return true;
  if (run.name.starts_with("adapter.")) {
    return run.name.starts_with("adapter." + std::to_string(one.adapter_idx));
  }
  if (run.name == one.layout().word_embeddings.name) return one.objective.mlm.weight != 0.0;
  const int64_t encoder_end = one.layout().layers.back().ffn_layer_norm.beta.offset;
  return run.begin > static_cast<int64_t>(one.hidden.size()) + encoder_end;
}

}  // namespace

ObjectiveCase::ObjectiveCase(const ObjectiveSizes& sizes, uint64_t seed) {
  Random random(seed);
  cu_seqlens = {0};
  for (const int64_t length : sizes.lengths)
    cu_seqlens.push_back(cu_seqlens.back() + static_cast<int32_t>(length));
  input_ids.assign(static_cast<size_t>(cu_seqlens.back()), 1);
  token_type_ids.assign(input_ids.size(), 0);
  const EncoderConfig config = {.vocab_size = sizes.vocab_size,
                                .hidden_size = sizes.hidden_size,
                                .num_layers = 1,
                                .num_heads = sizes.hidden_size / 8,
                                .intermediate_size = 16,
                                .max_position_embeddings = 512,
                                .type_vocab_size = 2};
  parameters = std::make_unique<ParameterSet>(std::make_shared<ParameterLayout>(config, sizes.heads));
  const float deviation = 1.0f / std::sqrt(static_cast<float>(sizes.hidden_size));
  for (const ParameterSlot* const slot : layout().slots()) {
    const bool is_vector = slot->rows == 1;
    const std::vector<float> values = normal_floats(random, slot->size(), is_vector ? 0.5f : deviation);
    std::copy(values.begin(), values.end(), parameters->at(*slot));
  }
  const int64_t E = sizes.hidden_size;
  hidden = normal_floats(random, num_tokens() * E);
  teacher.hidden = normal_floats(random, num_tokens() * E);
  run_with_threads(1, [&](const TrainThreads& threads) {
    teacher.embeddings = embeddings_forward(batch(), teacher.hidden.data(), {Pooling::kMean, -1, *parameters},
                                            Compute(Isa::kRef, threads))
                             .values;
  });
  teacher.logits = normal_floats(random, num_sequences() * std::max<int64_t>(sizes.heads.num_labels, 1));
  teacher.qkv = normal_floats(random, 3 * num_tokens() * E);
}

ObjectiveResult ObjectiveCase::run(Isa isa, int num_threads, double weight) const {
  ObjectiveResult result;
  const int64_t E = layout().config.hidden_size;
  constexpr int64_t kGuard = 16;
  result.d_hidden = poisoned(num_tokens() * E + kGuard);
  result.gradients = std::make_unique<ParameterSet>(parameters->shared_layout());
  run_with_threads(num_threads, [&](const TrainThreads& threads) {
    result.losses = evaluate({.objective = objective,
                              .batch = batch(),
                              .hidden = hidden.data(),
                              .teacher = &teacher,
                              .parameters = *parameters,
                              .adapter_idx = adapter_idx,
                              .weight = weight,
                              .d_hidden = result.d_hidden.data(),
                              .gradients = *result.gradients,
                              .isa = isa},
                             threads);
  });
  for (int64_t i = 0; i < kGuard; ++i) {
    CHECK(is_poison(result.d_hidden[static_cast<size_t>(num_tokens() * E + i)]), "wrote behind d_hidden");
  }
  result.d_hidden.resize(static_cast<size_t>(num_tokens() * E));
  return result;
}

Losses ObjectiveCase::reference(const std::vector<double>* direction, double step) const {
  std::vector<double> moved_hidden(hidden.begin(), hidden.end());
  const std::span<const float> values = parameters->values();
  std::vector<double> moved(values.begin(), values.end());
  if (direction != nullptr) {
    for (size_t i = 0; i < moved_hidden.size(); ++i) moved_hidden[i] += step * (*direction)[i];
    for (size_t i = 0; i < moved.size(); ++i) moved[i] += step * (*direction)[moved_hidden.size() + i];
  }
  const TokenBatch tokens = batch();
  return reference_losses({.objective = objective,
                           .batch = tokens,
                           .layout = layout(),
                           .teacher = teacher,
                           .adapter_idx = adapter_idx},
                          moved_hidden, moved);
}

void check_gradients(const ObjectiveCase& one, const std::string& subject) {
  const Losses expected = one.reference();
  std::vector<std::vector<double>> differences;
  const std::vector<VariableRun> runs = runs_of(one);
  std::vector<double> direction(static_cast<size_t>(one.num_variables()));
  for (const VariableRun& run : runs) {
    std::vector<double> values(static_cast<size_t>(run.size));
    for (int64_t i = 0; i < run.size && has_gradient(one, run); ++i) {
      direction[static_cast<size_t>(run.begin + i)] = 1.0;
      values[static_cast<size_t>(i)] = difference(one, direction);
      direction[static_cast<size_t>(run.begin + i)] = 0.0;
    }
    differences.push_back(std::move(values));
  }
  double squares = 0.0;
  for (const std::vector<double>& values : differences) squares += norm_of(values) * norm_of(values);
  // Where a sum cancels (a shift of all logits changes no softmax), the rounding of its terms remains.
  const double least = gamma_bound(8) * std::sqrt(squares);
  for (const Isa isa : isas()) {
    const ObjectiveResult result = one.run(isa);
    const std::string where = subject + " on " + isa_name(isa);
    check_losses(result, expected, where);
    const std::vector<float> gradient = gradient_of(result);
    for (size_t r = 0; r < runs.size(); ++r) {
      const double tolerance =
          !has_gradient(one, runs[r]) ? 0.0 : std::max(kGradientTolerance * norm_of(differences[r]), least);
      WorstError worst;
      for (int64_t i = 0; i < runs[r].size; ++i) {
        worst.add(gradient[static_cast<size_t>(runs[r].begin + i)],
                  {differences[r][static_cast<size_t>(i)], tolerance}, {i});
      }
      CHECK_WITHIN(worst, where + ", gradient of " + runs[r].name);
    }
  }
}

void check_directions(const ObjectiveCase& one, int num_directions, const std::string& subject) {
  const Losses expected = one.reference();
  const ObjectiveResult result = one.run(isas().back());
  check_losses(result, expected, subject);
  const std::vector<float> gradient = gradient_of(result);
  Random random(99);
  for (int d = 0; d < num_directions; ++d) {
    std::vector<double> direction(gradient.size());
    for (double& value : direction) value = random.normal();
    const double length = norm_of(direction);
    double along = 0.0;
    double squares = 0.0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      direction[i] /= length;
      along += direction[i] * gradient[i];
      squares += static_cast<double>(gradient[i]) * gradient[i];
    }
    // A unit vector sees a share of an error of kGradientTolerance times the norm.
    const double tolerance = kGradientTolerance * std::sqrt(squares);
    const double wanted = difference(one, direction);
    CHECK(std::abs(along - wanted) <= tolerance,
          subject + ", direction " + std::to_string(d) + ": received " + std::to_string(along) +
              ", expected " + std::to_string(wanted) + ", tolerance " + std::to_string(tolerance));
  }
}

void check_thread_counts(const ObjectiveCase& one, const std::string& subject) {
  for (const Isa isa : isas()) {
    const ObjectiveResult expected = one.run(isa, 1);
    const std::vector<float> gradient = gradient_of(expected);
    for (const int num_threads : {2, 3}) {
      const ObjectiveResult result = one.run(isa, num_threads);
      const std::vector<float> other = gradient_of(result);
      const std::string where =
          subject + " on " + isa_name(isa) + " with " + std::to_string(num_threads) + " threads: ";
      for (size_t i = 0; i < gradient.size(); ++i) {
        CHECK(same_bits(gradient[i], other[i]), where + "other bits at variable " + std::to_string(i));
      }
      CHECK(losses_of(result.losses) == losses_of(expected.losses), where + "other losses");
    }
  }
}

void check_finite(const ObjectiveCase& one, const std::string& subject) {
  for (const Isa isa : isas()) {
    const ObjectiveResult result = one.run(isa);
    CHECK(std::isfinite(result.losses.total), subject + " on " + isa_name(isa) + ": loss not finite");
    for (const float value : gradient_of(result)) {
      CHECK(std::isfinite(value), subject + " on " + isa_name(isa) + ": gradient not finite");
    }
  }
}

void check_reports_nan(ObjectiveCase& one, const std::string& subject) {
  // A first token: every pooling and head reads it.
  float& value = one.hidden[1];
  const float kept = value;
  value = NAN;
  for (const Isa isa : isas()) {
    CHECK(std::isnan(one.run(isa).losses.total), subject + " on " + isa_name(isa) + ": no NaN in the loss");
  }
  value = kept;
}

}  // namespace elasticlm::test
