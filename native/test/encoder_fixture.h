// What the tests of exec/ share: random models, structures and batches, and a forward that waits for its
// result.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/thread_pool.h"
#include "exec/encoder.h"
#include "test/isas.h"

namespace elasticlm::test {

using Random = std::mt19937_64;

int64_t uniform(Random& random, int64_t least, int64_t most);

// 1 to 3 layers; sizes that are not multiples of 16 included.
EncoderConfig random_config(Random& random);
// MiniLM's layer sizes with a small vocabulary.
EncoderConfig mini_lm_config();

// Prefixes with each layer's own counts; about one layer in six keeps no head, one in six no neuron.
Structure random_prefix(Random& random, const EncoderConfig& config);
// Lists of heads and neuron blocks, empty ones included.
Structure random_lists(Random& random, const EncoderConfig& config);
// A prefix that is contained in `larger`, itself a prefix.
Structure random_nested(Random& random, const Structure& larger);

struct Sequence {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> token_type_ids;
  int32_t structure_idx = 0;
};
Sequence random_sequence(Random& random, const EncoderConfig& config, int64_t length, int64_t num_structures);

// Owns what a Batch points to.
struct OwnedBatch {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> token_type_ids;
  std::vector<int32_t> cu_seqlens = {0};
  std::vector<int32_t> structure_idx;

  void add(const Sequence& sequence);
  Batch view() const { return {input_ids, token_type_ids, cu_seqlens, structure_idx}; }
};

// Submits a forward into a buffer of NaN, waits, and returns the buffer; rethrows what forward throws.
std::vector<float> run_forward(Encoder& encoder, ThreadPool& pool, const Batch& batch,
                               std::span<const Structure> structures, const ForwardOptions& options);

inline constexpr Precision kPrecisions[] = {Precision::kF32, Precision::kBF16, Precision::kI8};

std::string name_of(Isa isa, Precision precision);

// Fails, naming the worst element, unless |actual - truth| <= the bound at every element. The bound is twice
// the largest distance of the naive result in the same precision from the f64 truth (the kernels sum in
// another order and approximate erf, exp and tanh, but must not lose more than plain arithmetic does), and
// four f32 roundings of the largest value for results that the naive path hits exactly.
struct Truth {
  std::vector<double> f64;
  std::vector<double> naive;
};
void check_close(std::span<const float> actual, const Truth& truth, const std::string& what);

// Fails, naming the first element, unless all bits agree.
void check_same_bits(std::span<const float> actual, std::span<const float> expected, const std::string& what);

}  // namespace elasticlm::test
