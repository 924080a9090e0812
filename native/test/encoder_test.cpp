// Values: the encoder against an independent f64 forward, its states and its errors.
#include <cmath>
#include <future>
#include <limits>
#include <thread>

#include "core/status.h"
#include "test/check.h"
#include "test/encoder_fixture.h"
#include "test/reference_encoder.h"

namespace elasticlm::test {
namespace {

// The concatenated results of a batch's sequences, by the reference.
template <typename OfSequence>
Truth truth_of(const OwnedBatch& batch, const OfSequence& of_sequence) {
  Truth truth;
  for (size_t i = 0; i < batch.structure_idx.size(); ++i) {
    const auto begin = static_cast<size_t>(batch.cu_seqlens[i]);
    const size_t length = static_cast<size_t>(batch.cu_seqlens[i + 1]) - begin;
    const std::span ids = std::span(batch.input_ids).subspan(begin, length);
    const std::span types = std::span(batch.token_type_ids).subspan(begin, length);
    for (const Arithmetic arithmetic : {Arithmetic::kF64, Arithmetic::kNaive}) {
      const std::vector<double> values = of_sequence(ids, types, batch.structure_idx[i], arithmetic);
      std::vector<double>& all = arithmetic == Arithmetic::kF64 ? truth.f64 : truth.naive;
      all.insert(all.end(), values.begin(), values.end());
    }
  }
  return truth;
}

std::vector<Structure> random_structures(Random& random, const EncoderConfig& config) {
  return {Structure::full(config), random_prefix(random, config), random_prefix(random, config),
          random_lists(random, config), random_lists(random, config)};
}

OwnedBatch random_batch(Random& random, const EncoderConfig& config, int64_t num_structures,
                        int64_t longest) {
  OwnedBatch batch;
  const int64_t count = uniform(random, 1, 6);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t length = uniform(random, 0, 2) == 0 ? 1 : uniform(random, 1, longest);
    batch.add(random_sequence(random, config, length, num_structures));
  }
  return batch;
}

// Hidden states of the whole batch, by the reference.
Truth hidden_truth(const ModelWeights& weights, std::span<const Structure> structures,
                   const OwnedBatch& batch) {
  return truth_of(batch, [&](auto ids, auto types, int32_t structure, Arithmetic arithmetic) {
    return reference_hidden(weights, structures[static_cast<size_t>(structure)], ids, types, arithmetic)
        .hidden;
  });
}

std::string describe(const ModelWeights& weights, Isa isa, int num_threads) {
  const EncoderConfig& config = weights.config;
  return name_of(isa, weights.precision) + " E=" + std::to_string(config.hidden_size) +
         " H=" + std::to_string(config.num_heads) + " F=" + std::to_string(config.intermediate_size) +
         " L=" + std::to_string(config.num_layers) + " threads=" + std::to_string(num_threads);
}

TEST_CASE(
    "hidden states agree with the f64 reference: random models, structures, ragged batches, precisions, "
    "ISAs, threads") {
  Random random(1);
  for (int trial = 0; trial < 18; ++trial) {
    const EncoderConfig config = random_config(random);
    const uint64_t seed = random();
    const std::vector<Structure> structures = random_structures(random, config);
    const OwnedBatch batch = random_batch(random, config, 5, trial % 8 == 0 ? 150 : 40);
    for (const Precision precision : kPrecisions) {
      const auto weights = random_weights(config, 3, seed, precision);
      const Truth truth = hidden_truth(*weights, structures, batch);
      for (const Isa isa : supported_isas(precision)) {
        const int num_threads = 1 + (trial + static_cast<int>(isa)) % 3;
        ThreadPool pool(num_threads);
        Encoder encoder(weights, isa, num_threads);
        const auto hidden = run_forward(encoder, pool, batch.view(), structures, {.output = Output::kHidden});
        check_close(hidden, truth,
                    "trial " + std::to_string(trial) + " " + describe(*weights, isa, num_threads));
      }
    }
  }
}

TEST_CASE("pooled, pooler and logits agree with the f64 reference") {
  Random random(2);
  for (int trial = 0; trial < 12; ++trial) {
    const EncoderConfig config = random_config(random);
    const auto weights =
        random_weights(config, uniform(random, 1, 40), random(), kPrecisions[trial % std::size(kPrecisions)]);
    const std::vector<Structure> structures = random_structures(random, config);
    const OwnedBatch batch = random_batch(random, config, 5, 30);
    ThreadPool pool(2);
    const auto compare = [&](const ForwardOptions& options, const char* what, const auto& head) {
      const Truth truth =
          truth_of(batch, [&](auto ids, auto types, int32_t structure, Arithmetic arithmetic) {
            const Structure& kept = structures[static_cast<size_t>(structure)];
            return head(reference_hidden(*weights, kept, ids, types, arithmetic).hidden, arithmetic);
          });
      for (const Isa isa : supported_isas(weights->precision)) {
        Encoder encoder(weights, isa, 2);
        check_close(run_forward(encoder, pool, batch.view(), structures, options), truth,
                    std::string(what) + " trial " + std::to_string(trial) + " " + describe(*weights, isa, 2));
      }
    };
    for (const Pooling pooling : {Pooling::kCls, Pooling::kMean}) {
      for (const bool normalize : {false, true}) {
        compare({.output = Output::kPooled, .pooling = pooling, .normalize = normalize}, "pooled",
                [&](const auto& hidden, Arithmetic arithmetic) {
                  return reference_pooled(*weights, hidden, pooling, normalize, arithmetic);
                });
      }
    }
    compare({.output = Output::kPooler}, "pooler", [&](const auto& hidden, Arithmetic arithmetic) {
      return reference_pooler(*weights, hidden, arithmetic);
    });
    compare({.output = Output::kLogits}, "logits", [&](const auto& hidden, Arithmetic arithmetic) {
      return reference_logits(*weights, reference_pooler(*weights, hidden, arithmetic), arithmetic);
    });
  }
}

TEST_CASE("a MiniLM-sized model agrees with the f64 reference at full and at half size") {
  Random random(3);
  const EncoderConfig config = mini_lm_config();
  const std::vector<Structure> structures = {Structure::full(config), random_prefix(random, config)};
  OwnedBatch batch;
  for (const int32_t structure : {0, 1}) {
    batch.add(random_sequence(random, config, 9, 1));
    batch.structure_idx.back() = structure;
  }
  for (const Precision precision : kPrecisions) {
    const auto weights = random_weights(config, 0, 5, precision);
    const Truth truth = hidden_truth(*weights, structures, batch);
    for (const Isa isa : supported_isas(precision)) {
      ThreadPool pool(2);
      Encoder encoder(weights, isa, 2);
      check_close(run_forward(encoder, pool, batch.view(), structures, {.output = Output::kHidden}), truth,
                  describe(*weights, isa, 2));
    }
  }
}

TEST_CASE("an empty batch gives an empty result") {
  Random random(4);
  const EncoderConfig config = random_config(random);
  const auto weights = random_weights(config, 2, 1);
  const std::vector<Structure> structures = {Structure::full(config)};
  ThreadPool pool(2);
  Encoder encoder(weights, choose_isa(""), 2);
  const OwnedBatch batch;
  validate(batch.view(), config, 1);
  for (const Output output : {Output::kHidden, Output::kPooled, Output::kPooler, Output::kLogits}) {
    CHECK(run_forward(encoder, pool, batch.view(), structures, {.output = output}).empty(), "not empty");
  }
}

TEST_CASE("calibration sums agree with the reference and do not depend on the pool's size") {
  Random random(5);
  for (int trial = 0; trial < 6; ++trial) {
    const EncoderConfig config = random_config(random);
    const auto weights = random_weights(config, 0, random());
    const OwnedBatch batch = random_batch(random, config, 1, trial == 0 ? 300 : 30);
    Truth heads;
    Truth neurons;
    for (const Arithmetic arithmetic : {Arithmetic::kF64, Arithmetic::kNaive}) {
      auto& head_sums = arithmetic == Arithmetic::kF64 ? heads.f64 : heads.naive;
      auto& neuron_sums = arithmetic == Arithmetic::kF64 ? neurons.f64 : neurons.naive;
      head_sums.resize(static_cast<size_t>(config.num_layers * config.num_heads));
      neuron_sums.resize(static_cast<size_t>(config.num_layers * config.intermediate_size));
      for (size_t i = 0; i < batch.structure_idx.size(); ++i) {
        const auto begin = static_cast<size_t>(batch.cu_seqlens[i]);
        const size_t length = static_cast<size_t>(batch.cu_seqlens[i + 1]) - begin;
        const ReferenceHidden result = reference_hidden(
            *weights, Structure::full(config), std::span(batch.input_ids).subspan(begin, length),
            std::span(batch.token_type_ids).subspan(begin, length), arithmetic);
        for (size_t j = 0; j < head_sums.size(); ++j) head_sums[j] += result.context_norms[j];
        for (size_t j = 0; j < neuron_sums.size(); ++j) neuron_sums[j] += result.neuron_outputs[j];
      }
    }
    for (const Isa isa : supported_isas(Precision::kF32)) {
      ActivationSums first;
      for (const int num_threads : {1, 2, 3}) {
        ThreadPool pool(num_threads);
        Encoder encoder(weights, isa, num_threads);
        ActivationSums sums;
        const auto ended = std::make_shared<std::promise<void>>();
        pool.submit([&, ended](int worker_idx) {
          encoder.accumulate_activations(batch.view(), pool, worker_idx, sums);
          ended->set_value();
        });
        ended->get_future().wait();
        CHECK(sums.num_tokens == batch.cu_seqlens.back(), "num_tokens");
        const std::vector<float> head_sums(sums.heads.begin(), sums.heads.end());
        const std::vector<float> neuron_sums(sums.neurons.begin(), sums.neurons.end());
        check_close(head_sums, heads, "context norms " + describe(*weights, isa, num_threads));
        check_close(neuron_sums, neurons, "neuron outputs " + describe(*weights, isa, num_threads));
        if (num_threads == 1) first = sums;
        CHECK(sums.heads == first.heads && sums.neurons == first.neurons,
              "sums depend on the number of threads");
      }
    }
  }
}

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    CHECK(std::string(error.what()).find("expected ") == 0, error.what());
    return error.code();
  }
  CHECK(false, "no error");
  return ErrorCode::kInternalFailed;
}

