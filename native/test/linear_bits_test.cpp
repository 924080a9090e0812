// Which results of linear_forward are the same bits, in every precision and on every instruction set.
#include <algorithm>
#include <vector>

#include "test/check.h"
#include "test/linear_fixture.h"

namespace elasticlm::test {
namespace {

// Depth of up to `max_words` words, the last of which may be partly filled.
int64_t random_depth(Random& random, Precision precision, int64_t max_words) {
  const int64_t e = word_elements(precision);
  return random.integer(1, max_words) * e - random.integer(0, e - 1);
}

TEST_CASE("linear_forward: a row has the same bits alone and at every place in blocks of 1 to 20 rows") {
  Random random(1);
  for (const Precision precision : kPrecisions) {
    const LinearWeights weights(precision, 7, 61, random);
    for (int64_t rows = 1; rows <= 20; ++rows) {
      const Activation activation = activation_of(rows);
      const LinearGroup block = random_group(random, weights, linear_kind(precision, rows).y_type, rows);
      for (const Isa isa : linear_isas(precision)) {
        std::vector<LinearGroup> together = {block};
        linear_forward(isa, weights.packed.view(), activation, together);
        for (int64_t r = 0; r < rows; ++r) {
          std::vector<LinearGroup> alone = {one_row_of(block, r)};
          linear_forward(isa, weights.packed.view(), activation, alone);
          check_same_row(isa, together[0], r, alone[0], 0, "a row alone");
        }
      }
    }
  }
}

TEST_CASE("linear_forward: a row has the same bits alone and among many at the depth of a real encoder") {
  constexpr int64_t kRows = 33;
  Random random(2);
  for (const LinearKind kind : kLinearKinds) {
    // Several slices of a panel (linear_impl.h), the last word partly filled.
    const int64_t e = word_elements(kind.precision);
    const int64_t K = 384 * e - e / 2;
    const LinearWeights weights(kind.precision, 7, K, random);
    const LinearGroup block = prefix_group(random, kind, kRows, 7, K);
    for (const Isa isa : linear_isas(kind.precision)) {
      if (isa == Isa::kRef) continue;  // it has no tiles
      std::vector<LinearGroup> together = {block};
      linear_forward(isa, weights.packed.view(), Activation::kNone, together);
      for (const int64_t r : {0, 15, 32}) {
        std::vector<LinearGroup> alone = {one_row_of(block, r)};
        linear_forward(isa, weights.packed.view(), Activation::kNone, alone);
        check_same_row(isa, together[0], r, alone[0], 0, "a row alone, deep");
      }
    }
  }
}

TEST_CASE("linear_forward: a group has the same bits alone and among groups of other structures") {
  Random random(3);
  for (int trial = 0; trial < 150; ++trial) {
    const LinearKind kind = kLinearKinds[trial % 5];
    const LinearWeights weights(kind.precision, random.integer(1, 10),
                                random_depth(random, kind.precision, 60), random);
    std::vector<LinearGroup> groups;
    for (int64_t i = 0; i < 6; ++i) {
      groups.push_back(random_group(random, weights, kind.y_type, random.integer(0, 6)));
      // A neighbour with the same structure, whose rows may share tiles with it.
      if (random.integer(0, 1) == 0) groups.push_back(groups.back());
    }
    for (const Isa isa : linear_isas(kind.precision)) {
      std::vector<LinearGroup> together = groups;
      linear_forward(isa, weights.packed.view(), activation_of(trial), together);
      for (size_t i = 0; i < groups.size(); ++i) {
        std::vector<LinearGroup> alone = {groups[i]};
        linear_forward(isa, weights.packed.view(), activation_of(trial), alone);
        check_same_rows(isa, together[i], alone[0], "a group alone");
      }
    }
  }
}

TEST_CASE("linear_forward: the same bits however runs of depth and of columns are cut") {
  Random random(4);
  for (const LinearKind kind : kLinearKinds) {
    const int64_t e = word_elements(kind.precision);
    for (int64_t rows = 1; rows <= 9; ++rows) {
      const int64_t K = 50 * e - rows % e;
      const LinearWeights weights(kind.precision, 8, K, random);
      const LinearGroup whole = prefix_group(random, kind, rows, 8, K);
      LinearGroup cut = whole;
      cut.depth = {{0, e}, {e, 16 * e}, {17 * e, 0}, {17 * e, 30 * e}, {47 * e, K - 47 * e}};
      const int64_t y_offset = whole.columns[0].y_offset;
      cut.columns = {{0, 1, y_offset}, {1, 4, y_offset + 16}, {5, 2, y_offset + 80}, {7, 1, y_offset + 112}};
      for (const Isa isa : linear_isas(kind.precision)) {
        std::vector<LinearGroup> first = {whole};
        std::vector<LinearGroup> second = {cut};
        linear_forward(isa, weights.packed.view(), activation_of(rows), first);
        linear_forward(isa, weights.packed.view(), activation_of(rows), second);
        check_same_rows(isa, second[0], first[0], "runs cut differently");
      }
    }
  }
}

// The columns and the depth of `weights` that `group` keeps, as weights of their own.
PackedMatrix cut_out(const LinearWeights& weights, const LinearGroup& group) {
  std::vector<int64_t> columns;
  for (const ColumnRun& run : group.columns) {
    for (int64_t c = 0; c < run.num_blocks * kBlockColumns; ++c)
      columns.push_back(run.block_begin * kBlockColumns + c);
  }
  std::vector<int64_t> depth;
  for (const KRun& run : group.depth) {
    for (int64_t k = 0; k < run.k_count; ++k) depth.push_back(run.k_begin + k);
  }
  PackedMatrix compact(static_cast<int64_t>(columns.size()) / kBlockColumns,
                       static_cast<int64_t>(depth.size()), group.kind.precision);
  for (size_t n = 0; n < columns.size(); ++n) {
    compact.set_bias(static_cast<int64_t>(n), weights.bias[static_cast<size_t>(columns[n])]);
    compact.copy_column(static_cast<int64_t>(n), weights.packed.view(), columns[n], depth);
  }
  return compact;
}

TEST_CASE("linear_forward: a view of the full weights has the bits of weights cut out") {
  Random random(5);
  for (int trial = 0; trial < 150; ++trial) {
    const LinearKind kind = kLinearKinds[trial % 5];
    const LinearWeights full(kind.precision, random.integer(1, 9), random_depth(random, kind.precision, 120),
                             random);
    const LinearGroup viewed = random_group(random, full, kind.y_type, random.integer(1, 13));
    const PackedMatrix compact = cut_out(full, viewed);
    LinearGroup dense = viewed;
    dense.depth = {{0, viewed.kept_depth()}};
    int64_t block = 0;
    for (ColumnRun& run : dense.columns) {
      run.block_begin = block;
      block += run.num_blocks;
    }
    for (const Isa isa : linear_isas(kind.precision)) {
      std::vector<LinearGroup> first = {viewed};
      std::vector<LinearGroup> second = {dense};
      linear_forward(isa, full.packed.view(), activation_of(trial), first);
      linear_forward(isa, compact.view(), activation_of(trial), second);
      check_same_rows(isa, first[0], second[0], "a view against weights cut out");
    }
  }
}

// Instruction sets whose arithmetic linear.h says is the same. The scalar reference always fuses; kGeneric
// does where the target can.
bool has_common_arithmetic(Isa isa, Precision precision, bool has_bias) {
  const bool exact_products = precision == Precision::kBF16 || (precision == Precision::kI8 && !has_bias);
  if (isa == Isa::kGeneric) return exact_products;
  return !(isa == Isa::kAvx512Bf16 && precision == Precision::kBF16);
}

TEST_CASE("linear_forward: the same bits on every instruction set with the same arithmetic") {
  Random random(6);
  for (int trial = 0; trial < 100; ++trial) {
    const LinearKind kind = kLinearKinds[trial % 5];
    const bool has_bias = trial / 5 % 2 == 0;
    const LinearWeights weights(kind.precision, random.integer(1, 7),
                                random_depth(random, kind.precision, 120), random);
    const LinearGroup group = random_group(random, weights, kind.y_type, random.integer(1, 13));
    PackedMatrixView view = weights.packed.view();
    if (!has_bias) view.bias = nullptr;
    std::vector<LinearGroup> expected = {group};
    linear_forward(Isa::kRef, view, Activation::kNone, expected);
    for (const Isa isa : linear_isas(kind.precision)) {
      if (!has_common_arithmetic(isa, kind.precision, has_bias)) continue;
      std::vector<LinearGroup> run = {group};
      linear_forward(isa, view, Activation::kNone, run);
      check_same_rows(isa, run[0], expected[0], "as the reference");
    }
  }
}

}  // namespace
}  // namespace elasticlm::test
