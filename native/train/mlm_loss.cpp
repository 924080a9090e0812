#include <algorithm>
#include <vector>

#include "train/losses.h"
#include "train/sums.h"

namespace elasticlm {
namespace {

// Predicted tokens of one pass: logits over a vocabulary of 30522 take 31 MB at 256 rows. Each pass packs the
// embeddings twice and adds to their gradient once, a tenth of its time at 147 rows of 384 (2-core Zen 4,
// 2026-11-24).
constexpr int64_t kMaxRows = 256;

// The head over some tokens, with what its backward needs:
//   transformed = x Wᵀ + b, activated = GELU(transformed), normed = LayerNorm(activated),
//   logits = normed · word embeddings + bias
class MlmPass {
 public:
  MlmPass(const TokenLossArgs& args, std::vector<int64_t> tokens, const Compute& compute)
      : args_(args),
        compute_(compute),
        layout_(args.parameters.layout()),
        tokens_(std::move(tokens)),
        E_(layout_.config.hidden_size),
        V_(layout_.config.vocab_size),
        ld_(round_up(E_, kBlockColumns)),
        ld_logits_(round_up(V_, kBlockColumns)),
        x_(floats(num_rows() * E_)),
        transformed_(floats(num_rows() * ld_)),
        activated_(floats(num_rows() * ld_)),
        normed_(floats(num_rows() * E_)),
        logits_(floats(num_rows() * ld_logits_)) {}

  void forward() {
    for (int64_t r = 0; r < num_rows(); ++r) {
      std::copy_n(args_.hidden + tokens_[static_cast<size_t>(r)] * E_, E_, x_.data() + r * E_);
    }
    dense_forward({.x = {x_.data(), E_},
                   .num_rows = num_rows(),
                   .weight = at(layout_.head.mlm_transform),
                   .bias = at(layout_.head.mlm_transform_bias),
                   .N = E_,
                   .K = E_,
                   .y = transformed_.data(),
                   .ldy = ld_},
                  compute_);
    compute_.training.gelu_forward({.x = transformed_.data(),
                                    .y = activated_.data(),
                                    .num_rows = num_rows(),
                                    .num_columns = E_,
                                    .ldx = ld_,
                                    .ldy = ld_});
    compute_.kernels.layer_norm_forward({.x = activated_.data(),
                                         .gamma = at(layout_.head.mlm_layer_norm.gamma),
                                         .beta = at(layout_.head.mlm_layer_norm.beta),
                                         .y = normed_.data(),
                                         .operand = {},
                                         .num_rows = num_rows(),
                                         .hidden_size = E_,
                                         .ldx = ld_,
                                         .ldy = E_,
                                         .eps = layout_.config.layer_norm_eps});
    dense_forward({.x = {normed_.data(), E_},
                   .num_rows = num_rows(),
                   .weight = at(layout_.word_embeddings),
                   .bias = at(layout_.head.mlm_bias),
                   .N = V_,
                   .K = E_,
                   .y = logits_.data(),
                   .ldy = ld_logits_},
                  compute_);
  }

  // Σ_rows of the cross entropy. The logits become `factor` times its gradient.
  double to_gradient(const MlmTerm& term, double factor) {
    std::vector<double> losses(tokens_.size());
    compute_.for_each(num_rows(), [&](int64_t r) {
      float* const row = logits_.data() + r * ld_logits_;
      const int32_t label = term.labels[static_cast<size_t>(tokens_[static_cast<size_t>(r)])];
      const double logit = row[label];
      double log_sum = 0.0;
      compute_.training.softmax_forward(
          {.x = row, .log_sums = &log_sum, .num_rows = 1, .num_columns = V_, .ldx = V_, .scale = 1.0f});
      losses[static_cast<size_t>(r)] = log_sum - logit;
      row[label] -= 1.0f;
      const auto gain = static_cast<float>(factor);
      for (int64_t v = 0; v < V_; ++v) row[v] *= gain;
    });
    return sum_of(losses);
  }

