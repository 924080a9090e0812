#include <algorithm>
#include <span>

#include "test/padded_rows.h"

namespace elasticlm::test {
namespace {

constexpr float kEps = 1e-12f;

// A value in f32 arithmetic: the exact one, and how far what was computed may be from it. Every operation
// carries the errors of its operands and rounds once.
struct Computed {
  double value = 0.0;
  double error = 0.0;
};
Computed rounded(double value, double error) {
  return {value, error + kUnitRoundoff * (std::abs(value) + error)};
}
Computed exact(double value) { return {value, 0.0}; }
Computed operator-(const Computed& a, const Computed& b) {
  return rounded(a.value - b.value, a.error + b.error);
}
Computed operator*(const Computed& a, const Computed& b) {
  return rounded(a.value * b.value,
                 std::abs(a.value) * b.error + std::abs(b.value) * a.error + a.error * b.error);
}
// In any order in which no term passes through more than `depth` additions, then divided by the number of
// terms: by two more roundings where the quotient's reciprocal is rounded too.
Computed mean_of(const std::vector<Computed>& terms, double depth) {
  double sum = 0.0;
  double error = 0.0;
  double magnitude = 0.0;
  for (const Computed& term : terms) {
    sum += term.value;
    error += term.error;
    magnitude += std::abs(term.value) + term.error;
  }
  const auto count = static_cast<double>(terms.size());
  return {sum / count, (error + gamma_bound(depth + 2) * magnitude) / count};
}

struct Statistics {
  Computed mean;
  Computed rstd;
};

// As derived in layer_norm_test.cpp: sums over four lanes and four chains; the shift of the mean adds its
// square to the variance.
Statistics statistics_of(std::span<const float> x) {
  std::vector<Computed> terms;
  for (const float value : x) terms.push_back(exact(value));
  const double depth = static_cast<double>(x.size()) / 16 + 8;
  const Computed mean = mean_of(terms, depth);
  double variance = 0.0;
  for (const float value : x) variance += (value - mean.value) * (value - mean.value);
  variance = variance / static_cast<double>(x.size()) + kEps;
  const double variance_error = gamma_bound(depth + 5) + mean.error * mean.error / variance;
  const double rstd = 1.0 / std::sqrt(variance);
  // 1 / sqrt(1 - e) - 1 <= e for e <= 1/2; two roundings.
  return {mean, {rstd, rstd * (variance_error + gamma_bound(2))}};
}

// dx of one row.
std::vector<Computed> exact_backward(std::span<const float> x, std::span<const float> gamma,
                                     std::span<const float> dy, const Statistics& statistics) {
  const size_t size = x.size();
  std::vector<Computed> g(size), normalised(size), product(size), dx(size);
  for (size_t e = 0; e < size; ++e) {
    g[e] = exact(dy[e]) * exact(gamma[e]);
    normalised[e] = (exact(x[e]) - statistics.mean) * statistics.rstd;
    product[e] = g[e] * normalised[e];
  }
  const double depth = static_cast<double>(size) / 8 + 8;  // four lanes, two chains
  const Computed mean_g = mean_of(g, depth);
  const Computed mean_product = mean_of(product, depth);
  for (size_t e = 0; e < size; ++e) {
    dx[e] = statistics.rstd * (g[e] - mean_g - normalised[e] * mean_product);
  }
  return dx;
}

LayerNormBackwardArgs make_args(PaddedRows& x, const std::vector<float>& gamma, PaddedRows& dy,
                                PaddedRows& dx, std::vector<float>& statistics) {
  LayerNormBackwardArgs args;
  args.x = x.data();
  args.gamma = gamma.data();
  args.dy = dy.data();
  args.dx = dx.data();
  args.mean = statistics.data();
  args.rstd = statistics.data() + x.num_rows;
  args.num_rows = x.num_rows;
  args.hidden_size = x.num_columns;
  args.ldx = x.ld;
  args.lddy = dy.ld;
  args.lddx = dx.ld;
  args.eps = kEps;
  return args;
}

std::span<const float> row_of(const PaddedRows& rows, int64_t row) {
  return {rows.values.data() + row * rows.ld, static_cast<size_t>(rows.num_columns)};
}

void check_exact(Random& random, int64_t num_rows, int64_t size, float mean) {
  PaddedRows x = random_padded_rows(random, num_rows, size, 3, mean);
  PaddedRows dy = random_padded_rows(random, num_rows, size, 5, 0.1f);
  const std::vector<float> gamma = random_floats(random, size, 1.0f, 0.2f);
  for (const Isa isa : supported_isas()) {
    const std::string subject =
        std::string(isa_name(isa)) + " E=" + std::to_string(size) + " mean " + std::to_string(mean);
    PaddedRows dx(num_rows, size, 7);
    std::vector<float> statistics = poisoned(2 * num_rows);
    training_kernels(isa).layer_norm_backward(make_args(x, gamma, dy, dx, statistics));
    WorstError worst;
    WorstError worst_statistics;
    for (int64_t row = 0; row < num_rows; ++row) {
      const Statistics expected = statistics_of(row_of(x, row));
      const auto at = static_cast<size_t>(row);
      worst_statistics.add(statistics[at], {expected.mean.value, expected.mean.error}, {row, 0});
      worst_statistics.add(statistics[at + static_cast<size_t>(num_rows)],
                           {expected.rstd.value, expected.rstd.error}, {row, 1});
      const std::vector<Computed> bounds = exact_backward(row_of(x, row), gamma, row_of(dy, row), expected);
      for (int64_t e = 0; e < size; ++e) {
        const Computed& bound = bounds[static_cast<size_t>(e)];
        worst.add(dx.at(row, e), {bound.value, bound.error}, {row, e});
      }
    }
    CHECK_WITHIN(worst_statistics, subject + " (row, mean or rstd)");
    CHECK_WITHIN(worst, subject + " dx");
    dx.check_padding(subject);
  }
}

TEST_CASE("layer_norm_backward: every row width, remainders included, gives the exact gradient") {
  Random random(1);
  // One column: x̂ is 0 but for what the mean is rounded by, and rstd 1e6; the bound has nothing to say there.
  for (int64_t size = 2; size <= 150; ++size) check_exact(random, 1 + size % 4, size, 0.0f);
  for (const int64_t size : {384, 391, 768, 1024, 4096}) check_exact(random, 5, size, 0.0f);
}

TEST_CASE("layer_norm_backward: a mean far above the deviation") {
  Random random(2);
  for (const float mean : {100.0f, -10000.0f}) check_exact(random, 4, 384, mean);
}

TEST_CASE("layer_norm_backward: a row's bits are the same alone and among others") {
  Random random(3);
  for (const int64_t size : {31, 384, 777}) {
    PaddedRows x = random_padded_rows(random, 5, size, 1);
    PaddedRows dy = random_padded_rows(random, 5, size, 2);
    const std::vector<float> gamma = random_floats(random, size, 1.0f, 0.2f);
    for (const Isa isa : supported_isas()) {
      PaddedRows dx(5, size, 0);
      std::vector<float> statistics = poisoned(10);
      training_kernels(isa).layer_norm_backward(make_args(x, gamma, dy, dx, statistics));
      for (int64_t row = 0; row < 5; ++row) {
        PaddedRows alone_x(1, size, 0), alone_dy(1, size, 0), alone_dx(1, size, 0);
        std::copy_n(x.data() + row * x.ld, size, alone_x.data());
        std::copy_n(dy.data() + row * dy.ld, size, alone_dy.data());
        std::vector<float> alone = poisoned(2);
        training_kernels(isa).layer_norm_backward(make_args(alone_x, gamma, alone_dy, alone_dx, alone));
        for (int64_t e = 0; e < size; ++e) {
          CHECK(same_bits(alone_dx.at(0, e), dx.at(row, e)),
                std::string(isa_name(isa)) + " alone differs at " + std::to_string(e));
        }
        CHECK(same_bits(alone[0], statistics[static_cast<size_t>(row)]), isa_name(isa));
        CHECK(same_bits(alone[1], statistics[static_cast<size_t>(row) + 5]), isa_name(isa));
      }
    }
  }
}

struct ParameterCase {
  PaddedRows x;
  PaddedRows dy;
  std::vector<float> mean;
  std::vector<float> rstd;
  std::vector<float> initial;

