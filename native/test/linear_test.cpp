// One contract suite for linear_forward in every precision, on every instruction set that this machine has:
// what comes out, against float64. Which results are the same bits: linear_bits_test.cpp.
#include <algorithm>
#include <cmath>
#include <vector>

#include "test/check.h"
#include "test/linear_fixture.h"

namespace elasticlm::test {
namespace {

std::vector<float> constant_column(int64_t K, float value) {
  return std::vector<float>(static_cast<size_t>(K), value);
}

TEST_CASE("linear_forward: every remainder of rows, columns and depth") {
  Random random(1);
  for (const Precision precision : kPrecisions) {
    for (int64_t K = 1; K <= 70; ++K) {
      const int64_t num_blocks = 1 + K % 7;
      const LinearWeights weights(precision, num_blocks, K, random);
      for (int64_t rows = 1 + K % 3; rows <= 20; rows += 3) {
        const LinearKind kind = linear_kind(precision, K / 2 + rows / 3);
        check_linear({.weights = weights,
                      .activation = activation_of(rows + K / 3),
                      .groups = {prefix_group(random, kind, rows, num_blocks, K)},
                      .has_bias = rows % 4 != 3});
      }
    }
  }
}

TEST_CASE("linear_forward: depths of real encoders") {
  Random random(2);
  for (const LinearKind kind : kLinearKinds) {
    for (const int64_t K : {384, 1536}) {
      const LinearWeights weights(kind.precision, 4, K, random);
      for (const int64_t rows : {1, 8, 17}) {
        check_linear({.weights = weights,
                      .activation = activation_of(rows),
                      .groups = {prefix_group(random, kind, rows, 4, K)}});
      }
    }
  }
}

TEST_CASE("linear_forward: groups of random structures") {
  Random random(3);
  for (int trial = 0; trial < 300; ++trial) {
    const LinearKind kind = kLinearKinds[trial % 5];
    const LinearWeights weights(kind.precision, random.integer(1, 10), random.integer(1, 100), random);
    std::vector<LinearGroup> groups;
    const int64_t num_groups = random.integer(1, 5);
    for (int64_t i = 0; i < num_groups; ++i)
      groups.push_back(random_group(random, weights, kind.y_type, random.integer(0, 20)));
    check_linear({.weights = weights,
                  .activation = activation_of(trial),
                  .groups = groups,
                  .has_bias = trial % 4 != 0});
  }
}

TEST_CASE("linear_forward: more groups than share one pass") {
  Random random(4);
  for (const LinearKind kind : kLinearKinds) {
    const LinearWeights weights(kind.precision, 7, 24, random);
    std::vector<LinearGroup> groups;
    for (int i = 0; i < 150; ++i) groups.push_back(prefix_group(random, kind, 1, 7 - i / 25, 24 - i / 10));
    check_linear({.weights = weights, .activation = Activation::kGelu, .groups = groups});
  }
}

TEST_CASE("linear_forward: rows of i8 with offsets") {
  Random random(12);
  for (const LinearKind kind : kLinearKinds) {
    if (kind.precision != Precision::kI8) continue;
    for (const int64_t K : {1, 6, 64, 385}) {
      const LinearWeights weights(kind.precision, 7, K, random);
      for (const int64_t rows : {1, 5, 8, 19}) {
        LinearGroup group = prefix_group(random, kind, rows, 7, K);
        for (RowScale& scale : group.scales) scale.offset = 3.0f * random.normal();
        check_linear({.weights = weights,
                      .activation = activation_of(rows),
                      .groups = {group},
                      .has_bias = rows % 2 != 0});
      }
    }
  }
}

TEST_CASE("linear_forward: column runs out of order") {
  Random random(5);
  for (const LinearKind kind : kLinearKinds) {
    const LinearWeights weights(kind.precision, 9, 22, random);
    LinearGroup group = prefix_group(random, kind, 11, 0, 22);
    group.columns.clear();
    for (const int64_t block : {8, 2, 3, 0, 7, 5}) group.columns.push_back({block, 1, 0});
    group.lay_out(random, false);
    check_linear({.weights = weights, .groups = {group, group}});
  }
}

TEST_CASE("linear_forward: no rows, no columns, no depth, no groups") {
  Random random(6);
  for (const LinearKind kind : kLinearKinds) {
    const LinearWeights weights(kind.precision, 4, 10, random);
    for (int64_t i = 0; i < 3; ++i) {
      LinearGroup empty_depth = prefix_group(random, kind, 5, 4, 0);
      LinearGroup added_to = empty_depth;
      added_to.has_residual = kind.y_type == OutputType::kF32;
      added_to.lay_out(random, false);
      LinearGroup no_runs = added_to;
      no_runs.depth = {};
      LinearGroup no_columns = prefix_group(random, kind, 5, 4, 10);
      no_columns.columns = {};
      LinearGroup empty_run = prefix_group(random, kind, 5, 0, 10);
      check_linear({.weights = weights,
                    .activation = activation_of(i),
                    .groups = {empty_depth, added_to, prefix_group(random, kind, 0, 4, 10), no_runs,
                               no_columns, empty_run, prefix_group(random, kind, 3, 4, 10)}});
    }
    check_linear({.weights = weights, .groups = {}});
  }
}

TEST_CASE("linear_forward: weights that a structure leaves out are not read into results") {
  Random random(7);
  for (int trial = 0; trial < 100; ++trial) {
    const LinearKind kind = kLinearKinds[trial % 5];
    const LinearWeights weights(kind.precision, random.integer(1, 9), random.integer(2, 61), random);
    const LinearGroup group = random_group(random, weights, kind.y_type, random.integer(1, 12));
    check_linear({.weights = weights, .activation = activation_of(trial), .groups = {group}},
                 weights.poisoned_beside(group));
  }
}

TEST_CASE("linear_forward: i8 sums of the largest products") {
  constexpr int64_t kDepth = 4096;
  Random random(8);
  LinearWeights weights(Precision::kI8, 1, kDepth, random);
  for (int64_t n = 0; n < kBlockColumns; ++n) {
    weights.set_column(n, constant_column(kDepth, n % 2 == 0 ? 0.5f : -0.5f));
    CHECK(weights.at(n, kDepth - 1) == (n % 2 == 0 ? 127.0 : -127.0), "not the largest weight");
  }
  LinearGroup group = prefix_group(random, {Precision::kI8, OutputType::kF32}, 4, 1, kDepth);
  for (int64_t r = 0; r < group.num_rows; ++r) {
    // All 127, all -127, and both within a word.
    for (int64_t k = 0; k < kDepth; ++k)
      group.set_x(r, k, r == 0 || (r > 1 && k / (r - 1) % 2 == 0) ? 127.0f : -127.0f);
  }
  check_linear({.weights = weights, .groups = {group}});
}

TEST_CASE("linear_forward: i8 rows and columns of zeros") {
  Random random(9);
  for (const LinearKind kind : {linear_kind(Precision::kI8, 0), linear_kind(Precision::kI8, 1)}) {
    LinearWeights weights(kind.precision, 2, 37, random);
    weights.set_column(5, constant_column(37, 0.0f));
    LinearGroup group = prefix_group(random, kind, 3, 2, 37);
    for (int64_t k = 0; k < 37; ++k) group.set_x(1, k, 0.0f);
    group.scales[1].scale = 0.0f;
    for (int64_t i = 0; i < 3; ++i) {
      check_linear({.weights = weights, .activation = activation_of(i), .groups = {group}});
    }
  }
}

TEST_CASE("linear_forward: bf16 values and products around the smallest normal number") {
  Random random(10);
  LinearWeights weights(Precision::kBF16, 3, 50, random);
  const auto tiny = [&](int64_t power) { return std::ldexp(random.normal(), static_cast<int>(-power)); };
  std::vector<float> column(50);
  for (int64_t n = 0; n < 3 * kBlockColumns; ++n) {
    for (float& weight : column) weight = tiny(random.integer(0, 3) * 42);
    weights.set_column(n, column);
  }
  for (const LinearKind kind : {linear_kind(Precision::kBF16, 0), linear_kind(Precision::kBF16, 1)}) {
    LinearGroup group = prefix_group(random, kind, 9, 3, 49);
    for (int64_t r = 0; r < group.num_rows; ++r) {
      // From rows of ordinary values to rows of nothing but denormals.
      for (int64_t k = 0; k < 49; ++k) group.set_x(r, k, tiny(random.integer(r, 9) * 14));
    }
    check_linear({.weights = weights, .groups = {group}, .has_bias = false});
  }
}

TEST_CASE("PackedMatrix: stored weights are the given ones, rounded") {
  Random random(11);
  for (const Precision precision : kPrecisions) {
    for (const int64_t K : {1, 3, 8, 29}) {
      PackedMatrix packed(4, K, precision);
      std::vector<std::vector<float>> columns;
      for (int64_t n = 0; n < 4 * kBlockColumns; ++n) {
        std::vector<float>& column = columns.emplace_back(static_cast<size_t>(K));
        for (float& weight : column) weight = random.normal(std::exp(2.0f * random.normal()));
        packed.set_column(n, column);
      }
      WorstError worst;
      for (int64_t n = 0; n < 4 * kBlockColumns; ++n) {
        const std::vector<float>& column = columns[static_cast<size_t>(n)];
        double largest = 0.0;
        for (const float weight : column) largest = std::max(largest, std::abs(static_cast<double>(weight)));
        for (int64_t k = 0; k < K; ++k) {
          const double weight = column[static_cast<size_t>(k)];
          // i8: half a step, and what the scale, the quotient and the product with the scale are rounded by,
          // as seen from a quotient of up to 127.
          const double tolerance = precision == Precision::kF32 ? 0.0
                                   : precision == Precision::kBF16
                                       ? 0x1p-8 * std::abs(weight)
                                       : largest / 254.0 + 3.0 * kUnitRoundoff * largest;
          worst.add(packed.view().value(n, k), {weight, tolerance}, {n, k});
        }
      }
      CHECK_WITHIN(worst,
                   std::string(precision_name(precision)) + ", K " + std::to_string(K) + " (column, k)");
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
