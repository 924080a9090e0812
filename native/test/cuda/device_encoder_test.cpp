// Forwards on the GPU (or the emulator): values against an independent f64 forward, bits against each other,
// and states.
#include <atomic>
#include <thread>

#include "test/cuda/device_fixture.h"
#include "test/cuda/naive_encoder.h"
#include "test/reference_encoder.h"

namespace elasticlm::test {
namespace {

constexpr DType kDTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

struct Model {
  EncoderConfig config;
  std::shared_ptr<const ModelWeights> weights;
  std::vector<Structure> structures;
};

// Full size, nested levels, a prefix and lists of their own, and one that keeps nothing at all.
Model make_model(Random& random, int64_t num_labels) {
  Model made;
  made.config = device_config(random);
  made.weights = random_weights(made.config, num_labels, random());
  made.structures = {Structure::full(made.config)};
  for (int i = 0; i < 2; ++i) made.structures.push_back(random_nested(random, made.structures.back()));
  made.structures.push_back(random_prefix(random, made.config));
  made.structures.push_back(random_lists(random, made.config));
  made.structures.push_back(random_lists(random, made.config));
  Structure nothing = Structure::full(made.config);
  for (LayerStructure& layer : nothing.layers) layer = {};
  made.structures.push_back(nothing);
  return made;
}

OwnedBatch make_batch(Random& random, const Model& of, int64_t count, int64_t longest) {
  OwnedBatch batch;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t length = i % 4 == 3 ? 1 : uniform(random, 1, longest);
    batch.add(random_sequence(random, of.config, length, std::ssize(of.structures)));
  }
  return batch;
}

// A sequence of a batch, by the two references.
struct Reference {
  const Model& of;
  NaiveEncoder naive;
  bool is_naive = false;

