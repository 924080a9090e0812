// Bits: a text's result depends on its text and its structure alone, and a view equals its cut-out copy.
#include <future>

#include "test/check.h"
#include "test/cut_weights.h"
#include "test/encoder_fixture.h"

namespace elasticlm::test {
namespace {

// Texts of one model with each one's result alone.
struct Corpus {
  std::shared_ptr<const ModelWeights> weights;
  std::vector<Structure> structures;
  std::vector<Sequence> sequences;
  std::vector<std::vector<float>> alone;  // hidden states
};

// What computes: every pair that this machine has.
struct Kernels {
  Precision precision;
  Isa isa;
  std::string name() const { return name_of(isa, precision); }
};

std::vector<Kernels> all_kernels() {
  std::vector<Kernels> all;
  for (const Precision precision : kPrecisions) {
    for (const Isa isa : supported_isas(precision)) all.push_back({precision, isa});
  }
  return all;
}

Corpus make_corpus(Random& random, const EncoderConfig& config, const Kernels& kernels, int64_t num_sequences,
                   int64_t longest) {
  Corpus corpus;
  corpus.weights = random_weights(config, 0, random(), kernels.precision);
  corpus.structures = {Structure::full(config)};
  for (int i = 0; i < 3; ++i) corpus.structures.push_back(random_nested(random, corpus.structures.back()));
  corpus.structures.push_back(random_lists(random, config));
  ThreadPool pool(1);
  Encoder encoder(corpus.weights, kernels.isa, 1);
  for (int64_t i = 0; i < num_sequences; ++i) {
    const int64_t length = i % 3 == 0 ? uniform(random, 1, 4) : uniform(random, 1, longest);
    corpus.sequences.push_back(
        random_sequence(random, config, length, static_cast<int64_t>(corpus.structures.size())));
    OwnedBatch batch;
    batch.add(corpus.sequences.back());
    corpus.alone.push_back(
        run_forward(encoder, pool, batch.view(), corpus.structures, {.output = Output::kHidden}));
  }
  return corpus;
}

// A random choice of the corpus, and what its forward must give.
struct Draw {
  OwnedBatch batch;
  std::vector<float> expected;
};

Draw draw(Random& random, const Corpus& corpus, int64_t most) {
  Draw result;
  const int64_t count = uniform(random, 1, most);
  for (int64_t i = 0; i < count; ++i) {
    const auto at =
        static_cast<size_t>(uniform(random, 0, static_cast<int64_t>(corpus.sequences.size()) - 1));
    result.batch.add(corpus.sequences[at]);
    result.expected.insert(result.expected.end(), corpus.alone[at].begin(), corpus.alone[at].end());
  }
  return result;
}

void check_draws(Random& random, const Corpus& corpus, const Kernels& kernels, int num_trials, int64_t most) {
  for (const int num_threads : {1, 2, 3}) {
    ThreadPool pool(num_threads);
    Encoder encoder(corpus.weights, kernels.isa, num_threads);
    for (int trial = 0; trial < num_trials; ++trial) {
      const Draw one = draw(random, corpus, most);
      const auto hidden =
          run_forward(encoder, pool, one.batch.view(), corpus.structures, {.output = Output::kHidden});
      check_same_bits(
          hidden, one.expected,
          kernels.name() + " threads=" + std::to_string(num_threads) + " trial " + std::to_string(trial));
    }
  }
}

TEST_CASE("same bits alone and in any batch, mix of structures and number of threads: small models") {
  // 3 fast ISAs x 10 models x 3 thread counts x 115 batches: more than 10,000 in each precision.
  for (const Kernels& kernels : all_kernels()) {
    Random random(11);
    for (int model = 0; model < 10; ++model) {
      const Corpus corpus = make_corpus(random, random_config(random), kernels, 12, model == 0 ? 200 : 12);
      const int num_trials = kernels.isa == Isa::kRef ? 5 : kSanitized ? 10 : 115;
      check_draws(random, corpus, kernels, num_trials, model == 0 ? 4 : 8);
    }
  }
}

TEST_CASE("same bits alone and in any batch: MiniLM's sizes") {
  for (const Kernels& kernels : all_kernels()) {
    // Covered by the small models; a MiniLM forward without vector instructions of its own takes seconds.
    if (kernels.isa == Isa::kRef || kernels.isa == Isa::kGeneric) continue;
    Random random(12);
    const Corpus corpus = make_corpus(random, mini_lm_config(), kernels, 6, 140);
    check_draws(random, corpus, kernels, kSanitized ? 1 : 6, 5);
  }
}

TEST_CASE("same bits when several forwards share a pool") {
  for (const Kernels& kernels : all_kernels()) {
    Random random(13);
    const Corpus corpus = make_corpus(random, random_config(random), kernels, 10, 60);
    ThreadPool pool(3);
    Encoder encoder(corpus.weights, kernels.isa, 3);
    for (int round = 0; round < (kernels.isa == Isa::kRef ? 1 : 6); ++round) {
      std::vector<Draw> draws;
      for (int i = 0; i < 8; ++i) draws.push_back(draw(random, corpus, 8));
      std::vector<std::future<std::vector<float>>> results;
      for (const Draw& one : draws) {
        results.push_back(std::async(std::launch::async, [&] {
          return run_forward(encoder, pool, one.batch.view(), corpus.structures, {.output = Output::kHidden});
        }));
      }
      for (size_t i = 0; i < draws.size(); ++i) {
        check_same_bits(results[i].get(), draws[i].expected,
                        kernels.name() + " concurrent " + std::to_string(i));
      }
    }
  }
}

void check_view_equals_cut(Random& random, Isa isa, const Structure& structure,
                           const std::shared_ptr<const ModelWeights>& weights, const std::string& what) {
  const EncoderConfig& config = weights->config;
  const CutModel cut = cut_model(*weights, structure);
  OwnedBatch batch;
  for (const int64_t length : {int64_t{1}, uniform(random, 1, 40)})
    batch.add(random_sequence(random, config, length, 1));
  ThreadPool pool(2);
  Encoder view_encoder(weights, isa, 2);
  Encoder cut_encoder(cut.weights, isa, 2);
  const std::vector<Structure> view_structures = {structure};
  const std::vector<Structure> cut_structures = {cut.structure};
  const auto view =
      run_forward(view_encoder, pool, batch.view(), view_structures, {.output = Output::kHidden});
  const auto dense =
      run_forward(cut_encoder, pool, batch.view(), cut_structures, {.output = Output::kHidden});
  check_same_bits(view, dense, what + " " + name_of(isa, weights->precision));
}

TEST_CASE("a SubLM within the shared weights equals the same SubLM cut out: 50 nested structures") {
  const std::vector<Kernels> all = all_kernels();
  for (size_t k = 0; k < all.size(); ++k) {
    const Kernels& kernels = all[k];
    Random random(14 + k);
    // The families are divided among the kernels, each family met by several.
    for (int family = static_cast<int>(k % 3); family < 10; family += 3) {
      const EncoderConfig config = random_config(random);
      const auto weights = random_weights(config, 0, random(), kernels.precision);
      Structure structure = Structure::full(config);
      for (int i = 0; i < 5; ++i) {
        structure = random_nested(random, structure);
        check_view_equals_cut(random, kernels.isa, structure, weights,
                              "family " + std::to_string(family) + "." + std::to_string(i));
      }
    }
  }
}

TEST_CASE("a SubLM within the shared weights equals the same SubLM cut out: 50 arbitrary structures") {
  const std::vector<Kernels> all = all_kernels();
  for (size_t k = 0; k < all.size(); ++k) {
    const Kernels& kernels = all[k];
    Random random(15 + k);
    for (int i = static_cast<int>(k % 4); i < 50; i += 4) {
      const EncoderConfig config = random_config(random);
      const auto weights = random_weights(config, 0, random(), kernels.precision);
      check_view_equals_cut(random, kernels.isa, random_lists(random, config), weights,
                            "structure " + std::to_string(i));
    }
  }
}

TEST_CASE("a SubLM within MiniLM's sizes equals the same SubLM cut out") {
  const EncoderConfig config = mini_lm_config();
  for (const Kernels& kernels : all_kernels()) {
    // Covered by the small models; a MiniLM forward without vector instructions of its own takes seconds.
    if (kernels.isa == Isa::kRef || kernels.isa == Isa::kGeneric) continue;
    Random random(16);
    const auto weights = random_weights(config, 0, random(), kernels.precision);
    check_view_equals_cut(random, kernels.isa, random_prefix(random, config), weights, "prefix");
    check_view_equals_cut(random, kernels.isa, random_lists(random, config), weights, "lists");
  }
}

}  // namespace
}  // namespace elasticlm::test
