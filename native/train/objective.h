// What a SubLM is trained for: heads over its last hidden states, losses over the heads' outputs, and the
// gradients of both.
//
// Every loss is a mean (over sequences, pairs, lists or tokens, as each says), so that it does not grow with
// the batch; the objective is the sum of its terms times their weights, times the SubLM's own weight.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/cpu_features.h"
#include "kernels/pooling.h"
#include "train/parameters.h"
#include "train/train_batch.h"

namespace elasticlm {

// Embeddings are the pooled hidden states divided by their norms. With s student, t teacher, B sequences.
struct EmbeddingTerm {
  double cosine_weight = 0;  // mean over sequences of 1 - s·t
  double mse_weight =
      0;  // mean over sequences of |s - t|²; for unit vectors twice the cosine term: for both to be compared
  double similarity_weight =
      0;  // mean over rows i of KL(softmax_j(t_i·t_j / τ) || softmax_j(s_i·t_j / τ)), j over the batch, j !=
          // i: a student's query against an index of the teacher
  double temperature = 0.05;  // τ
};

// In-batch negatives: sequences [0, num_queries) are queries, the others documents; document i < num_queries
// answers query i, those behind are further (hard) negatives of all. Mean over queries of -log
// softmax_j(q_i·d_j / τ)[i].
struct ContrastiveTerm {
  double weight = 0;
  double temperature = 0.05;
  int64_t num_queries = 0;
};

// Over logits of pooler and classifier; mean over sequences.
struct ClassificationTerm {
  double weight = 0;                // of cross entropy with the labels
  std::span<const int32_t> labels;  // [B] in [0, num_labels)
};
struct RegressionTerm {
  double weight = 0;               // of the squared error
  std::span<const float> targets;  // [B], of the one logit
};
struct LogitTerm {
  double weight =
      0;  // τ² KL(softmax(teacher / τ) || softmax(student / τ)); with one logit the squared difference
  double temperature = 1.0;
};

// Lists of candidates: sequences [cu_lists[i], cu_lists[i + 1]) are the candidates of query i, one logit
// each; mean over lists.
struct RankingTerm {
  double label_weight = 0;    // cross entropy of softmax(logits) with the labels divided by their sum; lists
                              // without a positive label do not count
  double teacher_weight = 0;  // KL(softmax(teacher / τ) || softmax(student / τ)) over the list
  double temperature = 1.0;
  std::span<const int32_t> cu_lists;  // [lists + 1], from 0 to B
  std::span<const float> labels;      // [B], at least 0
};

// Mean over tokens and elements of the squared difference of the last hidden states.
struct HiddenTerm {
  double weight = 0;
};

// Relation alignment (MiniLMv2; the paper's task-agnostic loss): q, k, v of the teacher's last layer and of
// the student's extra projection of its last hidden states, each [T, E] cut into num_relation_heads; for q, k
// and v, mean over sequences, heads and tokens of KL(softmax(t tᵀ / √d) || softmax(s sᵀ / √d)), d = E /
// num_relation_heads; the sum of the three.
struct RelationTerm {
  double weight = 0;
  int64_t num_relation_heads = 32;
};

// Masked language modelling: mean over the tokens with a label of the cross entropy over the vocabulary. The
// decoder is the word embeddings.
struct MlmTerm {
  double weight = 0;
  std::span<const int32_t> labels;  // [T]; -1: not predicted
};

struct Objective {
  Pooling pooling = Pooling::kMean;
  EmbeddingTerm embedding;
  ContrastiveTerm contrastive;
  ClassificationTerm classification;
  RegressionTerm regression;
  LogitTerm logits;
  RankingTerm ranking;
  HiddenTerm hidden;
  RelationTerm relation;
  MlmTerm mlm;

  bool needs_teacher() const;
  bool needs_logits() const;
  // Terms over pairs or lists of sequences, which part of a batch would tear apart.
  bool has_groups() const;
};
// Throws kBatchInvalid: lengths and ranges of labels, lists that do not cover the batch, a temperature that
// is not positive, a weight that is negative or not finite; kConfigInvalid: a term whose head the layout
// lacks. Messages have lib/train/types.ts's names.
void validate(const Objective& objective, const TokenBatch& batch, const ParameterLayout& student);

// Losses of one SubLM, unweighted by it: the objective and each term times its weight.
struct Losses {
  double total = 0;
  double embedding = 0;
  double contrastive = 0;
  double classification = 0;
  double regression = 0;
  double logits = 0;
  double ranking = 0;
  double hidden = 0;
  double relation = 0;
  double mlm = 0;
};

// What the teacher says of a batch, as far as an objective asks: made once, used by every SubLM.
struct TeacherOutputs {
  std::vector<float> hidden;      // [T, E]
  std::vector<float> embeddings;  // [B, E] of norm 1
  std::vector<float> logits;      // [B, num_labels]
  std::vector<float> qkv;         // [3][T, E]: all heads' q, then k, then v
};

// The teacher's pass, as the objective sees it.
struct TeacherPass {
  const float* hidden = nullptr;    // [T, E]
  const float* last_qkv = nullptr;  // [T, H * 3 * D], last_qkv_ld
  int64_t last_qkv_ld = 0;
  Isa isa;  // of the heads' kernels
};
// Throws kConfigInvalid where the objective wants logits and the teacher has no classifier.
TeacherOutputs teacher_outputs(const Objective& objective, const TokenBatch& batch, const TeacherPass& pass,
                               const ParameterSet& teacher, const TrainThreads& threads);

// One SubLM's part of a step.
struct ObjectiveArgs {
  const Objective& objective;
  const TokenBatch& batch;
  const float* hidden = nullptr;            // [T, E]
  const TeacherOutputs* teacher = nullptr;  // where the objective needs one
  const ParameterSet& parameters;
  int64_t adapter_idx = -1;   // of this SubLM, over its pooled vectors; -1: none
  double weight = 1;          // of this SubLM: factor of all gradients
  float* d_hidden = nullptr;  // [T, E], written
  ParameterSet& gradients;    // of the heads, added to
  Isa isa;                    // of the heads' kernels
};
// The objective must have been validated. The same bits for every number of threads. A loss that is not
// finite is returned as it is. Throws kConfigInvalid where the objective needs a teacher and there is none,
// or the teacher's logits are of another number of labels; kCallAborted; kMemoryExhausted.
Losses evaluate(const ObjectiveArgs& args, const TrainThreads& threads);

}  // namespace elasticlm
