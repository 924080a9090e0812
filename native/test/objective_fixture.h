// Random batches with a student and a teacher for the tests of the objective.
#pragma once

#include <cmath>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "test/kernel_support.h"
#include "test/objective_reference.h"

namespace elasticlm::test {

inline std::vector<float> normal_floats(Random& random, int64_t size, float deviation = 1.0f) {
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values) value = random.normal(deviation);
  return values;
}

// Looked up once, so that what is skipped is said once.
inline const std::vector<Isa>& isas() {
  static const std::vector<Isa> all = supported_isas();
  return all;
}

// Runs `job` as a job of a pool of its own.
inline void run_with_threads(int num_threads, const std::function<void(const TrainThreads&)>& job) {
  ThreadPool pool(num_threads);
  // Shared: set_value may still be returning when the wait has ended.
  const auto ended = std::make_shared<std::promise<void>>();
  pool.submit([&, ended](int worker_idx) {
    try {
      job({.pool = pool, .worker_idx = worker_idx});
      ended->set_value();
    } catch (...) {
      ended->set_exception(std::current_exception());
    }
  });
  ended->get_future().get();
}

struct ObjectiveSizes {
  int64_t hidden_size = 24;
  int64_t vocab_size = 50;
  std::vector<int64_t> lengths = {3, 1, 5, 2};  // of the sequences
  HeadShapes heads = {};
};

struct ObjectiveResult {
  Losses losses;
  std::vector<float> d_hidden;
  std::unique_ptr<ParameterSet> gradients;
};

class ObjectiveCase {
 public:
  ObjectiveCase(const ObjectiveSizes& sizes, uint64_t seed);

  int64_t num_tokens() const { return static_cast<int64_t>(input_ids.size()); }
  int64_t num_sequences() const { return static_cast<int64_t>(cu_seqlens.size()) - 1; }
  TokenBatch batch() const { return {input_ids, token_type_ids, cu_seqlens}; }
  const ParameterLayout& layout() const { return parameters->layout(); }

  // evaluate() into poisoned memory and cleared gradients.
  ObjectiveResult run(Isa isa, int num_threads = 2, double weight = 1.0) const;
  // The reference's losses, with `hidden` and the parameters moved by `step` times a direction of that many
  // numbers, if any.
  Losses reference(const std::vector<double>* direction = nullptr, double step = 0.0) const;
  // Hidden states and parameters that the reference varies.
  int64_t num_variables() const { return num_tokens() * layout().config.hidden_size + layout().num_floats; }

  Objective objective;
  int64_t adapter_idx = -1;
  std::vector<int32_t> input_ids;
  std::vector<int32_t> token_type_ids;
  std::vector<int32_t> cu_seqlens;
  std::vector<int32_t> labels;  // for whichever term of `objective` takes them
  std::vector<int32_t> cu_lists;
  std::vector<float> relevance;
  std::vector<float> targets;
  std::vector<float> hidden;  // [T, E]
  TeacherOutputs teacher;     // all of it, random
  std::unique_ptr<ParameterSet> parameters;
};

// Of every coordinate of hidden states and parameters: the shipped gradient against a central difference of
// the reference, on every instruction set; losses too.
void check_gradients(const ObjectiveCase& one, const std::string& subject);
// The same along random directions, for sizes at which coordinates are too many.
void check_directions(const ObjectiveCase& one, int num_directions, const std::string& subject);
// The same bits with 1, 2 and 3 threads.
void check_thread_counts(const ObjectiveCase& one, const std::string& subject);
// Losses and gradients are finite numbers.
void check_finite(const ObjectiveCase& one, const std::string& subject);
// A NaN among the hidden states makes the loss NaN.
void check_reports_nan(ObjectiveCase& one, const std::string& subject);

}  // namespace elasticlm::test
