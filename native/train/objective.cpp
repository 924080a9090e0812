#include "train/objective.h"

#include <algorithm>
#include <optional>
#include <string>

#include "core/status.h"
#include "train/losses.h"

namespace elasticlm {
namespace {

bool needs_embeddings(const EmbeddingTerm& term) {
  return term.cosine_weight != 0.0 || term.mse_weight != 0.0 || term.similarity_weight != 0.0;
}

bool needs_teacher_logits(const Objective& objective) {
  return objective.logits.weight != 0.0 || objective.ranking.teacher_weight != 0.0;
}

// Rows that one chunk copies: some hundred KB.
constexpr int64_t kCopiedRows = 128;

// [3][T, E] from rows in which each head has D columns of q, then of k, then of v.
std::vector<float> split_qkv(const TeacherPass& pass, int64_t num_tokens, const EncoderConfig& config,
                             const Compute& compute) {
  const int64_t E = config.hidden_size;
  const int64_t D = config.head_dim();
  std::vector<float> qkv(static_cast<size_t>(3 * num_tokens * E));
  compute.for_each((num_tokens + kCopiedRows - 1) / kCopiedRows, [&](int64_t chunk) {
    const int64_t end = std::min((chunk + 1) * kCopiedRows, num_tokens);
    for (int64_t t = chunk * kCopiedRows; t < end; ++t) {
      for (int64_t h = 0; h < config.num_heads; ++h) {
        const float* const from = pass.last_qkv + t * pass.last_qkv_ld + h * 3 * D;
        for (int64_t part = 0; part < 3; ++part) {
          std::copy_n(from + part * D, D, qkv.data() + (part * num_tokens + t) * E + h * D);
        }
      }
    }
  });
  return qkv;
}

void check_teacher(const ObjectiveArgs& args) {
  if (!args.objective.needs_teacher()) return;
  if (args.teacher == nullptr) {
    fail(ErrorCode::kConfigInvalid, {.expected = "a teacher",
                                     .subject = "an objective that compares with one",
                                     .received = "none",
                                     .remedy = "Name the teacher's checkpoint, or leave those losses out"});
  }
  if (!needs_teacher_logits(args.objective)) return;
  const int64_t expected = args.parameters.layout().heads.num_labels;
  const auto received = static_cast<int64_t>(args.teacher->logits.size());
  if (received != expected * args.batch.num_sequences()) {
    fail(ErrorCode::kConfigInvalid,
         {.expected = std::to_string(expected) + " labels, as the student has",
          .subject = "the teacher's classifier",
          .received = std::to_string(received / std::max<int64_t>(args.batch.num_sequences(), 1)),
          .remedy = "Student and teacher need the same labels"});
  }
}

void evaluate_embeddings(const ObjectiveArgs& args, const Compute& compute, Losses& losses) {
  const Objective& objective = args.objective;
  const bool is_embedding = needs_embeddings(objective.embedding);
  const bool is_contrastive = objective.contrastive.weight != 0.0;
  if (!is_embedding && !is_contrastive) return;
  const EmbeddingHead head{objective.pooling, args.adapter_idx, args.parameters};
  const Embeddings student = embeddings_forward(args.batch, args.hidden, head, compute);
  std::vector<double> d_values(student.values.size());
  if (is_embedding) {
    losses.embedding = embedding_loss(objective.embedding, student, args.teacher->embeddings.data(),
                                      args.weight, d_values, compute);
  }
  if (is_contrastive) {
    losses.contrastive = contrastive_loss(objective.contrastive, student, args.weight, d_values, compute);
  }
  embeddings_backward(args.batch, student, head, d_values, {args.d_hidden, args.gradients}, compute);
}

void evaluate_logits(const ObjectiveArgs& args, const Compute& compute, Losses& losses) {
  const Objective& objective = args.objective;
  if (!objective.needs_logits()) return;
  const Logits student = logits_forward(args.batch, args.hidden, args.parameters, compute);
  const float* const teacher = args.teacher == nullptr ? nullptr : args.teacher->logits.data();
  std::vector<double> d_logits(static_cast<size_t>(student.num_sequences * student.num_labels));
  if (objective.classification.weight != 0.0) {
    losses.classification = classification_loss(objective.classification, student, args.weight, d_logits);
  }
  if (objective.regression.weight != 0.0) {
    losses.regression = regression_loss(objective.regression, student, args.weight, d_logits);
  }
  if (objective.logits.weight != 0.0) {
    losses.logits = logit_loss(objective.logits, student, teacher, args.weight, d_logits);
  }
  if (objective.ranking.label_weight != 0.0 || objective.ranking.teacher_weight != 0.0) {
    losses.ranking = ranking_loss(objective.ranking, student, teacher, args.weight, d_logits);
  }
  logits_backward(args.batch, student, args.parameters, {d_logits.begin(), d_logits.end()},
                  {args.d_hidden, args.gradients}, compute);
}

void evaluate_tokens(const ObjectiveArgs& args, const Compute& compute, Losses& losses) {
  const Objective& objective = args.objective;
  const TokenLossArgs tokens = {
      .batch = args.batch, .hidden = args.hidden, .parameters = args.parameters, .share = args.weight};
  const GradientTargets to = {args.d_hidden, args.gradients};
  if (objective.hidden.weight != 0.0) {
    losses.hidden = hidden_loss(objective.hidden, tokens, args.teacher->hidden.data(), to, compute);
  }
  if (objective.relation.weight != 0.0) {
    losses.relation = relation_loss(objective.relation, tokens, args.teacher->qkv.data(), to, compute);
  }
  if (objective.mlm.weight != 0.0) losses.mlm = mlm_loss(objective.mlm, tokens, to, compute);
}

}  // namespace

bool Objective::needs_teacher() const {
  return needs_embeddings(embedding) || needs_teacher_logits(*this) || hidden.weight != 0.0 ||
         relation.weight != 0.0;
}

bool Objective::needs_logits() const {
  return classification.weight != 0.0 || regression.weight != 0.0 || logits.weight != 0.0 ||
         ranking.label_weight != 0.0 || ranking.teacher_weight != 0.0;
}

bool Objective::has_groups() const {
  return contrastive.weight != 0.0 || ranking.label_weight != 0.0 || ranking.teacher_weight != 0.0;
}

TeacherOutputs teacher_outputs(const Objective& objective, const TokenBatch& batch, const TeacherPass& pass,
                               const ParameterSet& teacher, const TrainThreads& threads) {
  const ParameterLayout& layout = teacher.layout();
  const int64_t E = layout.config.hidden_size;
  const Compute compute(pass.isa, threads);
  TeacherOutputs outputs;
  if (objective.hidden.weight != 0.0) {
    outputs.hidden.assign(pass.hidden, pass.hidden + batch.num_tokens() * E);
  }
  if (needs_embeddings(objective.embedding)) {
    const EmbeddingHead head{.pooling = objective.pooling, .parameters = teacher};
    outputs.embeddings = embeddings_forward(batch, pass.hidden, head, compute).values;
  }
  if (needs_teacher_logits(objective)) {
    if (!layout.heads.pooler || layout.heads.num_labels == 0) {
      fail(ErrorCode::kConfigInvalid, {.expected = "a teacher with pooler and classifier",
                                       .subject = "an objective over its logits",
                                       .received = "one without",
                                       .remedy = "Fine-tune the teacher for the task first"});
    }
    const Logits logits = logits_forward(batch, pass.hidden, teacher, compute);
    for (int64_t b = 0; b < logits.num_sequences; ++b) {
      outputs.logits.insert(outputs.logits.end(), logits.row(b), logits.row(b) + logits.num_labels);
    }
  }
  if (objective.relation.weight != 0.0) {
    outputs.qkv = split_qkv(pass, batch.num_tokens(), layout.config, compute);
  }
  return outputs;
}

Losses evaluate(const ObjectiveArgs& args, const TrainThreads& threads) {
  check_teacher(args);
  const Compute compute(args.isa, threads);
  std::fill_n(args.d_hidden, args.batch.num_tokens() * args.parameters.layout().config.hidden_size, 0.0f);
  Losses losses;
  if (args.batch.num_sequences() == 0) return losses;
  evaluate_embeddings(args, compute, losses);
  evaluate_logits(args, compute, losses);
  evaluate_tokens(args, compute, losses);
  losses.total = losses.embedding + losses.contrastive + losses.classification + losses.regression +
                 losses.logits + losses.ranking + losses.hidden + losses.relation + losses.mlm;
  return losses;
}

}  // namespace elasticlm
