// Objectives that do not fit their batch or student: each refused with its code, naming what is wrong.
#include <limits>

#include "core/status.h"
#include "test/objective_fixture.h"

namespace elasticlm::test {
namespace {

constexpr ErrorCode kBatch = ErrorCode::kBatchInvalid;
constexpr ErrorCode kConfig = ErrorCode::kConfigInvalid;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A batch of 4 sequences and 11 tokens; `change` makes the objective, spans over `labels` and such included.
void check_refused(const HeadShapes& heads, const std::function<void(ObjectiveCase&)>& change, ErrorCode code,
                   const std::string& name) {
  ObjectiveCase one({.heads = heads}, 1);
  change(one);
  try {
    validate(one.objective, one.batch(), one.layout());
  } catch (const Error& error) {
    CHECK(error.code() == code, name + ": " + error_code_name(error.code()) + ", " + error.what());
    CHECK(std::string(error.what()).find(name) != std::string::npos, name + " not named: " + error.what());
    return;
  }
  CHECK(false, name + ": accepted");
}

constexpr HeadShapes kAll = {.pooler = true, .num_labels = 3, .relation = true, .mlm = true};
constexpr HeadShapes kOneLabel = {.pooler = true, .num_labels = 1};
constexpr HeadShapes kNone = {};

TEST_CASE("validate: every weight is 0 or positive") {
  for (const double weight : {-1.0, kInfinity, std::nan("")}) {
    const auto refused = [&](double& (*term)(Objective&), const char* name) {
      check_refused(
          kAll, [&](ObjectiveCase& one) { term(one.objective) = weight; }, kBatch, name);
    };
    refused([](Objective& o) -> double& { return o.embedding.cosine_weight; }, "embedding.cosineWeight");
    refused([](Objective& o) -> double& { return o.embedding.mse_weight; }, "embedding.mseWeight");
    refused([](Objective& o) -> double& { return o.embedding.similarity_weight; },
            "embedding.similarityWeight");
    refused([](Objective& o) -> double& { return o.contrastive.weight; }, "contrastive.weight");
    refused([](Objective& o) -> double& { return o.classification.weight; }, "classification.weight");
    refused([](Objective& o) -> double& { return o.regression.weight; }, "regression.weight");
    refused([](Objective& o) -> double& { return o.logits.weight; }, "logits.weight");
    refused([](Objective& o) -> double& { return o.ranking.label_weight; }, "ranking.labelWeight");
    refused([](Objective& o) -> double& { return o.ranking.teacher_weight; }, "ranking.teacherWeight");
    refused([](Objective& o) -> double& { return o.hidden.weight; }, "hidden.weight");
    refused([](Objective& o) -> double& { return o.relation.weight; }, "relation.weight");
    refused([](Objective& o) -> double& { return o.mlm.weight; }, "mlm.weight");
  }
}

TEST_CASE("validate: temperatures are positive") {
  for (const double temperature : {0.0, -1.0, kInfinity, std::nan("")}) {
    check_refused(
        kAll,
        [&](ObjectiveCase& one) {
          one.objective.embedding = {.similarity_weight = 1.0, .temperature = temperature};
        },
        kBatch, "embedding.temperature");
    check_refused(
        kAll,
        [&](ObjectiveCase& one) {
          one.objective.contrastive = {.weight = 1.0, .temperature = temperature, .num_queries = 2};
        },
        kBatch, "contrastive.temperature");
    check_refused(
        kAll, [&](ObjectiveCase& one) { one.objective.logits = {.weight = 1.0, .temperature = temperature}; },
        kBatch, "logits.temperature");
    check_refused(
        kOneLabel,
        [&](ObjectiveCase& one) {
          one.objective.ranking.teacher_weight = 1.0;
          one.objective.ranking.temperature = temperature;
        },
        kBatch, "ranking.temperature");
  }
}

TEST_CASE("validate: queries are at most half of the sequences") {
  for (const int64_t num_queries : {-1, 0, 3, 4}) {
    check_refused(
        kNone,
        [&](ObjectiveCase& one) { one.objective.contrastive = {.weight = 1.0, .num_queries = num_queries}; },
        kBatch, "numQueries");
  }
}

TEST_CASE("validate: labels, targets, lists and relevance fit the batch") {
  const auto labels = [&](const std::vector<int32_t>& values, const char* name) {
    check_refused(
        kAll,
        [&](ObjectiveCase& one) {
          one.labels = values;
          one.objective.classification = {.weight = 1.0, .labels = one.labels};
        },
        kBatch, name);
  };
  labels({}, "labels");
  labels({0, 1, 2}, "labels");
  labels({0, 1, 2, 3}, "labels[3]");
  labels({0, -1, 2, 2}, "labels[1]");

  const auto targets = [&](const std::vector<float>& values, const char* name) {
    check_refused(
        kOneLabel,
        [&](ObjectiveCase& one) {
          one.targets = values;
          one.objective.regression = {.weight = 1.0, .targets = one.targets};
        },
        kBatch, name);
  };
  targets({1, 2, 3}, "targets");
  targets({1, 2, 3, NAN}, "targets[3]");

  const auto lists = [&](const std::vector<int32_t>& cu_lists, const std::vector<float>& relevance,
                         const char* name) {
    check_refused(
        kOneLabel,
        [&](ObjectiveCase& one) {
          one.cu_lists = cu_lists;
          one.relevance = relevance;
          one.objective.ranking = {.label_weight = 1.0, .cu_lists = one.cu_lists, .labels = one.relevance};
        },
        kBatch, name);
  };
  lists({}, {1, 0, 0, 0}, "cuLists");
  lists({1, 4}, {1, 0, 0, 0}, "cuLists[0]");
  lists({0, 3}, {1, 0, 0, 0}, "cuLists[1]");
  lists({0, 2, 2, 4}, {1, 0, 0, 0}, "cuLists[2]");
  lists({0, 5}, {1, 0, 0, 0}, "cuLists[1]");
  lists({0, 4}, {1, 0, 0}, "relevance");
  lists({0, 4}, {1, -1, 0, 0}, "relevance[1]");
  lists({0, 4}, {1, INFINITY, 0, 0}, "relevance[1]");

  const auto mlm = [&](const std::vector<int32_t>& values, const char* name) {
    check_refused(
        kAll,
        [&](ObjectiveCase& one) {
          one.labels = values;
          one.objective.mlm = {.weight = 1.0, .labels = one.labels};
        },
        kBatch, name);
  };
  mlm(std::vector<int32_t>(10, -1), "mlmLabels");
  mlm({0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50}, "mlmLabels[10]");
  mlm({-2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, "mlmLabels[0]");
}

TEST_CASE("validate: relation heads divide the hidden size") {
  for (const int64_t num_relation_heads : {0, -1, 5, 48}) {
    check_refused(
        kAll,
        [&](ObjectiveCase& one) {
          one.objective.relation = {.weight = 1.0, .num_relation_heads = num_relation_heads};
        },
        kBatch, "relation.numRelationHeads");
  }
}

TEST_CASE("validate: a term whose head the student lacks, or has of other sizes") {
  const auto refused = [](const HeadShapes& heads, double& (*term)(Objective&), const char* name) {
    check_refused(
        heads, [&](ObjectiveCase& one) { term(one.objective) = 1.0; }, kConfig, name);
  };
  const auto classification = [](Objective& o) -> double& { return o.classification.weight; };
  const auto regression = [](Objective& o) -> double& { return o.regression.weight; };
  const auto ranking = [](Objective& o) -> double& { return o.ranking.label_weight; };
  refused(kNone, classification, "classification");
  refused({.pooler = false, .num_labels = 2}, classification, "classification");
  refused(kOneLabel, classification, "classification");
  refused(kNone, regression, "regression");
  refused(kAll, regression, "regression");
  refused(kNone, ranking, "ranking");
  refused(kAll, ranking, "ranking");
  refused(
      kNone, [](Objective& o) -> double& { return o.ranking.teacher_weight; }, "ranking");
  refused(
      kNone, [](Objective& o) -> double& { return o.logits.weight; }, "logits");
  refused(
      kNone, [](Objective& o) -> double& { return o.relation.weight; }, "relation");
  refused(
      kNone, [](Objective& o) -> double& { return o.mlm.weight; }, "mlm");
}

TEST_CASE("validate: what a term of weight 0 would need is not asked for") {
  ObjectiveCase one({}, 1);
  one.objective.embedding.temperature = -1.0;
  one.objective.contrastive.num_queries = 99;
  validate(one.objective, one.batch(), one.layout());
}

TEST_CASE("evaluate: an objective that compares with a teacher needs one") {
  ObjectiveCase one({}, 1);
  one.objective.hidden.weight = 1.0;
  ParameterSet gradients(one.parameters->shared_layout());
  std::vector<float> d_hidden(one.hidden.size());
  bool was_refused = false;
  run_with_threads(1, [&](const TrainThreads& threads) {
    try {
      evaluate({.objective = one.objective,
                .batch = one.batch(),
                .hidden = one.hidden.data(),
                .parameters = *one.parameters,
                .d_hidden = d_hidden.data(),
                .gradients = gradients,
                .isa = Isa::kRef},
               threads);
    } catch (const Error& error) {
      was_refused = error.code() == ErrorCode::kConfigInvalid;
    }
  });
  CHECK(was_refused, "no kConfigInvalid");
}

}  // namespace
}  // namespace elasticlm::test
