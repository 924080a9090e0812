#include "train/encoder_pass.h"

#include <cmath>

#include "exec/encoder.h"
#include "test/check.h"
#include "test/checkpoint_files.h"
#include "test/isas.h"
#include "test/train_fixture.h"

namespace elasticlm::test {
namespace {

double norm_of(std::span<const double> values) {
  double squares = 0;
  for (const double value : values) squares += value * value;
  return std::sqrt(squares);
}

// |a - b|.
template <typename T>
double distance(std::span<const T> a, std::span<const double> b) {
  double squares = 0;
  for (size_t i = 0; i < b.size(); ++i) squares += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(squares);
}

std::span<const double> part(std::span<const double> all, const ParameterSlot& slot) {
  return all.subspan(static_cast<size_t>(slot.offset), static_cast<size_t>(slot.size()));
}
std::span<const float> part(std::span<const float> all, const ParameterSlot& slot) {
  return all.subspan(static_cast<size_t>(slot.offset), static_cast<size_t>(slot.size()));
}

void check_distance(double actual, double tolerance, const std::string& what) {
  char numbers[80];
  std::snprintf(numbers, sizeof(numbers), ": distance %.3g, tolerance %.3g", actual, tolerance);
  CHECK(actual <= tolerance, what + numbers);
}

constexpr double kRelativeError = 1e-5;

// A tensor whose gradient vanishes by cancellation (that of keys' biases always, q and k where sequences have
// one token) stands beside others in its layer: it may be off by a rounding of theirs.
double floor_of(const ReferenceGradients& truth) { return kRelativeError * 1e-3 * norm_of(truth.parameters); }

void check_gradients(const TrainFixture& fixture, const PassResult& actual, const ReferenceGradients& truth,
                     const std::string& what) {
  for (const ParameterSlot* const slot : fixture.layout->slots()) {
    const std::span<const double> expected = part(std::span<const double>(truth.parameters), *slot);
    check_distance(distance(part(std::span<const float>(actual.gradients), *slot), expected),
                   kRelativeError * norm_of(expected) + floor_of(truth),
                   what + ", gradient of " + slot->name);
  }
}

std::vector<float> check_padding_untouched(const TrainFixture& fixture, const PassResult& actual) {
  std::vector<bool> is_parameter(actual.gradients.size());
  for (const ParameterSlot* const slot : fixture.layout->slots()) {
    for (int64_t i = 0; i < slot->size(); ++i) is_parameter[static_cast<size_t>(slot->offset + i)] = true;
  }
  std::vector<float> padding;
  for (size_t i = 0; i < is_parameter.size(); ++i) {
    if (!is_parameter[i]) padding.push_back(actual.gradients[i]);
  }
  return padding;
}

TEST_CASE("the f64 reference agrees with central differences for every parameter and mask") {
  constexpr double kStep = 1e-4;
  Random random(11);
  for (int round = 0; round < (kSanitized ? 1 : 6); ++round) {
    const TrainFixture fixture =
        make_train_fixture(random, {.num_structures = 1, .num_sequences = 2, .longest = 6});
    const EncoderConfig& config = fixture.layout->config;
    std::vector<double> values = widened(fixture.parameters->values());
    std::vector<double> heads(static_cast<size_t>(config.num_layers * config.num_heads), 1.0);
    std::vector<double> neurons(static_cast<size_t>(config.num_layers * config.intermediate_size), 1.0);
    const std::vector<double> d_hidden = widened(fixture.d_hidden);
    const ReferenceInput input{*fixture.layout, values, fixture.structures[0], fixture.batch, heads, neurons};
    const ReferenceGradients analytic = reference_gradients(input, d_hidden, GradientArithmetic::kF64);
    const auto loss = [&] {
      const std::vector<double> hidden = reference_forward(input);
      double sum = 0;
      for (size_t i = 0; i < hidden.size(); ++i) sum += hidden[i] * d_hidden[i];
      return sum;
    };
    // Along the gradient the loss rises by its norm; and some single numbers, each measured against itself or
    // the tensor's mean.
    const auto check_run = [&](std::span<double> numbers, std::span<const double> gradient,
                               const std::string& what) {
      const double norm = norm_of(gradient);
      const auto slope = [&](const auto& move) {
        const std::vector<double> before(numbers.begin(), numbers.end());
        move(kStep);
        const double above = loss();
        std::copy(before.begin(), before.end(), numbers.begin());
        move(-kStep);
        const double below = loss();
        std::copy(before.begin(), before.end(), numbers.begin());
        return (above - below) / (2 * kStep);
      };
      if (norm > 0) {
        const double rise = slope([&](double step) {
          for (size_t i = 0; i < numbers.size(); ++i) numbers[i] += step * gradient[i] / norm;
        });
        check_distance(std::abs(rise - norm), kRelativeError * norm, what + " along its gradient");
      }
      const double mean = norm / std::sqrt(static_cast<double>(numbers.size()));
      for (int sample = 0; sample < 3; ++sample) {
        const auto i = static_cast<size_t>(uniform(random, 0, static_cast<int64_t>(numbers.size()) - 1));
        const double rise = slope([&](double step) { numbers[i] += step; });
        check_distance(std::abs(rise - gradient[i]),
                       kRelativeError * std::max(std::abs(gradient[i]), mean) + 1e-9,
                       what + " element " + std::to_string(i));
      }
    };
    for (const ParameterSlot* const slot : fixture.layout->slots()) {
      check_run(
          std::span(values).subspan(static_cast<size_t>(slot->offset), static_cast<size_t>(slot->size())),
          part(std::span<const double>(analytic.parameters), *slot), slot->name);
    }
    check_run(heads, analytic.heads, "head masks");
    check_run(neurons, analytic.neurons, "neuron masks");
  }
}

TEST_CASE("gradients of one and of several SubLMs agree with f64 on every instruction set") {
  for (const Isa isa : supported_isas(Precision::kF32)) {
    Random random(21);
    for (int round = 0; round < (kSanitized ? 4 : 24); ++round) {
      const TrainFixture fixture = make_train_fixture(
          random, {.num_structures = 1 + round % 4, .num_sequences = 1 + round % 5, .longest = 40});
      const PassResult actual = run_pass(fixture, {.isa = isa});
      const ReferenceGradients truth = run_reference(fixture, GradientArithmetic::kF64);
      const std::string what = name_of(isa, Precision::kF32) + " round " + std::to_string(round);
      check_distance(distance(std::span<const float>(actual.hidden), truth.hidden),
                     kRelativeError * norm_of(truth.hidden), what + ", hidden states");
      check_gradients(fixture, actual, truth, what);
      for (const float value : check_padding_untouched(fixture, actual))
        CHECK(value == 0.0f, what + ": padding between tensors was written");
    }
  }
}

TEST_CASE("products in bf16 lose no more than twice what plain arithmetic in bf16 loses") {
  for (const Isa isa : supported_isas(Precision::kBF16)) {
    Random random(31);
    for (int round = 0; round < (kSanitized ? 4 : 16); ++round) {
      const TrainFixture fixture = make_train_fixture(
          random, {.num_structures = 1 + round % 4, .num_sequences = 1 + round % 5, .longest = 40});
      const PassResult actual = run_pass(fixture, {.isa = isa, .precision = Precision::kBF16});
      const ReferenceGradients truth = run_reference(fixture, GradientArithmetic::kF64);
      const ReferenceGradients naive = run_reference(fixture, GradientArithmetic::kNaiveBf16);
      const std::string what = name_of(isa, Precision::kBF16) + " round " + std::to_string(round);
      check_distance(distance(std::span<const float>(actual.hidden), truth.hidden),
                     2 * distance(std::span<const double>(naive.hidden), truth.hidden) +
                         kRelativeError * norm_of(truth.hidden),
                     what + ", hidden states");
      for (const ParameterSlot* const slot : fixture.layout->slots()) {
        const std::span<const double> expected = part(std::span<const double>(truth.parameters), *slot);
        check_distance(distance(part(std::span<const float>(actual.gradients), *slot), expected),
                       2 * distance(part(std::span<const double>(naive.parameters), *slot), expected) +
                           kRelativeError * norm_of(expected) + floor_of(truth),
                       what + ", gradient of " + slot->name);
      }
    }
  }
}

TEST_CASE("mask gradients agree with f64 on every instruction set") {
  for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
    for (const Isa isa : supported_isas(precision)) {
      Random random(41);
      for (int round = 0; round < (kSanitized ? 2 : 8); ++round) {
        TrainFixture fixture =
            make_train_fixture(random, {.num_structures = 1, .num_sequences = 3, .longest = 30});
        fixture.structures[0] = Structure::full(fixture.layout->config);
        const PassResult actual = run_pass(fixture, {.isa = isa, .precision = precision, .with_masks = true});
        const PassResult without = run_pass(fixture, {.isa = isa, .precision = precision});
        const ReferenceGradients truth = run_reference(fixture, GradientArithmetic::kF64);
        const ReferenceGradients naive =
            run_reference(fixture, precision == Precision::kF32 ? GradientArithmetic::kF64
                                                                : GradientArithmetic::kNaiveBf16);
        const std::string what = name_of(isa, precision) + " round " + std::to_string(round);
        check_distance(distance(std::span<const double>(actual.masks.heads), truth.heads),
                       2 * distance(std::span<const double>(naive.heads), truth.heads) +
                           kRelativeError * norm_of(truth.heads),
                       what + ", heads");
        check_distance(distance(std::span<const double>(actual.masks.neurons), truth.neurons),
                       2 * distance(std::span<const double>(naive.neurons), truth.neurons) +
                           kRelativeError * norm_of(truth.neurons),
                       what + ", neurons");
        check_same_bits(actual.gradients, without.gradients, what + ", gradients beside masks");
      }
    }
  }
}

TEST_CASE("the hidden states are those of inference over the written checkpoint") {
  for (const Isa isa : supported_isas(Precision::kF32)) {
    Random random(71);
    for (int round = 0; round < (kSanitized ? 2 : 6); ++round) {
      const TrainFixture fixture =
          make_train_fixture(random, {.num_structures = 3, .num_sequences = 4, .longest = 50});
      const PassResult trained = run_pass(fixture, {.isa = isa});
      const TemporaryFolder folder;
      write_parameters(*fixture.parameters, StoredDtype::kF32, folder.path("model.safetensors"));
      Encoder encoder(load_weights(fixture.layout->config, {folder.path("model.safetensors")}), isa, 2);
      ThreadPool pool(2);
      std::vector<float> inferred;
      for (size_t i = 0; i < fixture.structures.size(); ++i) {
        OwnedBatch batch = fixture.owned;
        batch.structure_idx.assign(batch.structure_idx.size(), static_cast<int32_t>(i));
        const std::vector<float> hidden =
            run_forward(encoder, pool, batch.view(), fixture.structures, {.output = Output::kHidden});
        inferred.insert(inferred.end(), hidden.begin(), hidden.end());
      }
      check_distance(distance(std::span<const float>(trained.hidden), widened(inferred)),
                     1e-6 * norm_of(widened(inferred)),
                     name_of(isa, Precision::kF32) + " round " + std::to_string(round));
    }
  }
}

TEST_CASE("q, k and v of the last layer stand head by head") {
  Random random(81);
  for (int round = 0; round < (kSanitized ? 4 : 12); ++round) {
    TrainFixture fixture =
        make_train_fixture(random, {.num_structures = 1, .num_sequences = 2, .longest = 9});
    fixture.structures[0] = Structure::full(fixture.layout->config);
    const EncoderConfig& config = fixture.layout->config;
    const int64_t E = config.hidden_size;
    ThreadPool pool(2);
    run_job(pool, [&](const TrainThreads& threads) {
      TrainWeights weights(*fixture.parameters, Precision::kF32, Isa::kRef);
      weights.refresh(threads);
      for (const Saving saving : {Saving::kAll, Saving::kRecompute}) {
        EncoderPass pass(weights, saving);
        pass.forward(fixture.batch, fixture.structures, threads);
        // The last layer's input is the output of the model without that layer.
        const LayerSlots& last = fixture.layout->layers.back();
        EncoderConfig shorter = config;
        shorter.num_layers = config.num_layers - 1;
        if (shorter.num_layers == 0) return;
        const ParameterLayout cut(shorter, HeadShapes{});
        const std::vector<double> values = widened(fixture.parameters->values());
        const Structure full = Structure::full(shorter);
        const std::vector<double> x0 = reference_forward(
            {cut, std::span(values).first(static_cast<size_t>(cut.num_floats)), full, fixture.batch, {}, {}});
        double squares = 0;
        double error = 0;
        for (int64_t r = 0; r < fixture.batch.num_tokens(); ++r) {
          for (int64_t c = 0; c < 3 * E; ++c) {
            double sum = values[static_cast<size_t>(last.qkv_bias.offset + c)];
            for (int64_t e = 0; e < E; ++e) {
              sum += x0[static_cast<size_t>(r * E + e)] *
                     values[static_cast<size_t>(last.qkv.offset + c * E + e)];
            }
            squares += sum * sum;
            error += std::pow(pass.last_qkv()[r * pass.last_qkv_ld() + c] - sum, 2);
          }
        }
        check_distance(std::sqrt(error), kRelativeError * std::sqrt(squares), "q, k and v");
      }
    });
  }
}

}  // namespace
}  // namespace elasticlm::test
