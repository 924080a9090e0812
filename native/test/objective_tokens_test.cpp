// Losses over tokens: hidden states, relations, masked language modelling.
#include "test/objective_fixture.h"

namespace elasticlm::test {
namespace {

void set_mlm_labels(ObjectiveCase& one, const std::vector<int32_t>& labels) {
  one.labels = labels;
  one.objective.mlm.labels = one.labels;
}

TEST_CASE("hidden: gradients") {
  ObjectiveCase one({}, 1);
  one.objective.hidden.weight = 0.7;
  check_gradients(one, "hidden");
  check_thread_counts(one, "hidden");
  check_reports_nan(one, "hidden");
}

TEST_CASE("relation: gradients for heads of 1, 3 and 24 columns") {
  for (const int64_t num_relation_heads : {24, 8, 1}) {
    ObjectiveCase one({.lengths = {3, 1, 2}, .heads = {.relation = true}}, 2);
    one.objective.relation = {.weight = 1.3, .num_relation_heads = num_relation_heads};
    check_gradients(one, std::to_string(num_relation_heads) + " relation heads");
  }
}

TEST_CASE("relation: a student like its teacher has loss 0, one token too") {
  ObjectiveCase one({.lengths = {5, 1}, .heads = {.relation = true}}, 3);
  const int64_t E = 24;
  one.objective.relation = {.weight = 1.0, .num_relation_heads = 3};
  // The projection is the identity, so that q, k and v are the hidden states.
  float* const projection = one.parameters->at(one.layout().head.relation);
  std::fill_n(projection, 3 * E * E, 0.0f);
  for (int64_t n = 0; n < 3 * E; ++n) projection[n * E + n % E] = 1.0f;
  std::fill_n(one.parameters->at(one.layout().head.relation_bias), 3 * E, 0.0f);
  for (int part = 0; part < 3; ++part)
    std::copy(one.hidden.begin(), one.hidden.end(), one.teacher.qkv.begin() + part * std::ssize(one.hidden));
  for (const Isa isa : isas()) {
    const ObjectiveResult result = one.run(isa);
    CHECK(result.losses.total == 0.0, std::string(isa_name(isa)) + " " + std::to_string(result.losses.total));
  }
}

TEST_CASE("relation: scores of ±1e4 stay finite, NaN is reported") {
  ObjectiveCase one({.heads = {.relation = true}}, 4);
  one.objective.relation = {.weight = 1.0, .num_relation_heads = 3};
  check_reports_nan(one, "relation");
  for (float& value : one.hidden) value *= 40.0f;
  for (float& value : one.teacher.qkv) value *= 40.0f;
  check_finite(one, "relation");
}

TEST_CASE("relation: larger sizes along random directions, every thread count") {
  ObjectiveCase one({.hidden_size = 96, .lengths = {70, 1, 33}, .heads = {.relation = true}}, 5);
  one.objective.relation = {.weight = 1.0, .num_relation_heads = 8};
  one.objective.hidden.weight = 0.5;
  check_directions(one, 3, "relation and hidden");
  check_thread_counts(one, "relation and hidden");
}

TEST_CASE("mlm: gradients of head, embeddings and hidden states") {
  ObjectiveCase one({.heads = {.mlm = true}}, 6);
  one.objective.mlm.weight = 0.8;
  set_mlm_labels(one, {49, -1, 3, -1, -1, 0, 3, -1, -1, -1, 20});
  check_gradients(one, "mlm");
  check_thread_counts(one, "mlm");
  check_reports_nan(one, "mlm");
}

TEST_CASE("mlm: without a masked token loss and gradients are 0") {
  ObjectiveCase one({.heads = {.mlm = true}}, 7);
  one.objective.mlm.weight = 1.0;
  set_mlm_labels(one, std::vector<int32_t>(11, -1));
  const ObjectiveResult result = one.run(isas().back());
  CHECK(result.losses.total == 0.0, "loss");
  for (const float value : result.d_hidden) CHECK(value == 0.0f, "d_hidden");
  for (const float value : result.gradients->values()) CHECK(value == 0.0f, "gradients");
}

TEST_CASE("mlm: logits of ±1e4 stay finite") {
  ObjectiveCase one({.heads = {.mlm = true}}, 8);
  one.objective.mlm.weight = 1.0;
  set_mlm_labels(one, {49, -1, 3, -1, -1, 0, 3, -1, -1, -1, 20});
  float* const bias = one.parameters->at(one.layout().head.mlm_bias);
  for (int v = 0; v < 50; ++v) bias[v] = v % 2 == 0 ? 1e4f : -1e4f;
  check_finite(one, "mlm");
}

TEST_CASE("mlm: more tokens than one pass takes and more words than one tile, along random directions") {
  ObjectiveCase one(
      {.hidden_size = 40, .vocab_size = 1100, .lengths = {150, 150, 20}, .heads = {.mlm = true}}, 9);
  one.objective.mlm.weight = 1.0;
  std::vector<int32_t> labels;
  for (int32_t t = 0; t < 320; ++t) labels.push_back(t % 7 == 0 ? -1 : t * 37 % 1100);
  set_mlm_labels(one, labels);
  check_directions(one, 2, "mlm");
  check_thread_counts(one, "mlm");
}

TEST_CASE("teacher_outputs: q, k and v of all heads one after the other, and only what is asked for") {
  ObjectiveCase one({.heads = {.pooler = true, .num_labels = 2}}, 10);
  const int64_t E = 24;
  const int64_t T = one.num_tokens();
  std::vector<float> qkv(static_cast<size_t>(T * 3 * E));
  // Row t, head h, part, column d holds its own address.
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t c = 0; c < 3 * E; ++c)
      qkv[static_cast<size_t>(t * 3 * E + c)] = static_cast<float>(t * 100 + c);
  }
  one.objective.relation.weight = 1.0;
  run_with_threads(2, [&](const TrainThreads& threads) {
    const TeacherPass pass{
        .hidden = one.hidden.data(), .last_qkv = qkv.data(), .last_qkv_ld = 3 * E, .isa = isas().back()};
    const TeacherOutputs outputs =
        teacher_outputs(one.objective, one.batch(), pass, *one.parameters, threads);
    CHECK(outputs.hidden.empty() && outputs.embeddings.empty() && outputs.logits.empty(),
          "more than asked for");
    for (int64_t part = 0; part < 3; ++part) {
      for (int64_t t = 0; t < T; ++t) {
        for (int64_t e = 0; e < E; ++e) {
          const float expected = static_cast<float>(t * 100 + e / 8 * 24 + part * 8 + e % 8);
          CHECK(outputs.qkv[static_cast<size_t>((part * T + t) * E + e)] == expected, "qkv");
        }
      }
    }
    Objective all;
    all.embedding.cosine_weight = 1.0;
    all.hidden.weight = 1.0;
    all.logits.weight = 1.0;
    const TeacherOutputs others = teacher_outputs(all, one.batch(), pass, *one.parameters, threads);
    CHECK(others.hidden == one.hidden && others.qkv.empty(), "hidden");
    CHECK(std::ssize(others.embeddings) == 4 * E && std::ssize(others.logits) == 4 * 2, "sizes");
    double squares = 0.0;
    for (int64_t e = 0; e < E; ++e)
      squares += static_cast<double>(others.embeddings[static_cast<size_t>(e)]) *
                 others.embeddings[static_cast<size_t>(e)];
    // The norm of E rounded components.
    CHECK(std::abs(squares - 1.0) < 2.0 * gamma_bound(1) * 2.0, std::to_string(squares));
  });
}

}  // namespace
}  // namespace elasticlm::test
