#include <cmath>
#include <string>

#include "core/status.h"
#include "train/objective.h"

namespace elasticlm {
namespace {

[[noreturn]] void refuse(const std::string& expected, const std::string& subject,
                         const std::string& received) {
  fail(ErrorCode::kBatchInvalid,
       {.expected = expected, .subject = subject, .received = received, .remedy = ""});
}

[[noreturn]] void refuse_head(const std::string& expected, const std::string& term,
                              const std::string& received, const std::string& remedy) {
  fail(ErrorCode::kConfigInvalid,
       {.expected = expected, .subject = "the objective's " + term, .received = received, .remedy = remedy});
}

std::string at(const std::string& name, size_t position) {
  return name + "[" + std::to_string(position) + "]";
}

void check_weight(const char* name, double weight) {
  if (!std::isfinite(weight) || weight < 0.0) refuse("0 or a positive number", name, std::to_string(weight));
}

void check_temperature(const char* name, double temperature) {
  if (!std::isfinite(temperature) || temperature <= 0.0) {
    refuse("a positive number", name, std::to_string(temperature));
  }
}

void check_length(const char* name, size_t length, int64_t expected, const char* each) {
  if (static_cast<int64_t>(length) != expected) {
    refuse(std::to_string(expected) + " elements, one for each " + each, name, std::to_string(length));
  }
}

void check_classes(const char* name, std::span<const int32_t> labels, int64_t lowest, int64_t limit) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < lowest || labels[i] >= limit) {
      refuse("a whole number from " + std::to_string(lowest) + " to " + std::to_string(limit - 1),
             at(name, i), std::to_string(labels[i]));
    }
  }
}

void check_logits(const char* term, const HeadShapes& heads) {
  if (heads.pooler && heads.num_labels > 0) return;
  refuse_head("a student with pooler and classifier", term, "one without",
              "Give the number of labels, so that the head is made");
}

void check_one_logit(const char* term, const HeadShapes& heads) {
  check_logits(term, heads);
  if (heads.num_labels == 1) return;
  refuse_head("a classifier of 1 label", term, std::to_string(heads.num_labels) + " labels",
              "Train a head of 1 label");
}

void check_embeddings(const Objective& objective, int64_t num_sequences) {
  const EmbeddingTerm& embedding = objective.embedding;
  check_weight("embedding.cosineWeight", embedding.cosine_weight);
  check_weight("embedding.mseWeight", embedding.mse_weight);
  check_weight("embedding.similarityWeight", embedding.similarity_weight);
  if (embedding.similarity_weight != 0.0) check_temperature("embedding.temperature", embedding.temperature);

  const ContrastiveTerm& contrastive = objective.contrastive;
  check_weight("contrastive.weight", contrastive.weight);
  if (contrastive.weight == 0.0) return;
  check_temperature("contrastive.temperature", contrastive.temperature);
  if (contrastive.num_queries < 1 || contrastive.num_queries > num_sequences / 2) {
    refuse("1 to " + std::to_string(num_sequences / 2) + ", half of the " + std::to_string(num_sequences) +
               " sequences",
           "numQueries", std::to_string(contrastive.num_queries));
  }
}

void check_labels(const Objective& objective, int64_t num_sequences, const HeadShapes& heads) {
  check_weight("classification.weight", objective.classification.weight);
  if (objective.classification.weight != 0.0) {
    check_logits("classification", heads);
    if (heads.num_labels < 2) {
      refuse_head("a classifier of 2 labels or more", "classification", "1 label",
                  "Train it as a regression");
    }
    check_length("labels", objective.classification.labels.size(), num_sequences, "sequence");
    check_classes("labels", objective.classification.labels, 0, heads.num_labels);
  }
  check_weight("regression.weight", objective.regression.weight);
  if (objective.regression.weight != 0.0) {
    check_one_logit("regression", heads);
    const std::span<const float> targets = objective.regression.targets;
    check_length("targets", targets.size(), num_sequences, "sequence");
    for (size_t i = 0; i < targets.size(); ++i) {
      if (!std::isfinite(targets[i])) refuse("a finite number", at("targets", i), std::to_string(targets[i]));
    }
  }
  check_weight("logits.weight", objective.logits.weight);
  if (objective.logits.weight != 0.0) {
    check_logits("logits", heads);
    check_temperature("logits.temperature", objective.logits.temperature);
  }
}

void check_ranking(const RankingTerm& ranking, int64_t num_sequences, const HeadShapes& heads) {
  check_weight("ranking.labelWeight", ranking.label_weight);
  check_weight("ranking.teacherWeight", ranking.teacher_weight);
  if (ranking.label_weight == 0.0 && ranking.teacher_weight == 0.0) return;
  check_one_logit("ranking", heads);
  if (ranking.teacher_weight != 0.0) check_temperature("ranking.temperature", ranking.temperature);

  const std::span<const int32_t> cu_lists = ranking.cu_lists;
  if (cu_lists.empty()) refuse("at least one element", "cuLists", "none");
  if (cu_lists.front() != 0) refuse("0", at("cuLists", 0), std::to_string(cu_lists.front()));
  for (size_t i = 1; i < cu_lists.size(); ++i) {
    if (cu_lists[i] <= cu_lists[i - 1]) {
      refuse("more than the " + std::to_string(cu_lists[i - 1]) + " before it", at("cuLists", i),
             std::to_string(cu_lists[i]));
    }
  }
  if (cu_lists.back() != num_sequences) {
    refuse("the number of sequences, " + std::to_string(num_sequences), at("cuLists", cu_lists.size() - 1),
           std::to_string(cu_lists.back()));
  }
  if (ranking.label_weight == 0.0) return;
  check_length("relevance", ranking.labels.size(), num_sequences, "sequence");
  for (size_t i = 0; i < ranking.labels.size(); ++i) {
    if (!std::isfinite(ranking.labels[i]) || ranking.labels[i] < 0.0f) {
      refuse("0 or a positive number", at("relevance", i), std::to_string(ranking.labels[i]));
    }
  }
}

void check_tokens(const Objective& objective, int64_t num_tokens, const ParameterLayout& student) {
  check_weight("hidden.weight", objective.hidden.weight);

  const RelationTerm& relation = objective.relation;
  check_weight("relation.weight", relation.weight);
  if (relation.weight != 0.0) {
    const int64_t hidden_size = student.config.hidden_size;
    if (!student.heads.relation) {
      refuse_head("a student with the extra projection", "relation", "one without",
                  "Make the session with the relation head");
    }
    if (relation.num_relation_heads < 1 || hidden_size % relation.num_relation_heads != 0) {
      refuse("a divisor of the hidden size, " + std::to_string(hidden_size), "relation.numRelationHeads",
             std::to_string(relation.num_relation_heads));
    }
  }

  check_weight("mlm.weight", objective.mlm.weight);
  if (objective.mlm.weight == 0.0) return;
  if (!student.heads.mlm) {
    refuse_head("a student with a masked language modelling head", "mlm", "one without",
                "Make the session with the mlm head");
  }
  check_length("mlmLabels", objective.mlm.labels.size(), num_tokens, "token");
  check_classes("mlmLabels", objective.mlm.labels, -1, student.config.vocab_size);
}

}  // namespace

void validate(const Objective& objective, const TokenBatch& batch, const ParameterLayout& student) {
  const int64_t num_sequences = batch.num_sequences();
  check_embeddings(objective, num_sequences);
  check_labels(objective, num_sequences, student.heads);
  check_ranking(objective.ranking, num_sequences, student.heads);
  check_tokens(objective, batch.num_tokens(), student);
}

}  // namespace elasticlm