  std::vector<double> hidden(const Structure& structure, std::span<const int32_t> ids,
                             std::span<const int32_t> types) const {
    if (is_naive) return naive.hidden(structure, ids, types);
    return reference_hidden(*of.weights, structure, ids, types, Arithmetic::kF64).hidden;
  }
  std::vector<double> pooled(const std::vector<double>& hidden, const ForwardOptions& options) const {
    return reference_pooled(*of.weights, hidden, options.pooling, options.normalize,
                            is_naive ? Arithmetic::kNaive : Arithmetic::kF64);
  }
  std::vector<double> pooler(const std::vector<double>& hidden) const {
    return is_naive ? naive.pooler(hidden) : reference_pooler(*of.weights, hidden, Arithmetic::kF64);
  }
  std::vector<double> logits(const std::vector<double>& hidden) const {
    return is_naive ? naive.logits(pooler(hidden))
                    : reference_logits(*of.weights, pooler(hidden), Arithmetic::kF64);
  }
  std::vector<double> output(const std::vector<double>& hidden, const ForwardOptions& options) const {
    switch (options.output) {
      case Output::kHidden:
        return hidden;
      case Output::kPooled:
        return pooled(hidden, options);
      case Output::kPooler:
        return pooler(hidden);
      default:
        return logits(hidden);
    }
  }
};

// What each of `all` must give for `batch`; the naive result is that of `dtype`.
std::vector<Truth> truths_of(const Model& of, const OwnedBatch& batch, DType dtype,
                             std::span<const ForwardOptions> all) {
  std::vector<Truth> truths(all.size());
  for (const bool is_naive : {false, true}) {
    const Reference reference{of, NaiveEncoder(*of.weights, dtype), is_naive};
    for (size_t i = 0; i < batch.structure_idx.size(); ++i) {
      const auto begin = static_cast<size_t>(batch.cu_seqlens[i]);
      const size_t length = static_cast<size_t>(batch.cu_seqlens[i + 1]) - begin;
      const std::vector<double> hidden =
          reference.hidden(of.structures[static_cast<size_t>(batch.structure_idx[i])],
                           std::span(batch.input_ids).subspan(begin, length),
                           std::span(batch.token_type_ids).subspan(begin, length));
      for (size_t o = 0; o < all.size(); ++o) {
        const std::vector<double> values = reference.output(hidden, all[o]);
        std::vector<double>& to = is_naive ? truths[o].naive : truths[o].f64;
        to.insert(to.end(), values.begin(), values.end());
      }
    }
  }
  return truths;
}

std::string sizes_text(const EncoderConfig& config) {
  return "E=" + std::to_string(config.hidden_size) + " H=" + std::to_string(config.num_heads) +
         " F=" + std::to_string(config.intermediate_size) + " L=" + std::to_string(config.num_layers);
}

TEST_CASE(
    "hidden states agree with the f64 reference: random models, structures, batches, precisions, paths") {
  Random random(1);
  for (int trial = 0; trial < 16; ++trial) {
    const Model one = make_model(random, 0);
    const OwnedBatch batch = make_batch(random, one, uniform(random, 1, 6), trial % 8 == 0 ? 80 : 20);
    for (const DType dtype : kDTypes) {
      const ForwardOptions options = {.output = Output::kHidden};
      const Truth truth = truths_of(one, batch, dtype, {&options, 1})[0];
      for (const DevicePath path : device_paths(dtype)) {
        DeviceEncoder encoder(*one.weights, {.precision = dtype, .path = path});
        if (!takes_batch(encoder, path, batch.view(), one.structures)) continue;
        check_close(
            run_forward(encoder, batch.view(), one.structures, options), truth,
            "trial " + std::to_string(trial) + " " + describe(dtype, path) + " " + sizes_text(one.config));
      }
    }
  }
}

TEST_CASE("pooled, pooler and logits agree with the f64 reference") {
  Random random(2);
  std::vector<ForwardOptions> all = {{.output = Output::kPooler}, {.output = Output::kLogits}};
  for (const Pooling pooling : {Pooling::kCls, Pooling::kMean}) {
    for (const bool normalize : {false, true}) {
      all.push_back({.output = Output::kPooled, .pooling = pooling, .normalize = normalize});
    }
  }
  for (int trial = 0; trial < 4; ++trial) {
    const Model one = make_model(random, trial % 2 == 0 ? 3 : 40);
    const OwnedBatch batch = make_batch(random, one, 6, 12);
    for (const DType dtype : kDTypes) {
      const std::vector<Truth> truths = truths_of(one, batch, dtype, all);
      for (const DevicePath path : device_paths(dtype)) {
        DeviceEncoder encoder(*one.weights, {.precision = dtype, .path = path});
        if (!takes_batch(encoder, path, batch.view(), one.structures)) continue;
        for (size_t i = 0; i < all.size(); ++i) {
          check_close(run_forward(encoder, batch.view(), one.structures, all[i]), truths[i],
                      "options " + std::to_string(i) + " trial " + std::to_string(trial) + " " +
                          describe(dtype, path) + " " + sizes_text(one.config));
        }
      }
    }
  }
}

TEST_CASE("same bits alone and in any batch and mix of structures") {
  Random random(3);
  for (int model = 0; model < 4; ++model) {
    const Model one = make_model(random, 0);
    std::vector<Sequence> sequences;
    for (int i = 0; i < 5; ++i) {
      sequences.push_back(random_sequence(random, one.config,
                                          i == 0 && model == 0 ? 70 : uniform(random, 1, 12),
                                          std::ssize(one.structures)));
    }
    for (const DType dtype : {DType::kF32, model % 2 == 0 ? DType::kBF16 : DType::kF16}) {
      for (const DevicePath path : device_paths(dtype)) {
        DeviceEncoder encoder(*one.weights, {.precision = dtype, .path = path});
        const auto hidden_of = [&](const OwnedBatch& batch) {
          return run_forward(encoder, batch.view(), one.structures, {.output = Output::kHidden});
        };
        std::vector<std::vector<float>> alone(sequences.size());
        for (size_t i = 0; i < sequences.size(); ++i) {
          OwnedBatch batch;
          batch.add(sequences[i]);
          if (takes_batch(encoder, path, batch.view(), one.structures)) alone[i] = hidden_of(batch);
        }
        for (int trial = 0; trial < 3; ++trial) {
          OwnedBatch batch;
          std::vector<float> expected;
          for (int64_t i = uniform(random, 2, 4); i > 0; --i) {
            const auto at = static_cast<size_t>(uniform(random, 0, std::ssize(sequences) - 1));
            batch.add(sequences[at]);
            expected.insert(expected.end(), alone[at].begin(), alone[at].end());
          }
          if (!takes_batch(encoder, path, batch.view(), one.structures)) continue;
          check_same_bits(hidden_of(batch), expected, describe(dtype, path) + " " + sizes_text(one.config));
        }
      }
    }
  }
}

// A sequence for each structure, of given lengths.
OwnedBatch batch_of(Random& random, const Model& of, std::initializer_list<int64_t> lengths,
                    int32_t first_structure) {
  OwnedBatch batch;
  for (const int64_t length : lengths) {
    Sequence sequence = random_sequence(random, of.config, length, 1);
    sequence.structure_idx = first_structure++ % static_cast<int32_t>(of.structures.size());
    batch.add(sequence);
  }
  return batch;
}

TEST_CASE(
    "a graph replayed with other levels, lengths and counts inside its bucket gives the bits of plain "
    "launches") {
  Random random(4);
  const Model one = make_model(random, 3);
  // All within 32 rows and 4 sequences.
  std::vector<OwnedBatch> batches = {
      batch_of(random, one, {9, 8}, 0),       batch_of(random, one, {9, 8}, 0),
      batch_of(random, one, {17}, 2),         batch_of(random, one, {30}, 4),
      batch_of(random, one, {6, 5, 4, 3}, 3), batch_of(random, one, {20, 1}, 1)};
  for (const Output output : {Output::kPooled, Output::kLogits, Output::kHidden}) {
    for (const DevicePath path : device_paths(DType::kBF16)) {
      DeviceEncoder with_graphs(*one.weights, {.path = path});
      if (!takes_batch(with_graphs, path, batches[0].view(), one.structures)) continue;
      DeviceEncoder without(*one.weights,
                            {.path = path, .use_graphs = false, .programmatic_launches = false});
      for (size_t i = 0; i < batches.size(); ++i) {
        check_same_bits(run_forward(with_graphs, batches[i].view(), one.structures, {.output = output}),
                        run_forward(without, batches[i].view(), one.structures, {.output = output}),
                        describe(DType::kBF16, path) + " batch " + std::to_string(i));
      }
    }
  }
}

TEST_CASE(
    "more shapes than graphs that are kept: each gives the bits of plain launches, whenever it comes back") {
  Random random(15);
  Model one = make_model(random, 2);
  one.config.num_heads = 1;
  one.config.hidden_size = 32;
  one.config.num_layers = 1;
  one.weights = random_weights(one.config, 2, 1);
  one.structures = {Structure::full(one.config)};
  std::vector<ForwardOptions> all = {
      {.output = Output::kHidden}, {.output = Output::kPooler}, {.output = Output::kLogits}};
  for (const Pooling pooling : {Pooling::kCls, Pooling::kMean}) {
    for (const bool normalize : {false, true}) {
      all.push_back({.output = Output::kPooled, .pooling = pooling, .normalize = normalize});
    }
  }
  const OwnedBatch batches[] = {batch_of(random, one, {9}, 0),
                                batch_of(random, one, {7, 5, 4}, 0),
                                batch_of(random, one, {20}, 0),
                                batch_of(random, one, {20, 1, 1}, 0),
                                batch_of(random, one, {20, 1, 1, 1, 2}, 0),
                                batch_of(random, one, {50}, 0),
                                batch_of(random, one, {50, 3}, 0),
                                batch_of(random, one, {50, 1, 1, 1, 1}, 0),
                                batch_of(random, one, {70}, 0),
                                batch_of(random, one, {70, 2}, 0)};
  const DeviceEncoderOptions options = {.path = DevicePath::kMma};
  DeviceEncoder with_graphs(*one.weights, options);
  DeviceEncoder without(*one.weights, {.path = DevicePath::kMma, .use_graphs = false});
  for (const bool is_back : {false, true}) {
    for (const ForwardOptions& forward : all) {
      for (const OwnedBatch& batch : batches) {
        const auto expected = run_forward(without, batch.view(), one.structures, forward);
        for (int i = 0; i < 2; ++i) {
          check_same_bits(run_forward(with_graphs, batch.view(), one.structures, forward), expected,
                          is_back ? "once more" : "first");
        }
      }
    }
  }
}

TEST_CASE("growing and shrinking batches, many structures and long lists: the results of a fresh encoder") {
  Random random(5);
  Model one = make_model(random, 2);
  while (one.structures.size() < 20) one.structures.push_back(random_lists(random, one.config));
  std::vector<OwnedBatch> batches = {batch_of(random, one, {5, 4}, 0), batch_of(random, one, {5, 4}, 1)};
  OwnedBatch many;
  for (int32_t i = 0; i < 20; ++i) {
    Sequence sequence = random_sequence(random, one.config, 1 + i % 3, 1);
    sequence.structure_idx = i;
    many.add(sequence);
  }
  batches.push_back(many);
  batches.push_back(batch_of(random, one, {70, 3}, 4));
  batches.push_back(batches[0]);
  batches.push_back(batches[1]);
  DeviceEncoder encoder(*one.weights, {});
  int64_t bytes = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    for (const Output output : {Output::kPooled, Output::kHidden, Output::kPooled}) {
      DeviceEncoder fresh(*one.weights, {});
      check_same_bits(run_forward(encoder, batches[i].view(), one.structures, {.output = output}),
                      run_forward(fresh, batches[i].view(), one.structures, {.output = output}),
                      "batch " + std::to_string(i));
      CHECK(encoder.arena_bytes() >= bytes, "memory shrank");
      bytes = encoder.arena_bytes();
    }
  }
  for (const OwnedBatch& batch : batches) run_forward(encoder, batch.view(), one.structures, {});
  CHECK(encoder.arena_bytes() == bytes, "sizes seen before took memory");
}

