// AdamW against f64 over several steps, and what it leaves alone.
#include "train/adamw.h"

#include <cmath>
#include <limits>

#include "core/status.h"
#include "test/objective_fixture.h"

namespace elasticlm::test {
namespace {

// Student, gradients and moments of one layout, with the reference's numbers beside them.
struct Run {
  std::shared_ptr<const ParameterLayout> layout;
  ParameterSet parameters;
  ParameterSet gradients;
  Moments moments;

  explicit Run(std::shared_ptr<const ParameterLayout> shared)
      : layout(shared),
        parameters(shared),
        gradients(shared),
        moments{ParameterSet(shared), ParameterSet(shared)} {}

  double update(const AdamWOptions& options, int num_threads = 2) {
    double norm = 0.0;
    run_with_threads(num_threads, [&](const TrainThreads& threads) {
      norm = adamw_update(options, parameters, gradients, moments, threads);
    });
    return norm;
  }
};

// Large enough for slots of several parts.
std::shared_ptr<const ParameterLayout> make_layout() {
  const EncoderConfig config = {.vocab_size = 1000,
                                .hidden_size = 72,
                                .num_layers = 2,
                                .num_heads = 9,
                                .intermediate_size = 100,
                                .max_position_embeddings = 16,
                                .type_vocab_size = 2};
  return std::make_shared<ParameterLayout>(config, HeadShapes{.pooler = true, .num_labels = 3});
}

void fill(ParameterSet& set, Random& random, float deviation) {
  for (const ParameterSlot* const slot : set.layout().slots()) {
    for (int64_t i = 0; i < slot->size(); ++i) set.at(*slot)[i] = random.normal(deviation);
  }
}

double norm_of(const ParameterSet& set) {
  double squares = 0.0;
  for (const float value : set.values()) squares += static_cast<double>(value) * value;
  return std::sqrt(squares);
}

// Loshchilov & Hutter's algorithm 2 in f64.
struct Reference {
  std::vector<double> p;
  std::vector<double> m;
  std::vector<double> v;

  explicit Reference(const ParameterSet& parameters)
      : p(parameters.values().begin(), parameters.values().end()), m(p.size()), v(p.size()) {}

