// One contract suite for linear_forward on every instruction set that this machine has.
#include <algorithm>
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "core/packed_matrix.h"
#include "kernels/kernel_table.h"
#include "test/check.h"
#include "test/kernel_support.h"

namespace elasticlm {
namespace {

using test::Bound;
using test::gamma_bound;
using test::kUnitRoundoff;
using test::Random;
using test::supported_isas;
using test::WorstError;

// W [N, K] and its packed form.
struct Weights {
  int64_t num_blocks;
  int64_t K;
  std::vector<float> dense;  // [num_blocks * 16, K]
  std::vector<float> bias;   // [num_blocks * 16]
  PackedMatrix packed;

  Weights(int64_t num_blocks, int64_t K, Random& random)
      : num_blocks(num_blocks), K(K), packed(num_blocks, K) {
    for (int64_t n = 0; n < num_blocks * kBlockColumns; ++n) {
      bias.push_back(random.normal());
      packed.set_bias(n, bias.back());
      for (int64_t k = 0; k < K; ++k) {
        dense.push_back(random.normal() / std::sqrt(static_cast<float>(K)));
        packed.set(n, k, dense.back());
      }
    }
  }
  float at(int64_t n, int64_t k) const { return dense[static_cast<size_t>(n * K + k)]; }
};

int64_t sum_of(const std::vector<KRun>& depth) {
  int64_t sum = 0;
  for (const KRun& run : depth) sum += run.k_count;
  return sum;
}

// A RowGroup with its buffers: x and y stand among NaN, so that whatever is read or written beside them
// shows.
struct Group {
  int64_t num_rows = 0;
  std::vector<ColumnRun> columns;
  std::vector<KRun> depth;
  int64_t ldx = 0;
  int64_t ldy = 0;
  bool has_residual = false;
  bool in_place = false;  // y is the residual
  std::vector<float> x;
  std::vector<float> residual;
  std::vector<float> y;

  int64_t kept_depth() const { return sum_of(depth); }

  // Fills x and the residual once rows, columns and depth are set. `head_major`: each run's output is a
  // matrix of its own.
  void lay_out(Random& random, bool head_major) {
    ldx = kept_depth() + random.integer(0, 2);
    x.assign(static_cast<size_t>(num_rows * ldx + 8), test::poison());
    for (int64_t r = 0; r < num_rows; ++r) {
      for (int64_t k = 0; k < kept_depth(); ++k) x[static_cast<size_t>(r * ldx + k)] = random.normal();
    }
    int64_t widest = 0;
    int64_t total = 0;
    for (const ColumnRun& run : columns) {
      widest = std::max(widest, run.num_blocks * kBlockColumns);
      total += run.num_blocks * kBlockColumns;
    }
    ldy = (head_major ? widest : total) + random.integer(0, 1) * kBlockColumns;
    int64_t offset = 0;
    for (ColumnRun& run : columns) {
      run.y_offset = offset;
      offset += head_major ? ldy * num_rows : run.num_blocks * kBlockColumns;
    }
    const int64_t size = head_major ? offset + ldy : num_rows * ldy + 8;
    y.assign(static_cast<size_t>(size), test::poison());
    residual.assign(has_residual ? static_cast<size_t>(size) : 0, test::poison());
    for (float& value : residual) value = random.normal();
    if (in_place) y = residual;
  }