TEST_CASE("calibration of a model that rounds its activations is refused") {
  Random random(9);
  const EncoderConfig config = random_config(random);
  OwnedBatch batch;
  batch.add(random_sequence(random, config, 3, 1));
  ThreadPool pool(1);
  for (const Precision precision : {Precision::kBF16, Precision::kI8}) {
    Encoder encoder(random_weights(config, 0, 1, precision), choose_isa(""), 1);
    ActivationSums sums;
    CHECK(code_of([&] { encoder.accumulate_activations(batch.view(), pool, 0, sums); }) ==
              ErrorCode::kPrecisionUnsupported,
          precision_name(precision));
  }
}

TEST_CASE("pooler and logits without their weights are refused") {
  Random random(6);
  const EncoderConfig config = random_config(random);
  const std::vector<Structure> structures = {Structure::full(config)};
  OwnedBatch batch;
  batch.add(random_sequence(random, config, 3, 1));
  ThreadPool pool(1);
  Encoder encoder(random_weights(config, 0, 1), choose_isa(""), 1);
  CHECK(code_of([&] { run_forward(encoder, pool, batch.view(), structures, {.output = Output::kLogits}); }) ==
            ErrorCode::kConfigInvalid,
        "logits without a classifier");
}

TEST_CASE("an aborted forward stops with its code, and the encoder goes on") {
  Random random(7);
  const EncoderConfig config = mini_lm_config();
  const std::vector<Structure> structures = {Structure::full(config)};
  OwnedBatch batch;
  for (int i = 0; i < 6; ++i) batch.add(random_sequence(random, config, 100, 1));
  ThreadPool pool(2);
  Encoder encoder(random_weights(config, 0, 1), choose_isa(""), 2);
  const auto expected = run_forward(encoder, pool, batch.view(), structures, {});

  std::atomic<bool> aborted{true};
  CHECK(code_of([&] { run_forward(encoder, pool, batch.view(), structures, {.aborted = &aborted}); }) ==
            ErrorCode::kCallAborted,
        "aborted before it began");
  for (int delay_us = 0; delay_us < 2000; delay_us += 200) {
    aborted = false;
    std::thread aborter([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
      aborted = true;
    });
    bool was_aborted = false;
    try {
      check_same_bits(run_forward(encoder, pool, batch.view(), structures, {.aborted = &aborted}), expected,
                      "ran to its end");
    } catch (const Error& error) {
      was_aborted = error.code() == ErrorCode::kCallAborted;
      CHECK(was_aborted, error.what());
    }
    aborter.join();
  }
  check_same_bits(run_forward(encoder, pool, batch.view(), structures, {}), expected, "after aborted calls");
}

