// The losses, one function each: they return the term's value times its weights, and add `share` times its
// gradient. Every loss is a mean, 0 over nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "train/heads.h"
#include "train/objective.h"
#include "train/products.h"

namespace elasticlm {

// Over embeddings of norm 1; d_values [B, E] is added to.
double embedding_loss(const EmbeddingTerm& term, const Embeddings& student, const float* teacher /* [B, E] */,
                      double share, std::vector<double>& d_values, const Compute& compute);
double contrastive_loss(const ContrastiveTerm& term, const Embeddings& student, double share,
                        std::vector<double>& d_values, const Compute& compute);

// Over logits; d_logits [B, num_labels] is added to.
double classification_loss(const ClassificationTerm& term, const Logits& student, double share,
                           std::vector<double>& d_logits);
double regression_loss(const RegressionTerm& term, const Logits& student, double share,
                       std::vector<double>& d_logits);
double logit_loss(const LogitTerm& term, const Logits& student, const float* teacher /* [B, num_labels] */,
                  double share, std::vector<double>& d_logits);
double ranking_loss(const RankingTerm& term, const Logits& student, const float* teacher /* [B], or null */,
                    double share, std::vector<double>& d_logits);

// What the losses over tokens read.
struct TokenLossArgs {
  const TokenBatch& batch;
  const float* hidden = nullptr;  // [T, E]
  const ParameterSet& parameters;
  double share = 1;
};
double hidden_loss(const HiddenTerm& term, const TokenLossArgs& args, const float* teacher /* [T, E] */,
                   const GradientTargets& to, const Compute& compute);
double relation_loss(const RelationTerm& term, const TokenLossArgs& args,
                     const float* teacher_qkv /* [3][T, E] */, const GradientTargets& to,
                     const Compute& compute);
double mlm_loss(const MlmTerm& term, const TokenLossArgs& args, const GradientTargets& to,
                const Compute& compute);

}  // namespace elasticlm