  RowGroup view() {
    return {.x = x.data(),
            .residual = !has_residual ? nullptr
                        : in_place    ? y.data()
                                      : residual.data(),
            .y = y.data(),
            .num_rows = num_rows,
            .ldx = ldx,
            .ldy = ldy,
            .columns = columns,
            .depth = depth};
  }
};

void forward(Isa isa, const PackedMatrixView& weight, Activation activation, std::span<Group> groups) {
  std::vector<RowGroup> views;
  for (Group& group : groups) views.push_back(group.view());
  kernel_table(isa).linear_f32_forward({.weight = weight, .activation = activation, .groups = views});
}

// One element in f64, and how far an f32 result may be from it.
//
// A chain of K fused or separate multiply-adds and the bias are off by at most gamma_(K + 2) times
// the sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). The activation
// stretches that by its largest slope (GELU 1.13, tanh 1) and adds its own error: GELU 1e-7 max(1, |v|)
// (vector_math.h), or 5 roundings of |v| in the scalar formula, tanh 3e-7. Adding the residual rounds once
// more.
Bound bound_of(const Weights& weights, bool has_bias, Activation activation, const Group& group, int64_t row,
               int64_t n) {
  double sum = has_bias ? weights.bias[static_cast<size_t>(n)] : 0.0;
  double magnitude = std::abs(sum);
  const float* x = group.x.data() + row * group.ldx;
  for (const KRun& run : group.depth) {
    for (int64_t k = run.k_begin; k < run.k_begin + run.k_count; ++k) {
      const double product = static_cast<double>(*x++) * weights.at(n, k);
      sum += product;
      magnitude += std::abs(product);
    }
  }
  const double before = gamma_bound(static_cast<double>(group.kept_depth() + 2)) * magnitude;
  switch (activation) {
    case Activation::kGelu:
      return {0.5 * sum * std::erfc(-sum * std::sqrt(0.5)),
              1.13 * before + 1e-7 * std::max(1.0, std::abs(sum)) + 5.0 * kUnitRoundoff * std::abs(sum)};
    case Activation::kTanh:
      return {std::tanh(sum), before + 3e-7};
    case Activation::kNone:
      break;
  }
  return {sum, before};
}

std::string describe(Isa isa, size_t group_idx, const Group& group) {
  return std::string(isa_name(isa)) + ", group " + std::to_string(group_idx) + " of " +
         std::to_string(group.num_rows) + " rows, depth " + std::to_string(group.kept_depth()) + " in " +
         std::to_string(group.depth.size()) + " runs, " + std::to_string(group.columns.size()) +
         " column runs";
}

// Every element of y: written ones within tolerance, the others untouched.
void check_group(Isa isa, const Weights& weights, bool has_bias, Activation activation, size_t group_idx,
                 const Group& group) {
  std::vector<bool> written(group.y.size(), false);
  WorstError worst;
  for (const ColumnRun& run : group.columns) {
    for (int64_t r = 0; r < group.num_rows; ++r) {
      for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c) {
        const int64_t n = run.block_begin * kBlockColumns + c;
        const size_t at = static_cast<size_t>(run.y_offset + r * group.ldy + c);
        Bound bound = bound_of(weights, has_bias, activation, group, r, n);
        if (group.has_residual) {
          bound.value += group.residual[at];
          bound.tolerance += kUnitRoundoff * (std::abs(bound.value) + bound.tolerance);
        }
        written[at] = true;
        worst.add(group.y[at], bound, {r, n});
      }
    }
  }
  CHECK_WITHIN(worst, describe(isa, group_idx, group) + " (row, column)");
  for (size_t at = 0; at < group.y.size(); ++at) {
    if (written[at]) continue;
    const bool untouched = group.in_place ? group.y[at] == group.residual[at] : test::is_poison(group.y[at]);
    CHECK(untouched,
          describe(isa, group_idx, group) + ": wrote beside its columns, at element " + std::to_string(at));
  }
}

void check_all(const Weights& weights, Activation activation, const std::vector<Group>& groups,
               bool has_bias = true) {
  PackedMatrixView view = weights.packed.view();
  if (!has_bias) view.bias = nullptr;
  for (const Isa isa : supported_isas()) {
    std::vector<Group> run = groups;
    forward(isa, view, activation, run);
    for (size_t i = 0; i < run.size(); ++i) check_group(isa, weights, has_bias, activation, i, run[i]);
  }
}

// Rising runs that keep each of `count` units with the given odds (of 4), neighbours joined or not at random.
template <typename Run>
std::vector<Run> random_runs(Random& random, int64_t count, int64_t odds, const auto& make) {
  std::vector<Run> runs;
  int64_t begin = -1;
  for (int64_t unit = 0; unit <= count; ++unit) {
    const bool kept = unit < count && random.integer(0, 3) < odds;
    if (begin >= 0 && (!kept || random.integer(0, 4) == 0)) {
      runs.push_back(make(begin, unit - begin));
      begin = -1;
    }
    if (kept && begin < 0) begin = unit;
  }
  return runs;
}

std::vector<ColumnRun> random_columns(Random& random, int64_t num_blocks, int64_t odds) {
  return random_runs<ColumnRun>(random, num_blocks, odds, [](int64_t begin, int64_t count) {
    return ColumnRun{.block_begin = begin, .num_blocks = count, .y_offset = 0};
  });
}

std::vector<KRun> random_depth(Random& random, int64_t K, int64_t odds) {
  return random_runs<KRun>(random, K, odds, [](int64_t begin, int64_t count) { return KRun{begin, count}; });
}

Group random_group(Random& random, const Weights& weights, int64_t num_rows) {
  Group group;
  group.num_rows = num_rows;
  group.columns = random_columns(random, weights.num_blocks, random.integer(0, 4));
  group.depth = random_depth(random, weights.K, random.integer(0, 4));
  group.has_residual = random.integer(0, 1) == 0;
  group.in_place = group.has_residual && random.integer(0, 1) == 0;
  group.lay_out(random, random.integer(0, 1) == 0);
  return group;
}

Group prefix_group(Random& random, int64_t num_rows, int64_t num_blocks, int64_t depth) {
  Group group;
  group.num_rows = num_rows;
  group.columns = {{.block_begin = 0, .num_blocks = num_blocks, .y_offset = 0}};
  group.depth = {{.k_begin = 0, .k_count = depth}};
  group.lay_out(random, false);
  return group;
}

Activation activation_of(int64_t i) {
  return i % 3 == 0 ? Activation::kNone : i % 3 == 1 ? Activation::kGelu : Activation::kTanh;
}

// Row `r` of a group's run `c`, as bits.
std::vector<uint32_t> bits_of_row(const Group& group, int64_t r) {
  std::vector<uint32_t> bits;
  for (const ColumnRun& run : group.columns) {
    for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c) {
      bits.push_back(std::bit_cast<uint32_t>(group.y[static_cast<size_t>(run.y_offset + r * group.ldy + c)]));
    }
  }
  return bits;
}

