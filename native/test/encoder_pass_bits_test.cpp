// What must not change a bit of a training pass, and what a pass refuses.
#include <algorithm>
#include <atomic>
#include <cmath>

#include "test/check.h"
#include "test/checkpoint_files.h"
#include "test/isas.h"
#include "test/train_fixture.h"
#include "train/encoder_pass.h"

namespace elasticlm::test {
namespace {

TEST_CASE("neither threads nor recomputation change a bit") {
  for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
    for (const Isa isa : supported_isas(precision)) {
      Random random(51);
      for (int round = 0; round < (kSanitized ? 1 : 3); ++round) {
        const TrainFixture fixture = make_train_fixture(
            random, {.num_structures = 1 + round, .num_sequences = 2 + 4 * round, .longest = 60});
        const PassOptions how{.isa = isa, .precision = precision, .num_threads = 1};
        const PassResult expected = run_pass(fixture, how);
        const PassOptions others[] = {{.saving = Saving::kAll, .num_threads = 2},
                                      {.saving = Saving::kAll, .num_threads = 3},
                                      {.saving = Saving::kRecompute, .num_threads = 1},
                                      {.saving = Saving::kRecompute, .num_threads = 3}};
        for (const PassOptions& changed : others) {
          PassOptions other = how;
          other.saving = changed.saving;
          other.num_threads = changed.num_threads;
          const PassResult actual = run_pass(fixture, other);
          const std::string what = name_of(isa, precision) + " round " + std::to_string(round) + ", " +
                                   std::to_string(other.num_threads) + " threads";
          check_same_bits(actual.hidden, expected.hidden, what + ", hidden states");
          check_same_bits(actual.gradients, expected.gradients, what + ", gradients");
        }
      }
    }
  }
}

TEST_CASE("what an earlier pass left in memory changes nothing") {
  for (const Precision precision : {Precision::kF32, Precision::kBF16}) {
    for (const Isa isa : supported_isas(precision)) {
      Random random(111);
      for (int round = 0; round < (kSanitized ? 1 : 4); ++round) {
        const TrainFixture fixture =
            make_train_fixture(random, {.num_structures = 1 + round % 3, .num_sequences = 3, .longest = 31});
        const PassResult expected = run_pass(fixture, {.isa = isa, .precision = precision});
        OwnedBatch larger = fixture.owned;
        for (int i = 0; i < 3; ++i) larger.add(random_sequence(random, fixture.layout->config, 40, 1));
        const TokenBatch larger_batch{larger.input_ids, larger.token_type_ids, larger.cu_seqlens};
        ParameterSet parameters(fixture.layout);
        ParameterSet gradients(fixture.layout);
        std::vector<float> d_hidden(
            fixture.structures.size() *
                static_cast<size_t>(larger_batch.num_tokens() * fixture.layout->config.hidden_size),
            NAN);
        ThreadPool pool(2);
        run_job(pool, [&](const TrainThreads& threads) {
          TrainWeights weights(parameters, precision, isa);
          EncoderPass pass(weights);
          // A word's NaN spreads to all that its sequence's pass writes.
          std::ranges::fill(parameters.values(), NAN);
          weights.refresh(threads);
          pass.forward(larger_batch, fixture.structures, threads);
          pass.backward(d_hidden.data(), gradients, nullptr, threads);
          std::ranges::copy(fixture.parameters->values(), parameters.values().begin());
          weights.refresh(threads);
          gradients.clear();
          pass.forward(fixture.batch, fixture.structures, threads);
          d_hidden.assign(fixture.d_hidden.begin(), fixture.d_hidden.end());
          pass.backward(d_hidden.data(), gradients, nullptr, threads);
        });
        check_same_bits(gradients.values(), expected.gradients,
                        name_of(isa, precision) + " round " + std::to_string(round));
      }
    }
  }
}

TEST_CASE("a SubLM's rows do not know which others share the pass") {
  for (const Isa isa : supported_isas(Precision::kF32)) {
    Random random(61);
    for (int round = 0; round < (kSanitized ? 1 : 6); ++round) {
      const TrainFixture fixture =
          make_train_fixture(random, {.num_structures = 4, .num_sequences = 3, .longest = 33});
      const PassResult together = run_pass(fixture, {.isa = isa});
      std::vector<float> alone;
      for (const Structure& structure : fixture.structures) {
        TrainFixture one{.layout = fixture.layout,
                         .parameters = std::make_unique<ParameterSet>(fixture.layout),
                         .structures = {structure},
                         .owned = {},
                         .batch = fixture.batch,
                         .d_hidden = std::vector<float>(static_cast<size_t>(fixture.hidden_floats()))};
        std::ranges::copy(fixture.parameters->values(), one.parameters->values().begin());
        const PassResult result = run_pass(one, {.isa = isa});
        alone.insert(alone.end(), result.hidden.begin(), result.hidden.end());
      }
      check_same_bits(together.hidden, alone,
                      name_of(isa, Precision::kF32) + " round " + std::to_string(round));
    }
  }
}

TEST_CASE("a pass refuses lists, SubLMs that are not nested, and a second backward") {
  Random random(91);
  TrainFixture fixture = make_train_fixture(random, {.num_structures = 1, .num_sequences = 2, .longest = 5});
  const EncoderConfig& config = fixture.layout->config;
  const Structure full = Structure::full(config);
  Structure empty = full;
  for (LayerStructure& layer : empty.layers) layer.num_heads = layer.num_neurons = 0;
  Structure listed = full;
  for (int32_t h = 0; h < config.num_heads; ++h) listed.layers[0].heads.push_back(h);
  ThreadPool pool(1);
  run_job(pool, [&](const TrainThreads& threads) {
    TrainWeights weights(*fixture.parameters, Precision::kF32, Isa::kRef);
    weights.refresh(threads);
    EncoderPass pass(weights);
    ParameterSet gradients(fixture.layout);
    MaskGradients masks;
    std::vector<float> d_hidden(static_cast<size_t>(2 * fixture.hidden_floats()), 1.0f);
    const auto forward = [&](const std::vector<Structure>& structures) {
      pass.forward(fixture.batch, structures, threads);
    };
    check_throws("a list", ErrorCode::kStructureInvalid, "list in layer 0", [&] { forward({listed}); });
    check_throws("not nested", ErrorCode::kStructureInvalid, "structure 1", [&] { forward({empty, full}); });
    check_throws("no SubLM", ErrorCode::kStructureInvalid, "at least one", [&] { forward({}); });
    forward({full, empty});
    check_throws("masks of two", ErrorCode::kStructureInvalid, "mask gradients",
                 [&] { pass.backward(d_hidden.data(), gradients, &masks, threads); });
    pass.backward(d_hidden.data(), gradients, nullptr, threads);
    check_throws("a second backward", ErrorCode::kInternalFailed, "without a forward",
                 [&] { pass.backward(d_hidden.data(), gradients, nullptr, threads); });
  });
  check_throws("i8", ErrorCode::kPrecisionUnsupported, "f32 or bf16",
               [&] { TrainWeights(*fixture.parameters, Precision::kI8, Isa::kRef); });
}

TEST_CASE("an aborted pass says so, and the next one is whole") {
  Random random(101);
  const TrainFixture fixture =
      make_train_fixture(random, {.num_structures = 2, .num_sequences = 2, .longest = 20});
  const PassResult expected = run_pass(fixture, {});
  ThreadPool pool(2);
  TrainWeights weights(*fixture.parameters, Precision::kF32, Isa::kRef);
  EncoderPass pass(weights);
  std::atomic<bool> aborted{true};
  check_throws("an aborted forward", ErrorCode::kCallAborted, "abort signal", [&] {
    run_job(
        pool,
        [&](const TrainThreads& threads) {
          weights.refresh({threads.pool, threads.worker_idx, nullptr});
          pass.forward(fixture.batch, fixture.structures, threads);
        },
        &aborted);
  });
  ParameterSet gradients(fixture.layout);
  run_job(pool, [&](const TrainThreads& threads) {
    pass.forward(fixture.batch, fixture.structures, threads);
    std::vector<float> d_hidden = fixture.d_hidden;
    pass.backward(d_hidden.data(), gradients, nullptr, threads);
  });
  check_same_bits(gradients.values(), expected.gradients, "after an abort");
}

}  // namespace
}  // namespace elasticlm::test