  ParameterCase(Random& random, int64_t num_rows, int64_t size)
      : x(random_padded_rows(random, num_rows, size, 3, 0.5f)),
        dy(random_padded_rows(random, num_rows, size, 1, 0.1f)),
        mean(random_floats(random, num_rows)),
        rstd(random_floats(random, num_rows, 1.5f, 0.1f)),
        initial(random_floats(random, size)) {}

  LayerNormParameterArgs args(std::vector<float>& dgamma, std::vector<float>& dbeta) {
    LayerNormParameterArgs args;
    args.x = x.data();
    args.dy = dy.data();
    args.mean = mean.data();
    args.rstd = rstd.data();
    args.dgamma = dgamma.data();
    args.dbeta = dbeta.data();
    args.num_rows = x.num_rows;
    args.column_end = x.num_columns;
    args.ldx = x.ld;
    args.lddy = dy.ld;
    return args;
  }
};

TEST_CASE(
    "layer_norm_parameter_backward: sums over any number of rows, for every width, added to what was there") {
  Random random(4);
  for (int64_t size = 1; size <= 140; size += size < 40 ? 1 : 7) {
    const int64_t num_rows = (size * 7) % 41;  // 0 rows among them
    ParameterCase one(random, num_rows, size);
    for (const Isa isa : supported_isas()) {
      std::vector<float> dgamma = one.initial;
      std::vector<float> dbeta = one.initial;
      training_kernels(isa).layer_norm_parameter_backward(one.args(dgamma, dbeta));
      WorstError worst;
      for (int64_t e = 0; e < size; ++e) {
        const auto at = static_cast<size_t>(e);
        double gamma_sum = 0.0, gamma_magnitude = 0.0, beta_sum = 0.0, beta_magnitude = 0.0;
        for (int64_t row = 0; row < num_rows; ++row) {
          const double dy = one.dy.at(row, e);
          const auto r = static_cast<size_t>(row);
          const double term = dy * (static_cast<double>(one.x.at(row, e)) - one.mean[r]) * one.rstd[r];
          gamma_sum += term;
          gamma_magnitude += std::abs(term);
          beta_sum += dy;
          beta_magnitude += std::abs(dy);
        }
        // x̂ and its product with dy take three roundings, a chain of n additions and the last one the others.
        const auto n = static_cast<double>(num_rows);
        const double initial = std::abs(one.initial[at]) * gamma_bound(1);
        worst.add(dgamma[at], {one.initial[at] + gamma_sum, gamma_bound(n + 4) * gamma_magnitude + initial},
                  {0, e});
        worst.add(dbeta[at], {one.initial[at] + beta_sum, gamma_bound(n + 1) * beta_magnitude + initial},
                  {1, e});
      }
      CHECK_WITHIN(worst, std::string(isa_name(isa)) + " rows " + std::to_string(num_rows) +
                              " E=" + std::to_string(size) + " (gamma or beta, column)");
    }
  }
}

TEST_CASE("layer_norm_parameter_backward: columns in parts give the same bits and touch no others") {
  Random random(5);
  ParameterCase one(random, 37, 300);
  for (const Isa isa : supported_isas()) {
    std::vector<float> dgamma = one.initial, dbeta = one.initial;
    training_kernels(isa).layer_norm_parameter_backward(one.args(dgamma, dbeta));
    for (const int64_t cut : {0, 1, 16, 77, 128, 299, 300}) {
      std::vector<float> part_gamma = one.initial, part_beta = one.initial;
      LayerNormParameterArgs args = one.args(part_gamma, part_beta);
      args.column_begin = cut;
      training_kernels(isa).layer_norm_parameter_backward(args);
      for (size_t e = 0; e < static_cast<size_t>(cut); ++e) {
        CHECK(same_bits(part_gamma[e], one.initial[e]) && same_bits(part_beta[e], one.initial[e]),
              std::string(isa_name(isa)) + " touched a column before its range");
      }
      args.column_begin = 0;
      args.column_end = cut;
      training_kernels(isa).layer_norm_parameter_backward(args);
      for (size_t e = 0; e < 300; ++e) {
        CHECK(same_bits(part_gamma[e], dgamma[e]) && same_bits(part_beta[e], dbeta[e]),
              std::string(isa_name(isa)) + " cut at " + std::to_string(cut) + " differs at " +
                  std::to_string(e));
      }
    }
  }
}

// Σ weights * LayerNorm(x): x | gamma | beta of one row in one vector.
double weighted_layer_norm(const std::vector<double>& inputs, std::span<const float> weights) {
  const size_t size = weights.size();
  double mean = 0.0;
  for (size_t e = 0; e < size; ++e) mean += inputs[e] / static_cast<double>(size);
  double variance = 0.0;
  for (size_t e = 0; e < size; ++e)
    variance += (inputs[e] - mean) * (inputs[e] - mean) / static_cast<double>(size);
  double sum = 0.0;
  for (size_t e = 0; e < size; ++e) {
    const double normalised = (inputs[e] - mean) / std::sqrt(variance + kEps);
    sum += weights[e] * (normalised * inputs[size + e] + inputs[2 * size + e]);
  }
  return sum;
}

TEST_CASE("layer_norm_backward: the formulas agree with central differences of the forward in float64") {
  Random random(6);
  for (const size_t size : {2, 7, 24}) {
    const std::vector<float> x = random_floats(random, static_cast<int64_t>(size));
    const std::vector<float> gamma = random_floats(random, static_cast<int64_t>(size), 1.0f, 0.3f);
    const std::vector<float> dy = random_floats(random, static_cast<int64_t>(size));
    std::vector<double> inputs(x.begin(), x.end());
    inputs.insert(inputs.end(), gamma.begin(), gamma.end());
    inputs.resize(3 * size, 0.25);
    const auto f = [&](const std::vector<double>& at) { return weighted_layer_norm(at, dy); };
    const Statistics statistics = statistics_of(x);
    const std::vector<Computed> dx = exact_backward(x, gamma, dy, statistics);
    for (size_t e = 0; e < size; ++e) {
      const double normalised = (x[e] - statistics.mean.value) * statistics.rstd.value;
      check_gradient(dx[e].value, central_difference(f, inputs, e), "dx");
      check_gradient(dy[e] * normalised, central_difference(f, inputs, size + e), "dgamma");
      check_gradient(dy[e], central_difference(f, inputs, 2 * size + e), "dbeta");
    }
  }
}

TEST_CASE("layer_norm_backward: NaN stays in its own row, and no rows touch nothing") {
  Random random(7);
  for (const Isa isa : supported_isas()) {
    PaddedRows x = random_padded_rows(random, 3, 40, 0);
    PaddedRows dy = random_padded_rows(random, 3, 40, 0);
    PaddedRows dx(3, 40, 0);
    const std::vector<float> gamma(40, 1.0f);
    std::vector<float> statistics = poisoned(6);
    dy.at(1, 7) = NAN;
    training_kernels(isa).layer_norm_backward(make_args(x, gamma, dy, dx, statistics));
    dx.for_each([&](int64_t row, int64_t e) {
      CHECK(std::isnan(dx.at(row, e)) == (row == 1), std::string(isa_name(isa)) + " NaN is lost or spreads");
    });
    LayerNormBackwardArgs none;
    none.hidden_size = 40;
    training_kernels(isa).layer_norm_backward(none);
  }
}

}  // namespace
}  // namespace elasticlm::test
