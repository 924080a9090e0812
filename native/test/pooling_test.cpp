#include <limits>

#include "test/kernel_support.h"

namespace elasticlm::test {
namespace {

struct Hidden {
  std::vector<float> x;  // [num_rows, ldx], padding poisoned, ends with the last element
  int64_t num_rows = 0;
  int64_t hidden_size = 0;
  int64_t ldx = 0;

  float at(int64_t row, int64_t e) const { return x[static_cast<size_t>(row * ldx + e)]; }
};

Hidden random_hidden(Random& random, int64_t num_rows, int64_t hidden_size, float deviation) {
  Hidden hidden{{}, num_rows, hidden_size, hidden_size + 3};
  hidden.x = poisoned((num_rows - 1) * hidden.ldx + hidden_size);
  for (int64_t row = 0; row < num_rows; ++row) {
    for (int64_t e = 0; e < hidden_size; ++e) {
      hidden.x[static_cast<size_t>(row * hidden.ldx + e)] = random.normal(deviation);
    }
  }
  return hidden;
}

struct Choice {
  Pooling pooling;
  bool normalize;
};
constexpr Choice kChoices[] = {
    {Pooling::kCls, false}, {Pooling::kCls, true}, {Pooling::kMean, false}, {Pooling::kMean, true}};

std::vector<float> run(Isa isa, const Hidden& hidden, const Choice& choice) {
  std::vector<float> y = poisoned(hidden.hidden_size);
  PoolingArgs args;
  args.x = hidden.x.data();
  args.y = y.data();
  args.num_rows = hidden.num_rows;
  args.hidden_size = hidden.hidden_size;
  args.ldx = hidden.ldx;
  args.pooling = choice.pooling;
  args.normalize = choice.normalize;
  kernel_table(isa).pooling_forward(args);
  return y;
}

// A mean of S rows is one chain: off by gamma(S + 2) mean|x| (the sum, 1 / S, the product). The norm moves
// relatively by at most ‖error‖ / ‖mean‖, and dividing rounds once: an element by its own error / norm +
// |value| (‖error‖ / ‖mean‖ + u), doubled for the second order.
std::vector<Bound> exact_pooling(const Hidden& hidden, const Choice& choice) {
  const int64_t rows = choice.pooling == Pooling::kCls ? 1 : hidden.num_rows;
  std::vector<Bound> bounds(static_cast<size_t>(hidden.hidden_size));
  double squares = 0.0;
  double error_squares = 0.0;
  for (int64_t e = 0; e < hidden.hidden_size; ++e) {
    double sum = 0.0;
    double magnitude = 0.0;
    for (int64_t row = 0; row < rows; ++row) {
      sum += hidden.at(row, e);
      magnitude += std::abs(hidden.at(row, e));
    }
    Bound& bound = bounds[static_cast<size_t>(e)];
    bound.value = sum / static_cast<double>(rows);
    bound.tolerance =
        rows == 1 ? 0.0 : gamma_bound(static_cast<double>(rows) + 2) * magnitude / static_cast<double>(rows);
    squares += bound.value * bound.value;
    error_squares += bound.tolerance * bound.tolerance;
  }
  if (!choice.normalize || squares == 0.0) return bounds;
  const double norm = std::sqrt(squares);
  for (Bound& bound : bounds) {
    bound.value /= norm;
    bound.tolerance = 2 * (bound.tolerance / norm +
                           std::abs(bound.value) * (std::sqrt(error_squares) / norm + kUnitRoundoff));
  }
  return bounds;
}

void check_exact(const Hidden& hidden, const std::string& subject) {
  for (const Isa isa : supported_isas()) {
    for (const Choice& choice : kChoices) {
      const std::vector<float> y = run(isa, hidden, choice);
      const std::vector<Bound> bounds = exact_pooling(hidden, choice);
      WorstError worst;
      for (size_t e = 0; e < y.size(); ++e) worst.add(y[e], bounds[e], {static_cast<int64_t>(e)});
      CHECK_WITHIN(worst, std::string(isa_name(isa)) + " " + subject + " S=" +
                              std::to_string(hidden.num_rows) + " E=" + std::to_string(hidden.hidden_size));
    }
  }
}

TEST_CASE("pooling: every width and length gives the exact vector") {
  Random random(1);
  for (int64_t size = 1; size <= 80; ++size) {
    for (const int64_t rows : {1, 2, 7}) check_exact(random_hidden(random, rows, size, 1.0f), "normal");
  }
  for (const int64_t rows : {1, 33, 512}) check_exact(random_hidden(random, rows, 384, 1.0f), "normal");
}

TEST_CASE("pooling: the norm of tiny and of huge vectors neither vanishes nor overflows") {
  Random random(2);
  check_exact(random_hidden(random, 4, 40, 1e-30f), "tiny");
  check_exact(random_hidden(random, 4, 40, 1e30f), "huge");
}

TEST_CASE("pooling: a zero vector stays zero") {
  Hidden hidden{std::vector<float>(3 * 24, 0.0f), 3, 24, 24};
  for (const Isa isa : supported_isas()) {
    for (const Choice& choice : kChoices) {
      for (const float value : run(isa, hidden, choice)) CHECK(value == 0.0f, isa_name(isa));
    }
  }
}

TEST_CASE("pooling: cls does not read the other rows") {
  Random random(3);
  Hidden hidden = random_hidden(random, 5, 48, 1.0f);
  for (size_t i = static_cast<size_t>(hidden.ldx); i < hidden.x.size(); ++i) hidden.x[i] = poison();
  check_exact({std::vector<float>(hidden.x.begin(), hidden.x.begin() + 48), 1, 48, 48}, "first row alone");
  for (const Isa isa : supported_isas()) {
    for (const float value : run(isa, hidden, {Pooling::kCls, true}))
      CHECK(!std::isnan(value), isa_name(isa));
  }
}

TEST_CASE("activation_norm: adds the norm of each group of each row to what was there") {
  Random random(4);
  for (const Isa isa : supported_isas()) {
    for (const int64_t group_size : {1, 3, 32}) {
      constexpr int64_t kGroups = 5;
      const Hidden hidden = random_hidden(random, 11, kGroups * group_size, 1.0f);
      std::vector<double> sums(kGroups, 7.0);
      ActivationNormArgs args;
      args.x = hidden.x.data();
      args.sums = sums.data();
      args.num_rows = hidden.num_rows;
      args.num_groups = kGroups;
      args.group_size = group_size;
      args.ldx = hidden.ldx;
      kernel_table(isa).activation_norm_accumulate(args);
      for (int64_t group = 0; group < kGroups; ++group) {
        double expected = 7.0;
        for (int64_t row = 0; row < hidden.num_rows; ++row) {
          double squares = 0.0;
          for (int64_t i = 0; i < group_size; ++i)
            squares += std::pow(hidden.at(row, group * group_size + i), 2);
          expected += std::sqrt(squares);
        }
        // Some 11 + 32 roundings of f64.
        CHECK(std::abs(sums[static_cast<size_t>(group)] - expected) <= 64 * 0x1p-53 * expected,
              std::string(isa_name(isa)) + " group " + std::to_string(group));
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