void check_same_bits(Isa isa, const std::vector<uint32_t>& got, const std::vector<uint32_t>& expected,
                     const char* what) {
  CHECK(got.size() == expected.size(), std::string(isa_name(isa)) + ": sizes differ, " + what);
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    char text[160];
    std::snprintf(text, sizeof(text), "%s, %s: column %zu is %.9g, not the bits of %.9g (tolerance: none)",
                  isa_name(isa), what, i, static_cast<double>(std::bit_cast<float>(got[i])),
                  static_cast<double>(std::bit_cast<float>(expected[i])));
    CHECK(false, text);
  }
}

// `group` with only row r of its rows.
Group one_row_of(const Group& group, int64_t r) {
  Group one = group;
  one.num_rows = 1;
  one.x.assign(group.x.begin() + r * group.ldx, group.x.begin() + r * group.ldx + group.kept_depth());
  one.y.assign(group.y.size(), test::poison());
  if (group.has_residual) {
    one.residual.assign(group.residual.size(), test::poison());
    for (const ColumnRun& run : group.columns) {
      for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c) {
        const auto at = static_cast<size_t>(run.y_offset + c);
        one.residual[at] = group.residual[at + static_cast<size_t>(r * group.ldy)];
      }
    }
    if (one.in_place) one.y = one.residual;
  }
  return one;
}

TEST_CASE("linear_forward: every remainder of rows, columns and depth") {
  Random random(1);
  for (int64_t K = 1; K <= 70; ++K) {
    const int64_t num_blocks = 1 + K % 7;
    const Weights weights(num_blocks, K, random);
    for (int64_t rows = 1 + K % 2; rows <= 20; rows += 2) {
      check_all(weights, activation_of(rows + K), {prefix_group(random, rows, num_blocks, K)}, rows % 4 != 3);
    }
  }
}

TEST_CASE("linear_forward: depths of a real encoder") {
  Random random(2);
  for (const int64_t K : {384, 1536}) {
    const Weights weights(7, K, random);
    for (const int64_t rows : {1, 8, 17, 33}) {
      check_all(weights, activation_of(rows), {prefix_group(random, rows, 7, K)});
    }
  }
}

