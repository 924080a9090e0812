// One contract suite for linear_forward on every instruction set that this machine has.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>
#include <sstream>

#include "core/packed_matrix.h"
#include "kernels/kernel_table.h"
#include "test/check.h"

namespace elasticlm {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();
constexpr double kUnit = 0x1p-24;  // rounding unit of f32

std::vector<Isa> isas() {
  std::vector<Isa> supported;
  for (const Isa isa : {Isa::kRef, Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (isa_supported(isa)) {
      supported.push_back(isa);
    } else {
      std::printf("skipped: this machine cannot run %s\n", isa_name(isa));
    }
  }
  return supported;
}

struct Generator {
  std::mt19937_64 engine;
  int64_t below(int64_t end) { return static_cast<int64_t>(engine() % static_cast<uint64_t>(end)); }
  float value() { return std::normal_distribution<float>()(engine); }
};

// W [N, K] and its packed form. `poison` overwrites in the packed form what a structure leaves out.
struct Weights {
  int64_t num_blocks;
  int64_t K;
  std::vector<float> dense;  // [num_blocks * 16, K]
  std::vector<float> bias;   // [num_blocks * 16]
  PackedMatrix packed;

  Weights(int64_t num_blocks, int64_t K, Generator& generator)
      : num_blocks(num_blocks), K(K), packed(num_blocks, K) {
    for (int64_t n = 0; n < num_blocks * kBlockColumns; ++n) {
      bias.push_back(generator.value());
      packed.set_bias(n, bias.back());
      for (int64_t k = 0; k < K; ++k) {
        dense.push_back(generator.value() / std::sqrt(static_cast<float>(K)));
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

// A RowGroup with its buffers: x and y stand among NaN, so that whatever is read or written beside them shows.
struct Group {
  int64_t num_rows = 0;
  std::vector<ColumnRun> columns;
  std::vector<KRun> depth;
  int64_t ldx = 0;
  int64_t ldy = 0;
  bool has_residual = false;
  bool in_place = false;         // y is the residual
  std::vector<float> x;
  std::vector<float> residual;
  std::vector<float> y;

  int64_t kept_depth() const { return sum_of(depth); }

  // Fills x and the residual once rows, columns and depth are set. `head_major`: each run's output is a matrix of its own.
  void lay_out(Generator& generator, bool head_major) {
    ldx = kept_depth() + generator.below(3);
    x.assign(static_cast<size_t>(num_rows * ldx + 8), kPoison);
    for (int64_t r = 0; r < num_rows; ++r) {
      for (int64_t k = 0; k < kept_depth(); ++k) x[static_cast<size_t>(r * ldx + k)] = generator.value();
    }
    int64_t widest = 0;
    int64_t total = 0;
    for (const ColumnRun& run : columns) {
      widest = std::max(widest, run.num_blocks * kBlockColumns);
      total += run.num_blocks * kBlockColumns;
    }
    ldy = (head_major ? widest : total) + generator.below(2) * kBlockColumns;
    int64_t offset = 0;
    for (ColumnRun& run : columns) {
      run.y_offset = offset;
      offset += head_major ? ldy * num_rows : run.num_blocks * kBlockColumns;
    }
    const int64_t size = head_major ? offset + ldy : num_rows * ldy + 8;
    y.assign(static_cast<size_t>(size), kPoison);
    residual.assign(has_residual ? static_cast<size_t>(size) : 0, kPoison);
    for (float& value : residual) value = generator.value();
    if (in_place) y = residual;
  }

  RowGroup view() {
    return {.x = x.data(),
            .residual = !has_residual ? nullptr : in_place ? y.data() : residual.data(),
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
  kernel_table(isa).linear_forward({.weight = weight, .activation = activation, .groups = views});
}

struct Expected {
  double value = 0;
  double tolerance = 0;
};

// One element in f64, and how far an f32 result may be from it.
//
// A chain of K fused or separate multiply-adds and the bias are off by at most gamma = (K + 2) u / (1 - (K + 2) u) times
// the sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 3.1). The activation stretches that by its
// largest slope (GELU 1.13, tanh 1) and adds its own error: GELU 1e-7 max(1, |v|) (vector_math.h), or 5 roundings of |v| in
// the scalar formula, tanh 3e-7. Adding the residual rounds once more.
Expected expected_at(const Weights& weights, bool has_bias, Activation activation, const Group& group, int64_t row, int64_t n) {
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
  const double roundings = static_cast<double>(group.kept_depth() + 2) * kUnit;
  const double before = roundings / (1.0 - roundings) * magnitude;
  switch (activation) {
    case Activation::kGelu:
      return {0.5 * sum * std::erfc(-sum * std::sqrt(0.5)),
              1.13 * before + 1e-7 * std::max(1.0, std::abs(sum)) + 5.0 * kUnit * std::abs(sum)};
    case Activation::kTanh:
      return {std::tanh(sum), before + 3e-7};
    case Activation::kNone:
      break;
  }
  return {sum, before};
}

struct Worst {
  double excess = -1.0;  // error over tolerance
  std::string message;
};

std::string describe(Isa isa, size_t group_idx, const Group& group) {
  std::ostringstream text;
  text << isa_name(isa) << ", group " << group_idx << " of " << group.num_rows << " rows, depth " << group.kept_depth()
       << " in " << group.depth.size() << " runs, " << group.columns.size() << " column runs";
  return text.str();
}

// Every element of y: written ones within tolerance, the others untouched.
void check_group(Isa isa, const Weights& weights, bool has_bias, Activation activation, size_t group_idx,
                 const Group& group) {
  std::vector<bool> written(group.y.size(), false);
  Worst worst;
  for (const ColumnRun& run : group.columns) {
    for (int64_t r = 0; r < group.num_rows; ++r) {
      for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c) {
        const int64_t n = run.block_begin * kBlockColumns + c;
        const size_t at = static_cast<size_t>(run.y_offset + r * group.ldy + c);
        Expected expected = expected_at(weights, has_bias, activation, group, r, n);
        if (group.has_residual) {
          expected.value += group.residual[at];
          expected.tolerance += kUnit * (std::abs(expected.value) + expected.tolerance);
        }
        written[at] = true;
        const double got = group.y[at];
        const double error = std::abs(got - expected.value);
        const double excess = error <= expected.tolerance ? error / (expected.tolerance + 1e-300) : 2.0 + error;
        if (!(excess <= worst.excess)) {  // NaN counts as worst
          std::ostringstream text;
          text.precision(9);
          text << describe(isa, group_idx, group) << ": at row " << r << ", column " << n << " got " << got << ", expected "
               << expected.value << " within " << expected.tolerance;
          worst = {std::isnan(excess) ? std::numeric_limits<double>::infinity() : excess, text.str()};
        }
      }
    }
  }
  CHECK(worst.excess <= 1.0, worst.message);
  for (size_t at = 0; at < group.y.size(); ++at) {
    if (written[at]) continue;
    const bool untouched = group.in_place ? group.y[at] == group.residual[at] : std::isnan(group.y[at]);
    CHECK(untouched, describe(isa, group_idx, group) + ": wrote beside its columns, at element " + std::to_string(at));
  }
}

void check_all(const Weights& weights, Activation activation, const std::vector<Group>& groups, bool has_bias = true) {
  PackedMatrixView view = weights.packed.view();
  if (!has_bias) view.bias = nullptr;
  for (const Isa isa : isas()) {
    std::vector<Group> run = groups;
    forward(isa, view, activation, run);
    for (size_t i = 0; i < run.size(); ++i) check_group(isa, weights, has_bias, activation, i, run[i]);
  }
}

// Rising runs that keep each of `count` units with the given odds (of 4), neighbours joined or not at random.
template <typename Run>
std::vector<Run> random_runs(Generator& generator, int64_t count, int64_t odds, const auto& make) {
  std::vector<Run> runs;
  int64_t begin = -1;
  for (int64_t unit = 0; unit <= count; ++unit) {
    const bool kept = unit < count && generator.below(4) < odds;
    if (begin >= 0 && (!kept || generator.below(5) == 0)) {
      runs.push_back(make(begin, unit - begin));
      begin = -1;
    }
    if (kept && begin < 0) begin = unit;
  }
  return runs;
}

std::vector<ColumnRun> random_columns(Generator& generator, int64_t num_blocks, int64_t odds) {
  return random_runs<ColumnRun>(generator, num_blocks, odds, [](int64_t begin, int64_t count) {
    return ColumnRun{.block_begin = begin, .num_blocks = count, .y_offset = 0};
  });
}

std::vector<KRun> random_depth(Generator& generator, int64_t K, int64_t odds) {
  return random_runs<KRun>(generator, K, odds, [](int64_t begin, int64_t count) { return KRun{begin, count}; });
}

Group random_group(Generator& generator, const Weights& weights, int64_t num_rows) {
  Group group;
  group.num_rows = num_rows;
  group.columns = random_columns(generator, weights.num_blocks, generator.below(5));
  group.depth = random_depth(generator, weights.K, generator.below(5));
  group.has_residual = generator.below(2) == 0;
  group.in_place = group.has_residual && generator.below(2) == 0;
  group.lay_out(generator, generator.below(2) == 0);
  return group;
}

Group prefix_group(Generator& generator, int64_t num_rows, int64_t num_blocks, int64_t depth) {
  Group group;
  group.num_rows = num_rows;
  group.columns = {{.block_begin = 0, .num_blocks = num_blocks, .y_offset = 0}};
  group.depth = {{.k_begin = 0, .k_count = depth}};
  group.lay_out(generator, false);
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
      uint32_t word;
      std::memcpy(&word, &group.y[static_cast<size_t>(run.y_offset + r * group.ldy + c)], sizeof(word));
      bits.push_back(word);
    }
  }
  return bits;
}

void check_same_bits(Isa isa, const std::vector<uint32_t>& got, const std::vector<uint32_t>& expected, const char* what) {
  CHECK(got.size() == expected.size(), std::string(isa_name(isa)) + ": sizes differ, " + what);
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    float a, b;
    std::memcpy(&a, &got[i], sizeof(a));
    std::memcpy(&b, &expected[i], sizeof(b));
    std::ostringstream text;
    text.precision(9);
    text << isa_name(isa) << ", " << what << ": column " << i << " is " << a << ", not the same bits as " << b
         << " (tolerance: none)";
    CHECK(false, text.str());
  }
}

// `group` with only row r of its rows.
Group one_row_of(const Group& group, int64_t r) {
  Group one = group;
  one.num_rows = 1;
  one.x.assign(group.x.begin() + r * group.ldx, group.x.begin() + r * group.ldx + group.kept_depth());
  one.y.assign(group.y.size(), kPoison);
  if (group.has_residual) {
    one.residual.assign(group.residual.size(), kPoison);
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
  Generator generator{std::mt19937_64(1)};
  for (int64_t K = 1; K <= 70; ++K) {
    const int64_t num_blocks = 1 + K % 7;
    const Weights weights(num_blocks, K, generator);
    for (int64_t rows = 1 + K % 2; rows <= 20; rows += 2) {
      check_all(weights, activation_of(rows + K), {prefix_group(generator, rows, num_blocks, K)}, rows % 4 != 3);
    }
  }
}

TEST_CASE("linear_forward: depths of a real encoder") {
  Generator generator{std::mt19937_64(2)};
  for (const int64_t K : {384, 1536}) {
    const Weights weights(7, K, generator);
    for (const int64_t rows : {1, 8, 17, 33}) {
      check_all(weights, activation_of(rows), {prefix_group(generator, rows, 7, K)});
    }
  }
}

TEST_CASE("linear_forward: groups of random structures") {
  Generator generator{std::mt19937_64(3)};
  for (int trial = 0; trial < 300; ++trial) {
    const Weights weights(1 + generator.below(14), 1 + generator.below(100), generator);
    std::vector<Group> groups;
    const int64_t num_groups = 1 + generator.below(5);
    for (int64_t i = 0; i < num_groups; ++i) groups.push_back(random_group(generator, weights, generator.below(21)));
    check_all(weights, activation_of(trial), groups, trial % 4 != 0);
  }
}

TEST_CASE("linear_forward: more groups than share one pass") {
  Generator generator{std::mt19937_64(4)};
  const Weights weights(7, 24, generator);
  std::vector<Group> groups;
  for (int i = 0; i < 150; ++i) groups.push_back(prefix_group(generator, 1, 7 - i / 25, 24 - i / 10));
  check_all(weights, Activation::kGelu, groups);
}

TEST_CASE("linear_forward: column runs out of order") {
  Generator generator{std::mt19937_64(5)};
  const Weights weights(9, 20, generator);
  Group group;
  group.num_rows = 11;
  for (const int64_t block : {8, 2, 3, 0, 7, 5}) group.columns.push_back({block, 1, 0});
  group.depth = {{.k_begin = 0, .k_count = 20}};
  group.lay_out(generator, false);
  check_all(weights, Activation::kNone, {group, group});
}

TEST_CASE("linear_forward: no rows, no columns, no depth, no groups") {
  Generator generator{std::mt19937_64(6)};
  const Weights weights(4, 10, generator);
  for (const bool has_residual : {false, true}) {
    for (int64_t i = 0; i < 3; ++i) {
      Group empty_depth = prefix_group(generator, 5, 4, 0);
      empty_depth.has_residual = has_residual;
      empty_depth.lay_out(generator, false);
      Group no_runs = empty_depth;
      no_runs.depth = {};
      Group no_columns = prefix_group(generator, 5, 4, 10);
      no_columns.columns = {};
      Group empty_run = prefix_group(generator, 5, 0, 10);
      check_all(weights, activation_of(i),
                {empty_depth, prefix_group(generator, 0, 4, 10), no_runs, no_columns, empty_run,
                 prefix_group(generator, 3, 4, 10)});
    }
  }
  check_all(weights, Activation::kNone, {});
}

TEST_CASE("linear_forward: weights that a structure leaves out are not read into results") {
  Generator generator{std::mt19937_64(7)};
  for (int trial = 0; trial < 40; ++trial) {
    Weights weights(1 + generator.below(9), 2 + generator.below(60), generator);
    const std::vector<Group> groups = {random_group(generator, weights, 1 + generator.below(12))};
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
        if (!kept_column[static_cast<size_t>(n)] || !kept_k[static_cast<size_t>(k)]) weights.packed.set(n, k, kPoison);
      }
    }
    check_all(weights, activation_of(trial), groups);
  }
}

TEST_CASE("linear_forward: a row has the same bits alone and at every place in blocks of 1 to 20 rows") {
  Generator generator{std::mt19937_64(8)};
  const Weights weights(7, 61, generator);
  for (const Isa isa : isas()) {
    for (int64_t rows = 1; rows <= 20; ++rows) {
      Group block = random_group(generator, weights, rows);
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
  Generator generator{std::mt19937_64(9)};
  for (const Isa isa : isas()) {
    for (int trial = 0; trial < 60; ++trial) {
      const Weights weights(1 + generator.below(10), 1 + generator.below(90), generator);
      std::vector<Group> groups;
      for (int64_t i = 0; i < 6; ++i) {
        groups.push_back(random_group(generator, weights, generator.below(7)));
        // A neighbour with the same structure, whose rows may share tiles with it.
        if (generator.below(2) == 0) groups.push_back(groups.back());
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
  Generator generator{std::mt19937_64(10)};
  for (const Isa isa : isas()) {
    for (int64_t rows = 1; rows <= 9; ++rows) {
      const Weights weights(8, 50, generator);
      const Group whole = prefix_group(generator, rows, 8, 50);
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
  Generator generator{std::mt19937_64(11)};
  for (const Isa isa : isas()) {
    for (int trial = 0; trial < 60; ++trial) {
      const Weights full(1 + generator.below(12), 1 + generator.below(120), generator);
      Group viewed = random_group(generator, full, 1 + generator.below(13));
      std::vector<int64_t> columns;
      for (const ColumnRun& run : viewed.columns) {
        for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c) columns.push_back(run.block_begin * kBlockColumns + c);
      }
      std::vector<int64_t> depth;
      for (const KRun& run : viewed.depth) {
        for (int64_t k = 0; k < run.k_count; ++k) depth.push_back(run.k_begin + k);
      }
      PackedMatrix compact(static_cast<int64_t>(columns.size()) / kBlockColumns, static_cast<int64_t>(depth.size()));
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
