#include "test/train_fixture.h"

#include <random>

namespace elasticlm::test {

TrainFixture make_train_fixture(Random& random, const TrainFixtureSizes& sizes) {
  TrainFixture fixture;
  const EncoderConfig config = random_config(random);
  fixture.layout = std::make_shared<ParameterLayout>(config, HeadShapes{});
  fixture.parameters = std::make_unique<ParameterSet>(fixture.layout);
  fill_randomly(random(), *fixture.parameters);
  fixture.structures.push_back(uniform(random, 0, 1) == 0 ? Structure::full(config)
                                                          : random_prefix(random, config));
  while (static_cast<int64_t>(fixture.structures.size()) < sizes.num_structures)
    fixture.structures.push_back(random_nested(random, fixture.structures.back()));
  for (int64_t i = 0; i < sizes.num_sequences; ++i)
    fixture.owned.add(random_sequence(random, config, uniform(random, 1, sizes.longest), 1));
  fixture.batch = {fixture.owned.input_ids, fixture.owned.token_type_ids, fixture.owned.cu_seqlens};
  std::normal_distribution<float> normal;
  fixture.d_hidden.resize(static_cast<size_t>(sizes.num_structures * fixture.hidden_floats()));
  for (float& value : fixture.d_hidden) value = normal(random);
  return fixture;
}

PassResult run_pass(const TrainFixture& fixture, const PassOptions& how) {
  ThreadPool pool(how.num_threads);
  PassResult result;
  run_job(pool, [&](const TrainThreads& threads) {
    TrainWeights weights(*fixture.parameters, how.precision, how.isa);
    weights.refresh(threads);
    EncoderPass pass(weights, how.saving);
    ParameterSet gradients(fixture.layout);
    pass.forward(fixture.batch, fixture.structures, threads);
    for (size_t i = 0; i < fixture.structures.size(); ++i) {
      const float* const hidden = pass.hidden(static_cast<int64_t>(i));
      result.hidden.insert(result.hidden.end(), hidden, hidden + fixture.hidden_floats());
    }
    std::vector<float> d_hidden = fixture.d_hidden;
    pass.backward(d_hidden.data(), gradients, how.with_masks ? &result.masks : nullptr, threads);
    result.gradients.assign(gradients.values().begin(), gradients.values().end());
  });
  return result;
}

ReferenceGradients run_reference(const TrainFixture& fixture, GradientArithmetic arithmetic) {
  const std::vector<double> values = widened(fixture.parameters->values());
  ReferenceGradients sum;
  for (size_t i = 0; i < fixture.structures.size(); ++i) {
    const ReferenceGradients one =
        reference_gradients({*fixture.layout, values, fixture.structures[i], fixture.batch, {}, {}},
                            widened(fixture.d_hidden_of(i)), arithmetic);
    sum.hidden.insert(sum.hidden.end(), one.hidden.begin(), one.hidden.end());
    sum.parameters.resize(one.parameters.size());
    for (size_t j = 0; j < one.parameters.size(); ++j) sum.parameters[j] += one.parameters[j];
    sum.heads = one.heads;
    sum.neurons = one.neurons;
  }
  return sum;
}

}  // namespace elasticlm::test
