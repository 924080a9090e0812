// Random hostile batches: `batch_fuzz CASES SEED`. Each ends in a kBatchInvalid error or, when validate
// accepts it, in a forward whose result is finite.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>

#include "core/status.h"
#include "test/encoder_fixture.h"

namespace elasticlm::test {
namespace {

EncoderConfig tiny_config() {
  EncoderConfig config;
  config.vocab_size = 11;
  config.hidden_size = 16;
  config.num_layers = 2;
  config.num_heads = 2;
  config.intermediate_size = 20;
  config.max_position_embeddings = 9;
  config.type_vocab_size = 2;
  return config;
}

int32_t hostile_value(Random& random) {
  constexpr int32_t kValues[] = {-1,
                                 0,
                                 1,
                                 2,
                                 3,
                                 9,
                                 10,
                                 11,
                                 12,
                                 255,
                                 65536,
                                 std::numeric_limits<int32_t>::max(),
                                 std::numeric_limits<int32_t>::min(),
                                 std::numeric_limits<int32_t>::max() - 1};
  const int64_t choice = uniform(random, 0, static_cast<int64_t>(std::size(kValues)));
  return choice == static_cast<int64_t>(std::size(kValues)) ? static_cast<int32_t>(random())
                                                            : kValues[choice];
}

void spoil(Random& random, std::vector<int32_t>& values) {
  const auto size = static_cast<int64_t>(values.size());
  switch (uniform(random, 0, 4)) {
    case 0:
      if (size > 0) values[static_cast<size_t>(uniform(random, 0, size - 1))] = hostile_value(random);
      break;
    case 1:
      values.push_back(hostile_value(random));
      break;
    case 2:
      if (size > 0) values.pop_back();
      break;
    case 3:
      if (size > 0) values.insert(values.begin(), values[static_cast<size_t>(uniform(random, 0, size - 1))]);
      break;
    default:
      values.resize(static_cast<size_t>(uniform(random, 0, 3)));
  }
}

class Driver {
 public:
  explicit Driver(uint64_t seed)
      : random_(seed),
        config_(tiny_config()),
        encoder_(random_weights(config_, 3, seed), choose_isa(""), 1),
        pool_(1) {
    structures_.push_back(Structure::full(config_));
    structures_.push_back(random_prefix(random_, config_));
    structures_.push_back(random_lists(random_, config_));
  }

  // Whether the batch was accepted; prints and returns false in `ok` when a rule was broken.
  bool run_case(bool& ok) {
    OwnedBatch batch;
    const int64_t count = uniform(random_, 0, 4);
    for (int64_t i = 0; i < count; ++i) {
      batch.add(random_sequence(random_, config_, uniform(random_, 1, config_.max_position_embeddings), 3));
    }
    const int64_t num_spoiled = uniform(random_, 0, 3);
    std::vector<int32_t>* const parts[] = {&batch.input_ids, &batch.token_type_ids, &batch.cu_seqlens,
                                           &batch.structure_idx};
    for (int64_t i = 0; i < num_spoiled; ++i) spoil(random_, *parts[uniform(random_, 0, 3)]);
    try {
      validate(batch.view(), config_, 3);
    } catch (const Error& error) {
      ok = error.code() == ErrorCode::kBatchInvalid;
      if (!ok) std::printf("refused with %s\n", error.what());
      return false;
    }
    constexpr Output kOutputs[] = {Output::kHidden, Output::kPooled, Output::kPooler, Output::kLogits};
    const ForwardOptions options{.output = kOutputs[uniform(random_, 0, 3)],
                                 .pooling = uniform(random_, 0, 1) == 0 ? Pooling::kCls : Pooling::kMean,
                                 .normalize = uniform(random_, 0, 1) == 0};
    for (const float value : run_forward(encoder_, pool_, batch.view(), structures_, options)) {
      if (!std::isfinite(value)) {
        std::printf("accepted, but the result is not finite\n");
        ok = false;
      }
    }
    return true;
  }

 private:
  Random random_;
  EncoderConfig config_;
  std::vector<Structure> structures_;
  Encoder encoder_;
  ThreadPool pool_;
};

}  // namespace
}  // namespace elasticlm::test

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: batch_fuzz CASES SEED\n");
    return 2;
  }
  const long long cases = std::atoll(argv[1]);
  const auto seed = static_cast<uint64_t>(std::atoll(argv[2]));
  elasticlm::test::Driver driver(seed);
  long long accepted = 0;
  for (long long i = 0; i < cases; ++i) {
    bool ok = true;
    if (driver.run_case(ok)) ++accepted;
    if (!ok) {
      std::printf("case %lld of seed %llu failed\n", i, static_cast<unsigned long long>(seed));
      return 1;
    }
  }
  std::printf("%lld cases: %lld accepted, %lld refused\n", cases, accepted, cases - accepted);
  return 0;
}