TEST_CASE("switching the level takes no memory") {
  Random random(6);
  const Model one = make_model(random, 0);
  DeviceEncoder encoder(*one.weights, {});
  OwnedBatch batch = batch_of(random, one, {7, 6}, 0);
  int64_t bytes = 0;
  for (const int32_t structure : {2, 1, 0, 3}) {
    for (int32_t& idx : batch.structure_idx) idx = structure;
    run_forward(encoder, batch.view(), one.structures, {});
    if (bytes == 0) bytes = encoder.arena_bytes();
    CHECK(bytes > 0 && encoder.arena_bytes() == bytes, "structure " + std::to_string(structure));
  }
}

TEST_CASE("two streams at once give the bits of one") {
  Random random(7);
  const Model one = make_model(random, 0);
  const OwnedBatch batches[] = {batch_of(random, one, {9, 8, 3}, 0), batch_of(random, one, {20, 1}, 3)};
  DeviceEncoder encoder(*one.weights, {.num_streams = 2});
  std::vector<float> expected[2];
  for (size_t i = 0; i < 2; ++i) expected[i] = run_forward(encoder, batches[i].view(), one.structures, {}, 0);
  std::vector<float> actual[2];
  std::thread threads[2];
  for (size_t i = 0; i < 2; ++i) {
    threads[i] = std::thread([&, i] {
      for (int repetition = 0; repetition < 12; ++repetition) {
        actual[i] = run_forward(encoder, batches[i].view(), one.structures, {}, static_cast<int>(i));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < 2; ++i) check_same_bits(actual[i], expected[i], "stream " + std::to_string(i));
}

TEST_CASE("the weights may be freed once they are uploaded; tables of every stored type") {
  Random random(8);
  const Model one = make_model(random, 0);
  const OwnedBatch batch = batch_of(random, one, {4, 3}, 0);
  // The word embeddings again as f16, in memory that is gone before the forward.
  const ForwardOptions options = {.output = Output::kHidden};
  std::vector<float> of_f16;
  std::vector<float> of_widened;
  for (const bool is_f16 : {true, false}) {
    std::unique_ptr<DeviceEncoder> encoder;
    {
      const auto count = static_cast<size_t>(one.config.vocab_size * one.config.hidden_size);
      std::vector<uint16_t> narrow(count);
      std::vector<float> wide(count);
      const auto* stored = reinterpret_cast<const float*>(one.weights->word_embeddings.data);
      for (size_t i = 0; i < count; ++i) {
        narrow[i] = f32_to_f16(stored[i]);
        wide[i] = f16_to_f32(narrow[i]);
      }
      // random_weights keeps one f32 table for each name; only its view is replaced.
      const TensorView view = {is_f16 ? reinterpret_cast<const std::byte*>(narrow.data())
                                      : reinterpret_cast<const std::byte*>(wide.data()),
                               is_f16 ? DType::kF16 : DType::kF32, one.weights->word_embeddings.shape};
      const auto copy = random_weights(one.config, 0, 77);
      auto& weights = const_cast<ModelWeights&>(*copy);
      weights.word_embeddings = view;
      encoder = std::make_unique<DeviceEncoder>(weights, DeviceEncoderOptions{});
    }
    (is_f16 ? of_f16 : of_widened) = run_forward(*encoder, batch.view(), one.structures, options);
  }
  check_same_bits(of_f16, of_widened, "table as f16");
}

TEST_CASE("an empty batch gives an empty result") {
  Random random(9);
  const Model one = make_model(random, 2);
  DeviceEncoder encoder(*one.weights, {});
  const OwnedBatch batch;
  for (const Output output : {Output::kHidden, Output::kPooled, Output::kPooler, Output::kLogits}) {
    CHECK(run_forward(encoder, batch.view(), one.structures, {.output = output}).empty(), "not empty");
  }
}

TEST_CASE("an aborted forward stops with its code, and the encoder goes on") {
  Random random(10);
  const Model one = make_model(random, 0);
  const OwnedBatch batch = batch_of(random, one, {5}, 0);
  DeviceEncoder encoder(*one.weights, {});
  const auto expected = run_forward(encoder, batch.view(), one.structures, {});
  const std::atomic<bool> aborted{true};
  CHECK(code_of([&] { run_forward(encoder, batch.view(), one.structures, {.aborted = &aborted}); }) ==
            ErrorCode::kCallAborted,
        "aborted before it began");
  check_same_bits(run_forward(encoder, batch.view(), one.structures, {}), expected, "after an aborted call");
}

TEST_CASE("pooler and logits without their weights are refused") {
  Random random(11);
  const Model one = make_model(random, 0);
  const OwnedBatch batch = batch_of(random, one, {5}, 0);
  DeviceEncoder encoder(*one.weights, {});
  CHECK(code_of([&] { run_forward(encoder, batch.view(), one.structures, {.output = Output::kLogits}); }) ==
            ErrorCode::kConfigInvalid,
        "logits without a classifier");
}

TEST_CASE("heads of another width are refused") {
  Random random(12);
  EncoderConfig config = device_config(random);
  config.hidden_size = config.num_heads * 16;
  const auto weights = random_weights(config, 0, 1);
  CHECK(code_of([&] { DeviceEncoder(*weights, {}); }) == ErrorCode::kConfigInvalid, "16 wide");
}

TEST_CASE("devices and paths that are not there are refused") {
  Random random(13);
  const Model one = make_model(random, 0);
  for (const int device_idx : {-1, cuda::device_count()}) {
    CHECK(code_of([&] { DeviceEncoder(*one.weights, {.device_idx = device_idx}); }) ==
              ErrorCode::kBackendUnavailable,
          "device " + std::to_string(device_idx));
  }
  for (const DevicePath path : {DevicePath::kMma, DevicePath::kWgmma, DevicePath::kSmall}) {
    CHECK(code_of([&] { DeviceEncoder(*one.weights, {.precision = DType::kF32, .path = path}); }) ==
              ErrorCode::kBackendUnavailable,
          "f32 by " + std::string(cuda::device_path_name(path)));
  }
}

TEST_CASE("facts tell the device and the memory of the weights") {
  Random random(14);
  const Model one = make_model(random, 0);
  DeviceEncoder wide(*one.weights, {.precision = DType::kF32});
  DeviceEncoder narrow(*one.weights, {.precision = DType::kF16});
  const cuda::DeviceFacts& facts = narrow.facts();
  CHECK(!facts.name.empty() && facts.compute_capability >= 80 && facts.num_sms > 0, facts.name);
  CHECK(facts.weight_bytes < wide.facts().weight_bytes && 2 * facts.weight_bytes >= wide.facts().weight_bytes,
        std::to_string(facts.weight_bytes) + " bytes");
  CHECK(narrow.arena_bytes() == 0, "memory before the first forward");
}

}  // namespace
}  // namespace elasticlm::test
