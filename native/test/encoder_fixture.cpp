#include "test/encoder_fixture.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <future>
#include <limits>

#include "test/check.h"

namespace elasticlm::test {
namespace {

template <typename Choices>
auto pick(Random& random, const Choices& choices) {
  return choices[static_cast<size_t>(uniform(random, 0, static_cast<int64_t>(std::size(choices)) - 1))];
}

// A count from 0 to `most`: 0 and `most` each about once in six.
int64_t random_count(Random& random, int64_t most) {
  const int64_t die = uniform(random, 1, 6);
  return die == 1 ? 0 : die == 2 ? most : uniform(random, 0, most);
}

std::vector<int32_t> random_positions(Random& random, int64_t count, int64_t limit) {
  std::vector<int32_t> all(static_cast<size_t>(limit));
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
  std::shuffle(all.begin(), all.end(), random);
  all.resize(static_cast<size_t>(count));
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace

int64_t uniform(Random& random, int64_t least, int64_t most) {
  return least + static_cast<int64_t>(random() % static_cast<uint64_t>(most - least + 1));
}

EncoderConfig random_config(Random& random) {
  constexpr int64_t kHeadDims[] = {8, 16, 24, 32, 64};
  EncoderConfig config;
  const int64_t head_dim = pick(random, kHeadDims);
  config.num_heads = uniform(random, 1, 5);
  config.hidden_size = head_dim * config.num_heads;
  config.intermediate_size = uniform(random, 1, 150);
  config.num_layers = uniform(random, 1, 3);
  config.vocab_size = 97;
  config.max_position_embeddings = 320;
  config.type_vocab_size = 2;
  config.layer_norm_eps = 1e-12f;
  return config;
}

EncoderConfig mini_lm_config() {
  EncoderConfig config;
  config.vocab_size = 200;
  config.hidden_size = 384;
  config.num_layers = 6;
  config.num_heads = 12;
  config.intermediate_size = 1536;
  config.max_position_embeddings = 512;
  config.type_vocab_size = 2;
  return config;
}

Structure random_prefix(Random& random, const EncoderConfig& config) {
  return random_nested(random, Structure::full(config));
}

Structure random_nested(Random& random, const Structure& larger) {
  Structure structure = larger;
  for (LayerStructure& layer : structure.layers) {
    layer.num_heads = random_count(random, layer.num_heads);
    layer.num_neurons = random_count(random, layer.num_neurons);
  }
  return structure;
}

Structure random_lists(Random& random, const EncoderConfig& config) {
  Structure structure = Structure::full(config);
  const int64_t num_blocks = (config.intermediate_size + kNeuronBlock - 1) / kNeuronBlock;
  for (LayerStructure& layer : structure.layers) {
    layer.heads = random_positions(random, random_count(random, config.num_heads), config.num_heads);
    layer.num_heads = static_cast<int64_t>(layer.heads.size());
    layer.neuron_blocks = random_positions(random, random_count(random, num_blocks), num_blocks);
    layer.num_neurons = 0;
    for (const int32_t block : layer.neuron_blocks) {
      layer.num_neurons += std::min(kNeuronBlock, config.intermediate_size - block * kNeuronBlock);
    }
  }
  validate(structure, config);
  return structure;
}

Sequence random_sequence(Random& random, const EncoderConfig& config, int64_t length,
                         int64_t num_structures) {
  Sequence sequence;
  for (int64_t i = 0; i < length; ++i) {
    sequence.input_ids.push_back(static_cast<int32_t>(uniform(random, 0, config.vocab_size - 1)));
    sequence.token_type_ids.push_back(static_cast<int32_t>(uniform(random, 0, config.type_vocab_size - 1)));
  }
  sequence.structure_idx = static_cast<int32_t>(uniform(random, 0, num_structures - 1));
  return sequence;
}

void OwnedBatch::add(const Sequence& sequence) {
  input_ids.insert(input_ids.end(), sequence.input_ids.begin(), sequence.input_ids.end());
  token_type_ids.insert(token_type_ids.end(), sequence.token_type_ids.begin(), sequence.token_type_ids.end());
  cu_seqlens.push_back(static_cast<int32_t>(input_ids.size()));
  structure_idx.push_back(sequence.structure_idx);
}

std::vector<float> run_forward(Encoder& encoder, ThreadPool& pool, const Batch& batch,
                               std::span<const Structure> structures, const ForwardOptions& options) {
  std::vector<float> out(static_cast<size_t>(encoder.output_floats(batch, options.output)),
                         std::numeric_limits<float>::quiet_NaN());
  // Shared: set_value may still be returning when the wait has ended.
  const auto ended = std::make_shared<std::promise<void>>();
  pool.submit([&, ended](int worker_idx) {
    try {
      encoder.forward(batch, structures, options, pool, worker_idx, out.data());
      ended->set_value();
    } catch (...) {
      ended->set_exception(std::current_exception());
    }
  });
  ended->get_future().get();
  return out;
}

std::string name_of(Isa isa, Precision precision) {
  return std::string(precision_name(precision)) + " " + isa_name(isa);
}

void check_close(std::span<const float> actual, const Truth& truth, const std::string& what) {
  CHECK(actual.size() == truth.f64.size(), what + ": " + std::to_string(actual.size()) + " elements");
  double naive = 0;
  double scale = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    naive = std::max(naive, std::abs(truth.naive[i] - truth.f64[i]));
    scale = std::max(scale, std::abs(truth.f64[i]));
  }
  const double bound = 2 * naive + 4 * scale * 0x1p-24;
  size_t worst = 0;
  double distance = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double at = std::abs(static_cast<double>(actual[i]) - truth.f64[i]);
    if (at <= distance) continue;  // false for NaN, which is the worst of all
    worst = i;
    distance = at;
    if (std::isnan(at)) break;
  }
  CHECK(distance <= bound, what + ": element " + std::to_string(worst) + " is " +
                               std::to_string(actual[worst]) + ", expected " +
                               std::to_string(truth.f64[worst]) + " within " + std::to_string(bound * 1e6) +
                               "e-6, off by " + std::to_string(distance * 1e6) + "e-6");
}

void check_same_bits(std::span<const float> actual, std::span<const float> expected,
                     const std::string& what) {
  CHECK(actual.size() == expected.size(), what + ": " + std::to_string(actual.size()) + " elements");
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(expected[i])) continue;
    CHECK(false, what + ": element " + std::to_string(i) + " is " + std::to_string(actual[i]) +
                     ", expected the bits of " + std::to_string(expected[i]));
  }
}

}  // namespace elasticlm::test