  void update(const AdamWOptions& options, const ParameterSet& gradients, int step) {
    const double norm = norm_of(gradients);
    const double gain = options.clip_norm > 0.0 && norm > options.clip_norm ? options.clip_norm / norm : 1.0;
    for (const ParameterSlot* const slot : gradients.layout().slots()) {
      for (int64_t k = 0; k < slot->size(); ++k) {
        const auto i = static_cast<size_t>(slot->offset + k);
        const double g = gain * gradients.values()[i];
        m[i] = options.beta1 * m[i] + (1.0 - options.beta1) * g;
        v[i] = options.beta2 * v[i] + (1.0 - options.beta2) * g * g;
        const double first = m[i] / (1.0 - std::pow(options.beta1, step));
        const double second = v[i] / (1.0 - std::pow(options.beta2, step));
        const double decay = slot->decays ? options.weight_decay * p[i] : 0.0;
        p[i] -= options.learning_rate * (first / (std::sqrt(second) + options.epsilon) + decay);
      }
    }
  }
};

TEST_CASE("adamw_update: like f64 over several steps, clipped and not, with and without decay") {
  constexpr int kSteps = 5;
  for (const double clip_norm : {0.0, 1.0, 1e6}) {
    for (const double weight_decay : {0.0, 0.1}) {
      const AdamWOptions options = {
          .learning_rate = 0.01, .weight_decay = weight_decay, .clip_norm = clip_norm};
      Run run(make_layout());
      Random random(1);
      fill(run.parameters, random, 1.0f);
      Reference reference(run.parameters);
      for (int step = 1; step <= kSteps; ++step) {
        fill(run.gradients, random, 0.3f);
        const double norm = norm_of(run.gradients);
        reference.update(options, run.gradients, step);
        const double returned = run.update(options);
        // Two orders of the same f64 sum over n squares.
        CHECK(std::abs(returned - norm) <= 1e-16 * static_cast<double>(run.layout->num_floats) * norm,
              "norm " + std::to_string(returned) + ", expected " + std::to_string(norm));
        CHECK(run.moments.step == step, "step");
        for (const float value : run.gradients.values()) CHECK(value == 0.0f, "gradients are cleared");
      }
      // A step changes p by η times a quotient of at most about 1 / (1 - β1) of 10 roundings and two rounded
      // constants, of which cancellation in m keeps kSteps times the error at most; p itself is rounded
      // twice.
      WorstError worst;
      for (size_t i = 0; i < reference.p.size(); ++i) {
        const double change = options.learning_rate * 10.0 * gamma_bound(12 * kSteps);
        worst.add(run.parameters.values()[i],
                  {reference.p[i], kSteps * (change + gamma_bound(3) * (1.0 + std::abs(reference.p[i])))},
                  {static_cast<int64_t>(i)});
      }
      CHECK_WITHIN(worst, "clip " + std::to_string(clip_norm) + ", decay " + std::to_string(weight_decay));
    }
  }
}

TEST_CASE("adamw_update: matrices that are trained decay, also where an update has no gradient for them") {
  Run run(make_layout());
  Random random(2);
  fill(run.parameters, random, 1.0f);
  const ParameterSlot& trained = run.layout->layers[0].ffn_up;
  const ParameterSlot& bias = run.layout->layers[0].ffn_up_bias;
  // With a rate of 1e-30 moments are made and nothing moves but by decay.
  const AdamWOptions decaying{.learning_rate = 1e-30, .weight_decay = 0.5e30};
  for (int step = 0; step < 2; ++step) {
    const std::vector<float> before(run.parameters.values().begin(), run.parameters.values().end());
    if (step == 0) {
      run.gradients.at(trained)[3] = 1.0f;
      run.gradients.at(bias)[1] = 1.0f;
    }
    run.update(decaying);
    for (const ParameterSlot* const slot : run.layout->slots()) {
      for (int64_t k = 0; k < slot->size(); ++k) {
        const auto i = static_cast<size_t>(slot->offset + k);
        const float expected = slot == &trained ? 0.5f * before[i] : before[i];
        CHECK(run.parameters.values()[i] == expected, slot->name + " at " + std::to_string(k));
      }
    }
  }
}

TEST_CASE("adamw_update: a norm that is not finite changes nothing and is returned") {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Run run(make_layout());
    Random random(3);
    fill(run.parameters, random, 1.0f);
    fill(run.gradients, random, 1.0f);
    run.gradients.at(run.layout->layers[1].ffn_up)[7] = bad;
    const std::vector<float> parameters(run.parameters.values().begin(), run.parameters.values().end());
    const std::vector<float> gradients(run.gradients.values().begin(), run.gradients.values().end());
    const double norm = run.update({.learning_rate = 0.1});
    CHECK(!std::isfinite(norm), "norm " + std::to_string(norm));
    CHECK(run.moments.step == 0, "step");
    for (size_t i = 0; i < parameters.size(); ++i) {
      CHECK(same_bits(run.parameters.values()[i], parameters[i]), "parameters");
      CHECK(same_bits(run.gradients.values()[i], gradients[i]), "gradients");
      CHECK(run.moments.first.values()[i] == 0.0f && run.moments.second.values()[i] == 0.0f, "moments");
    }
  }
}

TEST_CASE("adamw_update: the largest gradients that f32 holds are clipped, not lost") {
  Run run(make_layout());
  for (float& value : run.gradients.values()) value = 1e38f;
  const double norm = run.update({.learning_rate = 0.1, .weight_decay = 0.0});
  CHECK(std::isfinite(norm) && norm > 1e38, std::to_string(norm));
  for (const float value : run.parameters.values()) CHECK(std::isfinite(value), "not finite");
  CHECK(run.parameters.at(run.layout->layers[0].qkv)[0] < 0.0f, "nothing moved");
}

TEST_CASE("adamw_update: the same bits for 1, 2 and 3 threads") {
  std::vector<std::vector<float>> results;
  std::vector<double> norms;
  for (const int num_threads : {1, 2, 3}) {
    Run run(make_layout());
    Random random(4);
    fill(run.parameters, random, 1.0f);
    for (int step = 0; step < 3; ++step) {
      fill(run.gradients, random, 0.3f);
      norms.push_back(run.update({.learning_rate = 0.01}, num_threads));
    }
    results.emplace_back(run.parameters.values().begin(), run.parameters.values().end());
  }
  for (size_t other = 1; other < results.size(); ++other) {
    CHECK(results[other] == results[0], "other parameters");
    for (size_t step = 0; step < 3; ++step) CHECK(norms[3 * other + step] == norms[step], "other norms");
  }
}

TEST_CASE("adamw_update: an aborted call changes nothing") {
  Run run(make_layout());
  Random random(5);
  fill(run.gradients, random, 1.0f);
  const std::atomic<bool> aborted{true};
  bool was_aborted = false;
  run_with_threads(2, [&](const TrainThreads& threads) {
    try {
      adamw_update({.learning_rate = 0.1}, run.parameters, run.gradients, run.moments,
                   {.pool = threads.pool, .worker_idx = threads.worker_idx, .aborted = &aborted});
    } catch (const Error& error) {
      was_aborted = error.code() == ErrorCode::kCallAborted;
    }
  });
  CHECK(was_aborted, "no kCallAborted");
  for (const float value : run.parameters.values()) CHECK(value == 0.0f, "parameters");
}

}  // namespace
}  // namespace elasticlm::test