TEST_CASE("every malformed batch is refused with its code") {
  const EncoderConfig config = mini_lm_config();
  const OwnedBatch good{{1, 2, 3}, {0, 1, 0}, {0, 1, 3}, {0, 1}};
  validate(good.view(), config, 2);
  const auto refused = [&](const char* what, const std::function<void(OwnedBatch&)>& spoil) {
    OwnedBatch bad = good;
    spoil(bad);
    CHECK(code_of([&] { validate(bad.view(), config, 2); }) == ErrorCode::kBatchInvalid, what);
  };
  constexpr int32_t kMin = std::numeric_limits<int32_t>::min();
  constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
  refused("id below the vocabulary", [](OwnedBatch& b) { b.input_ids[1] = -1; });
  refused("id past the vocabulary", [](OwnedBatch& b) { b.input_ids[2] = 200; });
  refused("token type", [](OwnedBatch& b) { b.token_type_ids[0] = 2; });
  refused("structure", [](OwnedBatch& b) { b.structure_idx[1] = 2; });
  refused("negative structure", [](OwnedBatch& b) { b.structure_idx[0] = kMin; });
  refused("empty sequence", [](OwnedBatch& b) { b.cu_seqlens[1] = 0; });
  refused("falling", [](OwnedBatch& b) { b.cu_seqlens[1] = 4; });
  refused("first not 0", [](OwnedBatch& b) { b.cu_seqlens[0] = 1; });
  refused("difference past int32", [](OwnedBatch& b) { b.cu_seqlens = {0, kMin, kMax}; });
  refused("end past the tokens", [](OwnedBatch& b) { b.cu_seqlens[2] = 4; });
  refused("end before the tokens", [](OwnedBatch& b) { b.cu_seqlens[2] = 2; });
  refused("no cu_seqlens", [](OwnedBatch& b) { b.cu_seqlens.clear(); });
  refused("too few structures", [](OwnedBatch& b) { b.structure_idx.pop_back(); });
  refused("too few token types", [](OwnedBatch& b) { b.token_type_ids.pop_back(); });
  refused("too long", [](OwnedBatch& b) {
    b.input_ids.assign(513, 1);
    b.token_type_ids.assign(513, 0);
    b.cu_seqlens = {0, 513};
    b.structure_idx = {0};
  });
}

TEST_CASE("switching the level takes no scratch memory") {
  for (const Precision precision : kPrecisions) {
    Random random(8);
    const EncoderConfig config = mini_lm_config();
    std::vector<Structure> structures = {Structure::full(config)};
    for (int i = 0; i < 5; ++i) structures.push_back(random_nested(random, structures.back()));
    ThreadPool pool(1);
    Encoder encoder(random_weights(config, 0, 1, precision), choose_isa(""), 1);
    OwnedBatch batch;
    for (int i = 0; i < 3; ++i) batch.add(random_sequence(random, config, 50, 1));
    int64_t bytes = 0;
    for (int32_t structure = static_cast<int32_t>(structures.size()) - 1; structure >= 0; --structure) {
      for (int32_t& idx : batch.structure_idx) idx = structure;
      run_forward(encoder, pool, batch.view(), structures, {});
      if (bytes == 0) bytes = encoder.arena_bytes();
      CHECK(encoder.arena_bytes() == bytes && bytes > 0,
            "structure " + std::to_string(structure) + " changed the arena");
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