TEST_CASE("linear_forward: groups of random structures") {
  Random random(3);
  for (int trial = 0; trial < 300; ++trial) {
    const Weights weights(random.integer(1, 14), random.integer(1, 100), random);
    std::vector<Group> groups;
    const int64_t num_groups = random.integer(1, 5);
    for (int64_t i = 0; i < num_groups; ++i)
      groups.push_back(random_group(random, weights, random.integer(0, 20)));
    check_all(weights, activation_of(trial), groups, trial % 4 != 0);
  }
}

TEST_CASE("linear_forward: more groups than share one pass") {
  Random random(4);
  const Weights weights(7, 24, random);
  std::vector<Group> groups;
  for (int i = 0; i < 150; ++i) groups.push_back(prefix_group(random, 1, 7 - i / 25, 24 - i / 10));
  check_all(weights, Activation::kGelu, groups);
}

TEST_CASE("linear_forward: column runs out of order") {
  Random random(5);
  const Weights weights(9, 20, random);
  Group group;
  group.num_rows = 11;
  for (const int64_t block : {8, 2, 3, 0, 7, 5}) group.columns.push_back({block, 1, 0});
  group.depth = {{.k_begin = 0, .k_count = 20}};
  group.lay_out(random, false);
  check_all(weights, Activation::kNone, {group, group});
}

TEST_CASE("linear_forward: no rows, no columns, no depth, no groups") {
  Random random(6);
  const Weights weights(4, 10, random);
  for (const bool has_residual : {false, true}) {
    for (int64_t i = 0; i < 3; ++i) {
      Group empty_depth = prefix_group(random, 5, 4, 0);
      empty_depth.has_residual = has_residual;
      empty_depth.lay_out(random, false);
      Group no_runs = empty_depth;
      no_runs.depth = {};
      Group no_columns = prefix_group(random, 5, 4, 10);
      no_columns.columns = {};
      Group empty_run = prefix_group(random, 5, 0, 10);
      check_all(weights, activation_of(i),
                {empty_depth, prefix_group(random, 0, 4, 10), no_runs, no_columns, empty_run,
                 prefix_group(random, 3, 4, 10)});
    }
  }
  check_all(weights, Activation::kNone, {});
}

TEST_CASE("linear_forward: weights that a structure leaves out are not read into results") {
  Random random(7);
  for (int trial = 0; trial < 40; ++trial) {
    Weights weights(random.integer(1, 9), random.integer(2, 61), random);
    const std::vector<Group> groups = {random_group(random, weights, random.integer(1, 12))};
    std::vector<bool> kept_column(static_cast<size_t>(weights.num_blocks * kBlockColumns), false);
    std::vector<bool> kept_k(static_cast<size_t>(weights.K), false);
    for (const ColumnRun& run : groups[0].columns) {
      for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c) {
        kept_column[static_cast<size_t>(run.block_begin * kBlockColumns + c)] = true;
      }
    }
    for (const KRun& run : groups[0].depth) {
      for (int64_t k = 0; k < run.k_count; ++k) kept_k[static_cast<size_t>(run.k_begin + k)] = true;
    }
    for (int64_t n = 0; n < weights.num_blocks * kBlockColumns; ++n) {
      for (int64_t k = 0; k < weights.K; ++k) {
        if (!kept_column[static_cast<size_t>(n)] || !kept_k[static_cast<size_t>(k)])
          weights.packed.set(n, k, test::poison());
      }
    }
    check_all(weights, activation_of(trial), groups);
  }
}

TEST_CASE("linear_forward: a row has the same bits alone and at every place in blocks of 1 to 20 rows") {
  Random random(8);
  const Weights weights(7, 61, random);
  for (const Isa isa : supported_isas()) {
    for (int64_t rows = 1; rows <= 20; ++rows) {
      Group block = random_group(random, weights, rows);
      std::vector<Group> together = {block};
      forward(isa, weights.packed.view(), activation_of(rows), together);
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<Group> alone = {one_row_of(block, r)};
        forward(isa, weights.packed.view(), activation_of(rows), alone);
        check_same_bits(isa, bits_of_row(together[0], r), bits_of_row(alone[0], 0), "a row alone");
      }
    }
  }
}

