// Losses over logits, and the pooler and classifier below them.
#include "core/status.h"
#include "test/objective_fixture.h"

namespace elasticlm::test {
namespace {

constexpr HeadShapes one_label() { return {.pooler = true, .num_labels = 1}; }
constexpr HeadShapes three_labels() { return {.pooler = true, .num_labels = 3}; }

void set_labels(ObjectiveCase& one, const std::vector<int32_t>& labels) {
  one.labels = labels;
  one.objective.classification.labels = one.labels;
}

void set_weights(RankingTerm& ranking, double label_weight, double teacher_weight) {
  ranking.label_weight = label_weight;
  ranking.teacher_weight = teacher_weight;
}

void set_lists(ObjectiveCase& one, const std::vector<int32_t>& cu_lists,
               const std::vector<float>& relevance) {
  one.cu_lists = cu_lists;
  one.relevance = relevance;
  one.objective.ranking.cu_lists = one.cu_lists;
  one.objective.ranking.labels = one.relevance;
}

TEST_CASE("classification: gradients of cross entropy and of the teacher's logits") {
  ObjectiveCase one({.heads = three_labels()}, 1);
  one.objective.classification.weight = 0.8;
  set_labels(one, {2, 0, 0, 1});
  check_gradients(one, "classification");
  one.objective.logits = {.weight = 1.2, .temperature = 2.0};
  check_gradients(one, "classification and logits");
  check_thread_counts(one, "classification and logits");
  check_reports_nan(one, "classification and logits");
}

TEST_CASE("regression: gradients of the squared error and of the teacher's logit") {
  ObjectiveCase one({.heads = one_label()}, 2);
  one.targets = {0.5f, 2.0f, -1.0f, 5.0f};
  one.objective.regression = {.weight = 0.8, .targets = one.targets};
  check_gradients(one, "regression");
  one.objective.logits = {.weight = 1.2};
  check_gradients(one, "regression and logits");
  check_reports_nan(one, "regression and logits");
}

TEST_CASE("ranking: gradients over lists of one, of some, with graded and without positive labels") {
  ObjectiveCase one({.lengths = {1, 2, 1, 3, 2, 1, 2}, .heads = one_label()}, 3);
  one.objective.ranking.temperature = 1.5;
  set_weights(one.objective.ranking, 0.9, 1.1);
  set_lists(one, {0, 1, 4, 7}, {1, 0, 2, 1, 0, 0, 0});
  check_gradients(one, "ranking");
  check_thread_counts(one, "ranking");
  check_reports_nan(one, "ranking");
  set_weights(one.objective.ranking, 0.9, 0.0);
  check_gradients(one, "ranking by labels");
  set_weights(one.objective.ranking, 0.0, 1.1);
  check_gradients(one, "ranking by the teacher");
}

TEST_CASE("ranking: lists of one candidate, and lists without a positive label, cost nothing") {
  ObjectiveCase one({.lengths = {1, 2, 1}, .heads = one_label()}, 4);
  set_weights(one.objective.ranking, 1.0, 1.0);
  set_lists(one, {0, 1, 2, 3}, {1, 0, 3});
  CHECK(one.run(isas().back()).losses.total == 0.0, "lists of one");
  one.objective.ranking.teacher_weight = 0.0;
  set_lists(one, {0, 3}, {0, 0, 0});
  const ObjectiveResult result = one.run(isas().back());
  CHECK(result.losses.total == 0.0, "no positive label");
  for (const float value : result.d_hidden) CHECK(value == 0.0f, "a gradient of nothing");
}

TEST_CASE("logits of ±1e4 stay finite") {
  ObjectiveCase one({.heads = three_labels()}, 5);
  one.objective.classification.weight = 1.0;
  one.objective.logits = {.weight = 1.0};
  set_labels(one, {2, 0, 0, 1});
  float* const bias = one.parameters->at(one.layout().head.classifier_bias);
  bias[0] = 1e4f;
  bias[1] = -1e4f;
  for (float& logit : one.teacher.logits) logit *= 1e4f;
  check_finite(one, "classification");

  ObjectiveCase lists({.heads = one_label()}, 6);
  set_weights(lists.objective.ranking, 1.0, 1.0);
  set_lists(lists, {0, 4}, {0, 1, 0, 0});
  float* const classifier = lists.parameters->at(lists.layout().head.classifier);
  for (int i = 0; i < 24; ++i) classifier[i] *= 1e4f;
  for (float& logit : lists.teacher.logits) logit *= 1e4f;
  check_finite(lists, "ranking");
}

TEST_CASE("gradients of the heads are added to what is there") {
  ObjectiveCase one({.heads = three_labels()}, 7);
  one.objective.classification.weight = 1.0;
  set_labels(one, {2, 0, 0, 1});
  const ObjectiveResult once = one.run(Isa::kRef);
  ParameterSet sums(one.parameters->shared_layout());
  std::vector<float> d_hidden(one.hidden.size());
  run_with_threads(2, [&](const TrainThreads& threads) {
    for (int i = 0; i < 2; ++i) {
      evaluate({.objective = one.objective,
                .batch = one.batch(),
                .hidden = one.hidden.data(),
                .parameters = *one.parameters,
                .weight = 1.0,
                .d_hidden = d_hidden.data(),
                .gradients = sums,
                .isa = Isa::kRef},
               threads);
    }
  });
  CHECK(d_hidden == once.d_hidden, "d_hidden is written, not added to");
  const std::span<const float> single = once.gradients->values();
  // A weight's gradient is one addition, a bias's one for each of the 4 sequences.
  WorstError worst;
  for (size_t i = 0; i < single.size(); ++i) {
    worst.add(sums.values()[i], {2.0 * single[i], gamma_bound(8) * (1.0 + std::abs(single[i]))},
              {static_cast<int64_t>(i)});
  }
  CHECK_WITHIN(worst, "twice the gradient");
}

TEST_CASE("larger sizes: heads of 7 labels along random directions") {
  ObjectiveCase one({.hidden_size = 200,
                     .lengths = std::vector<int64_t>(70, 2),
                     .heads = {.pooler = true, .num_labels = 7}},
                    8);
  one.objective.classification.weight = 1.0;
  one.objective.logits = {.weight = 1.0, .temperature = 2.0};
  std::vector<int32_t> labels;
  for (int32_t b = 0; b < 70; ++b) labels.push_back(b * 3 % 7);
  set_labels(one, labels);
  check_directions(one, 4, "classification");
  check_thread_counts(one, "classification");
}

TEST_CASE("a teacher of another number of labels is refused") {
  ObjectiveCase one({.heads = three_labels()}, 9);
  one.objective.logits.weight = 1.0;
  one.teacher.logits.resize(4);
  bool was_refused = false;
  try {
    one.run(Isa::kRef);
  } catch (const Error& error) {
    was_refused = error.code() == ErrorCode::kConfigInvalid;
  }
  CHECK(was_refused, "no kConfigInvalid");
}

}  // namespace
}  // namespace elasticlm::test
