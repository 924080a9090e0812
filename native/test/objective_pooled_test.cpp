// Losses over embeddings: what they pull towards, and their gradients.
#include "test/objective_fixture.h"

namespace elasticlm::test {
namespace {

TEST_CASE("embedding: gradients of cosine, mse and similarity, both poolings") {
  for (const Pooling pooling : {Pooling::kMean, Pooling::kCls}) {
    ObjectiveCase one({}, 1);
    one.objective.pooling = pooling;
    one.objective.embedding = {.cosine_weight = 0.7, .temperature = 0.1};
    check_gradients(one, "cosine");
    one.objective.embedding = {.mse_weight = 1.3};
    check_gradients(one, "mse");
    one.objective.embedding = {.similarity_weight = 0.9, .temperature = 0.1};
    check_gradients(one, "similarity");
    one.objective.embedding = {
        .cosine_weight = 0.7, .mse_weight = 0.2, .similarity_weight = 0.9, .temperature = 0.1};
    check_gradients(one, "all three");
    check_thread_counts(one, "all three");
    check_reports_nan(one, "all three");
  }
}

TEST_CASE("an adapter: gradients of the one that the SubLM has, both poolings") {
  for (const Pooling pooling : {Pooling::kMean, Pooling::kCls}) {
    ObjectiveCase one({.heads = {.num_adapters = 2}}, 11);
    one.objective.pooling = pooling;
    one.objective.embedding = {.cosine_weight = 0.7, .similarity_weight = 0.9, .temperature = 0.1};
    for (one.adapter_idx = -1; one.adapter_idx < 2; ++one.adapter_idx) {
      check_gradients(one, "adapter " + std::to_string(one.adapter_idx));
    }
    one.adapter_idx = 1;
    check_thread_counts(one, "adapter");
    one.objective.embedding = {};
    one.objective.contrastive = {.weight = 1.1, .temperature = 0.1, .num_queries = 2};
    check_gradients(one, "contrastive behind an adapter");
  }
}

TEST_CASE("embedding: a student like its teacher has loss 0 and no gradient") {
  ObjectiveCase one({}, 2);
  one.hidden = one.teacher.hidden;
  one.objective.embedding = {.cosine_weight = 1.0, .mse_weight = 1.0, .similarity_weight = 1.0};
  const ObjectiveResult result = one.run(isas().back());
  // Vectors rounded to f32: each component by 2^-24 of itself, the similarity by that over τ = 0.05.
  CHECK(std::abs(result.losses.total) < 20.0 * gamma_bound(4), std::to_string(result.losses.total));
  for (const float value : result.d_hidden)
    CHECK(std::abs(value) < 20.0 * gamma_bound(4), std::to_string(value));
}

TEST_CASE("embedding: one sequence has no similarities") {
  ObjectiveCase one({.lengths = {4}}, 3);
  one.objective.embedding = {.similarity_weight = 1.0};
  const ObjectiveResult result = one.run(isas().back());
  CHECK(result.losses.total == 0.0, "loss " + std::to_string(result.losses.total));
  for (const float value : result.d_hidden) CHECK(value == 0.0f, "a gradient of nothing");
}

TEST_CASE("embedding: a zero vector stays zero and gets no gradient") {
  ObjectiveCase one({}, 4);
  std::fill_n(one.hidden.begin(), 3 * 24, 0.0f);
  one.objective.embedding = {.cosine_weight = 1.0, .similarity_weight = 1.0};
  const ObjectiveResult result = one.run(isas().back());
  CHECK(std::isfinite(result.losses.total), "loss");
  for (int i = 0; i < 3 * 24; ++i) CHECK(result.d_hidden[static_cast<size_t>(i)] == 0.0f, "gradient");
}

TEST_CASE("embedding: similarities of ±1e4 stay finite") {
  ObjectiveCase one({}, 5);
  one.objective.embedding = {.similarity_weight = 1.0, .temperature = 1e-4};
  check_finite(one, "similarity");
  one.objective.embedding = {};
  one.objective.contrastive = {.weight = 1.0, .temperature = 1e-4, .num_queries = 2};
  check_finite(one, "contrastive");
}

TEST_CASE("contrastive: gradients, with and without hard negatives") {
  ObjectiveCase one({.lengths = {2, 1, 3, 2, 1, 2, 4}}, 6);
  for (const int64_t num_queries : {1, 2, 3}) {
    one.objective.contrastive = {.weight = 1.1, .temperature = 0.1, .num_queries = num_queries};
    check_gradients(one, std::to_string(num_queries) + " queries of 7 sequences");
  }
  check_thread_counts(one, "contrastive");
  check_reports_nan(one, "contrastive");
}

TEST_CASE("contrastive: one query and its only document cost nothing") {
  ObjectiveCase one({.lengths = {2, 3}}, 7);
  one.objective.contrastive = {.weight = 1.0, .num_queries = 1};
  const ObjectiveResult result = one.run(isas().back());
  CHECK(result.losses.total == 0.0, "loss " + std::to_string(result.losses.total));
}

TEST_CASE("the SubLM's weight multiplies all gradients and no loss") {
  ObjectiveCase one({}, 8);
  one.objective.embedding = {.cosine_weight = 0.7};
  const ObjectiveResult full = one.run(Isa::kRef);
  const ObjectiveResult quarter = one.run(Isa::kRef, 1, 0.25);
  CHECK(full.losses.total == quarter.losses.total, "loss");
  for (size_t i = 0; i < full.d_hidden.size(); ++i)
    CHECK(0.25f * full.d_hidden[i] == quarter.d_hidden[i], "gradient at " + std::to_string(i));
}

TEST_CASE("an empty batch has no loss") {
  ObjectiveCase one({.lengths = {}}, 9);
  one.objective.embedding = {.cosine_weight = 1.0};
  one.objective.hidden.weight = 1.0;
  CHECK(one.run(isas().back()).losses.total == 0.0, "loss");
}

TEST_CASE("larger sizes: embedding and contrastive along random directions") {
  ObjectiveCase one({.hidden_size = 200, .lengths = std::vector<int64_t>(37, 3)}, 10);
  one.objective.embedding = {
      .cosine_weight = 0.7, .mse_weight = 0.2, .similarity_weight = 0.9, .temperature = 0.1};
  one.objective.contrastive = {.weight = 1.1, .temperature = 0.1, .num_queries = 15};
  check_directions(one, 4, "embeddings");
  check_thread_counts(one, "embeddings");
}

}  // namespace
}  // namespace elasticlm::test