TEST_CASE("linear_forward: a group has the same bits alone and among groups of other structures") {
  Random random(9);
  for (const Isa isa : supported_isas()) {
    for (int trial = 0; trial < 60; ++trial) {
      const Weights weights(random.integer(1, 10), random.integer(1, 90), random);
      std::vector<Group> groups;
      for (int64_t i = 0; i < 6; ++i) {
        groups.push_back(random_group(random, weights, random.integer(0, 6)));
        // A neighbour with the same structure, whose rows may share tiles with it.
        if (random.integer(0, 1) == 0) groups.push_back(groups.back());
      }
      std::vector<Group> together = groups;
      forward(isa, weights.packed.view(), activation_of(trial), together);
      for (size_t i = 0; i < groups.size(); ++i) {
        std::vector<Group> alone = {groups[i]};
        forward(isa, weights.packed.view(), activation_of(trial), alone);
        for (int64_t r = 0; r < groups[i].num_rows; ++r) {
          check_same_bits(isa, bits_of_row(together[i], r), bits_of_row(alone[0], r), "a group alone");
        }
      }
    }
  }
}

TEST_CASE("linear_forward: the same bits however runs of depth and of columns are cut") {
  Random random(10);
  for (const Isa isa : supported_isas()) {
    for (int64_t rows = 1; rows <= 9; ++rows) {
      const Weights weights(8, 50, random);
      const Group whole = prefix_group(random, rows, 8, 50);
      Group cut = whole;
      cut.depth = {{0, 1}, {1, 16}, {17, 0}, {17, 30}, {47, 3}};
      cut.columns = {{0, 1, 0}, {1, 4, 16}, {5, 2, 80}, {7, 1, 112}};
      std::vector<Group> first = {whole};
      std::vector<Group> second = {cut};
      forward(isa, weights.packed.view(), Activation::kGelu, first);
      forward(isa, weights.packed.view(), Activation::kGelu, second);
      for (int64_t r = 0; r < rows; ++r) {
        check_same_bits(isa, bits_of_row(second[0], r), bits_of_row(first[0], r), "runs cut differently");
      }
    }
  }
}

TEST_CASE("linear_forward: a view of the full weights has the bits of weights cut out") {
  Random random(11);
  for (const Isa isa : supported_isas()) {
    for (int trial = 0; trial < 60; ++trial) {
      const Weights full(random.integer(1, 12), random.integer(1, 120), random);
      Group viewed = random_group(random, full, random.integer(1, 13));
      std::vector<int64_t> columns;
      for (const ColumnRun& run : viewed.columns) {
        for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c)
          columns.push_back(run.block_begin * kBlockColumns + c);
      }
      std::vector<int64_t> depth;
      for (const KRun& run : viewed.depth) {
        for (int64_t k = 0; k < run.k_count; ++k) depth.push_back(run.k_begin + k);
      }
      PackedMatrix compact(static_cast<int64_t>(columns.size()) / kBlockColumns,
                           static_cast<int64_t>(depth.size()));
      for (size_t n = 0; n < columns.size(); ++n) {
        compact.set_bias(static_cast<int64_t>(n), full.bias[static_cast<size_t>(columns[n])]);
        for (size_t k = 0; k < depth.size(); ++k) {
          compact.set(static_cast<int64_t>(n), static_cast<int64_t>(k), full.at(columns[n], depth[k]));
        }
      }
      Group dense = viewed;
      dense.depth = {{0, static_cast<int64_t>(depth.size())}};
      int64_t block = 0;
      for (ColumnRun& run : dense.columns) {
        run.block_begin = block;
        block += run.num_blocks;
      }
      std::vector<Group> first = {viewed};
      std::vector<Group> second = {dense};
      forward(isa, full.packed.view(), activation_of(trial), first);
      forward(isa, compact.view(), activation_of(trial), second);
      for (int64_t r = 0; r < viewed.num_rows; ++r) {
        check_same_bits(isa, bits_of_row(first[0], r), bits_of_row(second[0], r), "view against cut-out");
      }
    }
  }
}

}  // namespace
}  // namespace elasticlm
