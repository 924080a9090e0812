#include "test/attention_backward_fixture.h"

#include <algorithm>

namespace elasticlm::test {
namespace {

// Softmax of the scores, [S, S].
std::vector<double> exact_weights(const AttentionHead& head) {
  const int64_t S = head.num_rows;
  std::vector<double> weights(static_cast<size_t>(S * S));
  for (int64_t i = 0; i < S; ++i) {
    double* row = weights.data() + i * S;
    for (int64_t j = 0; j < S; ++j) {
      for (int64_t d = 0; d < head.head_dim; ++d) row[j] += head.at(head.q, i, d) * head.at(head.k, j, d);
      row[j] *= head.scale;
    }
    const double largest = *std::max_element(row, row + S);
    double sum = 0.0;
    for (int64_t j = 0; j < S; ++j) sum += row[j] = std::exp(row[j] - largest);
    for (int64_t j = 0; j < S; ++j) row[j] /= sum;
  }
  return weights;
}

}  // namespace

double exact_loss(const AttentionHead& head) {
  const int64_t S = head.num_rows;
  const std::vector<double> weights = exact_weights(head);
  double loss = 0.0;
  for (int64_t i = 0; i < S; ++i) {
    for (int64_t j = 0; j < S; ++j) {
      double product = 0.0;
      for (int64_t d = 0; d < head.head_dim; ++d) {
        product += head.at(head.dcontext, i, d) * head.at(head.v, j, d);
      }
      loss += weights[static_cast<size_t>(i * S + j)] * product;
    }
  }
  return loss;
}

// With u the unit roundoff of f32, g = dcontext and hats on what a kernel computes:
//
// Weights. A score is a chain of D products and sums, off by gamma(D + 1) Σ|q k|. E = 2^(c (score - largest))
// with c = scale / ln 2 rounded twice and the exponent t rounded once more: a relative error of
// η = exp(scale · score's error + 3 u |t| + the exponential's 1e-7, doubled) - 1, apart from a factor that
// the row shares and that the division by the row's sum cancels. With η̄ = Σ p η, p̂ = Ê / Σ Ê is off by at
// most p ρ, ρ = (1 + η) (1 + gamma(S + 1)) / (1 - η̄) - 1; weights below 2^-125 may be anything from 0 to
// that.
//
// dv = Σ p̂ g: a chain of S products, with one more rounding for the division:
//   Σ_i |g| (π (1 + gamma(S + 1)) + gamma(S + 1) p), π = p ρ + 2^-124.
// dp = Σ g v is off by ε = gamma(D + 2) Σ|g v|, the division included. δ = Σ p dp is off by
//   Δ = Σ_j π |dp| + (p + π) (ε + gamma(S + 2) (|dp| + ε)).
// ds = p (dp - δ) has three more roundings and is off by
//   τ = (p + π) (1 + gamma(3)) (|dp - δ| + ε + Δ) - p |dp - δ|.
// dq = scale Σ_j ds k and dk = scale Σ_i ds q are chains of S products:
//   scale Σ |k| (τ (1 + gamma(S)) + gamma(S) |ds|), and with q.
// A result below the normal numbers may be flushed to 0: 2^-120 is far above what that loses.
AttentionGradients exact_gradients(const AttentionHead& head) {
  const int64_t S = head.num_rows;
  const int64_t D = head.head_dim;
  const auto s = static_cast<double>(S);
  const auto size = static_cast<size_t>(S);
  AttentionGradients gradients;
  for (auto& gradient : gradients) gradient.assign(static_cast<size_t>(S * D), {0.0, 0x1p-120});
  auto& [dq, dk, dv] = gradients;
  const std::vector<double> all_weights = exact_weights(head);
  std::vector<double> weight_error(size), dp(size), dp_error(size);
  for (int64_t i = 0; i < S; ++i) {
    const double* p = all_weights.data() + i * S;
    const double largest = *std::max_element(p, p + S);
    double mean_error = 0.0;
    for (int64_t j = 0; j < S; ++j) {
      const auto key = static_cast<size_t>(j);
      double score_size = 0.0;
      double product_size = 0.0;
      dp[key] = 0.0;
      for (int64_t d = 0; d < D; ++d) {
        const double product = head.at(head.dcontext, i, d) * head.at(head.v, j, d);
        dp[key] += product;
        product_size += std::abs(product);
        score_size += std::abs(head.at(head.q, i, d) * head.at(head.k, j, d));
      }
      dp_error[key] = gamma_bound(static_cast<double>(D) + 2) * product_size;
      // Of a weight that is 0 here, only the smallest is left of the exponent.
      const double exponent = std::log(std::max(p[j], 0x1p-1000) / largest);
      const double error = gamma_bound(static_cast<double>(D) + 1) * head.scale * score_size +
                           3 * kUnitRoundoff * std::abs(exponent) + 2e-7;
      weight_error[key] = std::expm1(error);
      mean_error += p[j] * weight_error[key];
    }
    CHECK(mean_error < 0.5, "the bound of this case says nothing: scores too large");
    double mean = 0.0;
    double dp_mean_error = 0.0;
    for (int64_t j = 0; j < S; ++j) {
      const auto key = static_cast<size_t>(j);
      double& error = weight_error[key];
      error = p[j] * ((1.0 + error) * (1.0 + gamma_bound(s + 1)) / (1.0 - mean_error) - 1.0) + 0x1p-124;
      mean += p[j] * dp[key];
      dp_mean_error +=
          error * std::abs(dp[key]) +
          (p[j] + error) * (dp_error[key] + gamma_bound(s + 2) * (std::abs(dp[key]) + dp_error[key]));
    }
    for (int64_t j = 0; j < S; ++j) {
      const auto key = static_cast<size_t>(j);
      const double most_weight = p[j] + weight_error[key];
      const double difference = dp[key] - mean;
      const double ds = head.scale * p[j] * difference;
      const double ds_error = head.scale * (most_weight * (1.0 + gamma_bound(3)) *
                                                (std::abs(difference) + dp_error[key] + dp_mean_error) -
                                            p[j] * std::abs(difference));
      const double product_error = ds_error * (1.0 + gamma_bound(s)) + gamma_bound(s) * std::abs(ds);
      const double value_error = weight_error[key] * (1.0 + gamma_bound(s + 1)) + gamma_bound(s + 1) * p[j];
      for (int64_t d = 0; d < D; ++d) {
        const auto query_place = static_cast<size_t>(i * D + d);
        const auto key_place = static_cast<size_t>(j * D + d);
        const double q = head.q[query_place];
        const double k = head.k[key_place];
        const double g = head.dcontext[query_place];
        dq[query_place].value += ds * k;
        dq[query_place].tolerance += product_error * std::abs(k);
        dk[key_place].value += ds * q;
        dk[key_place].tolerance += product_error * std::abs(q);
        dv[key_place].value += p[j] * g;
        dv[key_place].tolerance += value_error * std::abs(g);
      }
    }
  }
  return gradients;
}

AttentionSequence normal_sequence(const AttentionLayout& layout, uint64_t seed) {
  Random random(seed);
  AttentionSequence sequence(layout);
  sequence.fill([&](int64_t, int64_t, const AttentionSequence::Elements& at) {
    for (float* place : {at.q, at.k, at.v, at.dcontext}) *place = random.normal();
  });
  return sequence;
}

}  // namespace elasticlm::test