  void backward(const GradientTargets& to) {
    ParameterSet& gradients = to.gradients;
    AlignedBuffer d_normed = floats(num_rows() * E_);
    dense_backward({.dy = {logits_.data(), ld_logits_},
                    .x = {normed_.data(), E_},
                    .num_rows = num_rows(),
                    .weight = at(layout_.word_embeddings),
                    .N = V_,
                    .K = E_,
                    .dx = d_normed.data(),
                    .lddx = E_,
                    .dweight = gradients.at(layout_.word_embeddings),
                    .dbias = gradients.at(layout_.head.mlm_bias)},
                   compute_);
    AlignedBuffer d_transformed = floats(num_rows() * ld_);
    layer_norm_backward(d_normed, d_transformed, gradients);
    compute_.training.gelu_backward({.x = transformed_.data(),
                                     .dy = d_transformed.data(),
                                     .dx = d_transformed.data(),
                                     .y = activated_.data(),
                                     .num_rows = num_rows(),
                                     .num_columns = E_,
                                     .ldx = ld_,
                                     .lddy = ld_});
    AlignedBuffer d_x = floats(num_rows() * E_);
    dense_backward({.dy = {d_transformed.data(), ld_},
                    .x = {x_.data(), E_},
                    .num_rows = num_rows(),
                    .weight = at(layout_.head.mlm_transform),
                    .N = E_,
                    .K = E_,
                    .dx = d_x.data(),
                    .lddx = E_,
                    .dweight = gradients.at(layout_.head.mlm_transform),
                    .dbias = gradients.at(layout_.head.mlm_transform_bias)},
                   compute_);
    for (int64_t r = 0; r < num_rows(); ++r) {
      float* const d_hidden = to.d_hidden + tokens_[static_cast<size_t>(r)] * E_;
      for (int64_t e = 0; e < E_; ++e) d_hidden[e] += d_x.data()[r * E_ + e];
    }
  }

 private:
  int64_t num_rows() const { return static_cast<int64_t>(tokens_.size()); }
  const float* at(const ParameterSlot& slot) const { return args_.parameters.at(slot); }

  // From d_normed to the gradient with respect to what was activated.
  void layer_norm_backward(const AlignedBuffer& d_normed, AlignedBuffer& d_activated,
                           ParameterSet& gradients) {
    const LayerNormSlots& slots = layout_.head.mlm_layer_norm;
    std::vector<float> mean(tokens_.size());
    std::vector<float> rstd(tokens_.size());
    compute_.training.layer_norm_backward({.x = activated_.data(),
                                           .gamma = at(slots.gamma),
                                           .dy = d_normed.data(),
                                           .dx = d_activated.data(),
                                           .mean = mean.data(),
                                           .rstd = rstd.data(),
                                           .num_rows = num_rows(),
                                           .hidden_size = E_,
                                           .ldx = ld_,
                                           .lddy = E_,
                                           .lddx = ld_,
                                           .eps = layout_.config.layer_norm_eps});
    compute_.training.layer_norm_parameter_backward({.x = activated_.data(),
                                                     .dy = d_normed.data(),
                                                     .mean = mean.data(),
                                                     .rstd = rstd.data(),
                                                     .dgamma = gradients.at(slots.gamma),
                                                     .dbeta = gradients.at(slots.beta),
                                                     .num_rows = num_rows(),
                                                     .column_begin = 0,
                                                     .column_end = E_,
                                                     .ldx = ld_,
                                                     .lddy = E_});
  }

  const TokenLossArgs& args_;
  const Compute& compute_;
  const ParameterLayout& layout_;
  std::vector<int64_t> tokens_;
  int64_t E_;
  int64_t V_;
  int64_t ld_;
  int64_t ld_logits_;
  AlignedBuffer x_;            // [n, E]
  AlignedBuffer transformed_;  // [n, E], ld_
  AlignedBuffer activated_;    // [n, E], ld_
  AlignedBuffer normed_;       // [n, E]
  AlignedBuffer logits_;       // [n, V], ld_logits_
};

}  // namespace

double mlm_loss(const MlmTerm& term, const TokenLossArgs& args, const GradientTargets& to,
                const Compute& compute) {
  std::vector<int64_t> tokens;
  for (size_t t = 0; t < term.labels.size(); ++t) {
    if (term.labels[t] >= 0) tokens.push_back(static_cast<int64_t>(t));
  }
  const auto num_tokens = static_cast<int64_t>(tokens.size());
  if (num_tokens == 0) return 0.0;
  const double weight = term.weight / static_cast<double>(num_tokens);
  const int64_t num_passes = (num_tokens + kMaxRows - 1) / kMaxRows;
  double sum = 0.0;
  for (int64_t i = 0; i < num_passes; ++i) {
    MlmPass pass(
        args,
        {tokens.begin() + i * num_tokens / num_passes, tokens.begin() + (i + 1) * num_tokens / num_passes},
        compute);
    pass.forward();
    sum += pass.to_gradient(term, args.share * weight);
    pass.backward(to);
  }
  return weight * sum;
}

}  // namespace elasticlm
