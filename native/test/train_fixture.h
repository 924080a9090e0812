// A random encoder with SubLMs and a batch, and what a training pass over it gives: shared by the tests of
// train/encoder_pass.h.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "test/encoder_fixture.h"
#include "test/reference_gradients.h"
#include "train/encoder_pass.h"

namespace elasticlm::test {

// A random encoder, SubLMs by falling size, a batch, and a gradient for each SubLM's hidden states.
struct TrainFixture {
  std::shared_ptr<const ParameterLayout> layout;
  std::unique_ptr<ParameterSet> parameters;
  std::vector<Structure> structures;
  OwnedBatch owned;
  TokenBatch batch;
  std::vector<float> d_hidden;  // [structures * T, E]

  int64_t hidden_floats() const { return batch.num_tokens() * layout->config.hidden_size; }
  std::span<const float> d_hidden_of(size_t i) const {
    return std::span(d_hidden).subspan(i * static_cast<size_t>(hidden_floats()),
                                       static_cast<size_t>(hidden_floats()));
  }
};

struct TrainFixtureSizes {
  int64_t num_structures = 1;
  int64_t num_sequences = 3;
  int64_t longest = 23;
};

TrainFixture make_train_fixture(Random& random, const TrainFixtureSizes& sizes);

struct PassResult {
  std::vector<float> hidden;  // [structures * T, E]
  std::vector<float> gradients;
  MaskGradients masks;
};

struct PassOptions {
  Isa isa = Isa::kRef;
  Precision precision = Precision::kF32;
  Saving saving = Saving::kAll;
  int num_threads = 2;
  bool with_masks = false;
};

PassResult run_pass(const TrainFixture& fixture, const PassOptions& how);

// The sum over the SubLMs.
ReferenceGradients run_reference(const TrainFixture& fixture, GradientArithmetic arithmetic);

}  // namespace elasticlm::test
