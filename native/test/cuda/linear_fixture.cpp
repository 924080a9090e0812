#include "test/cuda/linear_fixture.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/cuda/records.h"
#include "kernels/cuda/tensor_map.h"

namespace elasticlm::test {

using cuda::DeviceMatrix;
using cuda::Epilogue;
using cuda::kPrefix;
using cuda::kRowBlock;
using cuda::LinearGroup;
using cuda::LinearStep;
using cuda::WeightRows;

namespace {

bool rows_are_columns(const LinearSpec& spec) { return spec.weight_rows == WeightRows::kColumns; }
int64_t stored_rows(const LinearSpec& spec) { return rows_are_columns(spec) ? spec.num_columns : spec.depth; }
int64_t stored_columns(const LinearSpec& spec) {
  return rows_are_columns(spec) ? spec.depth : spec.num_columns;
}
// Of the axis that is kept in blocks of stored rows, and of the other.
int64_t kept_rows(const LinearSpec& spec, const LinearGroup& group) {
  return rows_are_columns(spec) ? group.num_columns : group.depth;
}
int64_t kept_columns(const LinearSpec& spec, const LinearGroup& group) {
  return rows_are_columns(spec) ? group.depth : group.num_columns;
}

int64_t stored_row(const LinearProblem& problem, const LinearGroup& group, int64_t i) {
  if (group.row_blocks == kPrefix) return i;
  const auto block = static_cast<size_t>(group.row_blocks + i / kRowBlock);
  return int64_t{problem.row_blocks[block]} * kRowBlock + i % kRowBlock;
}

float weight_at(const LinearProblem& problem, const LinearGroup& group, int64_t column, int64_t k) {
  return rows_are_columns(problem.spec) ? problem.weight.get(stored_row(problem, group, column), k)
                                        : problem.weight.get(stored_row(problem, group, k), column);
}

float bias_at(const LinearProblem& problem, const LinearGroup& group, int64_t column) {
  const int64_t n = rows_are_columns(problem.spec) ? stored_row(problem, group, column) : column;
  return problem.bias[static_cast<size_t>(n)];
}

void fill_weight(LinearProblem& problem, Random& random) {
  std::vector<int64_t> extents(static_cast<size_t>(problem.weight.rows()), 0);
  for (const LinearGroup& group : problem.groups) {
    for (int64_t i = 0; i < kept_rows(problem.spec, group); ++i) {
      int64_t& extent = extents[static_cast<size_t>(stored_row(problem, group, i))];
      extent = std::max(extent, kept_columns(problem.spec, group));
    }
  }
  const float deviation = 1.0f / std::sqrt(static_cast<float>(problem.spec.depth));
  for (int64_t row = 0; row < problem.weight.rows(); ++row) {
    problem.weight.fill(random, row, 0, extents[static_cast<size_t>(row)], deviation);
  }
}

void fill_rows(LinearProblem& problem, Random& random) {
  for (const LinearGroup& group : problem.groups) {
    for (int64_t row = group.row_begin; row < group.row_begin + group.num_rows; ++row) {
      problem.x.fill(random, row, 0, group.depth, 1.0f);
      if (problem.spec.epilogue == Epilogue::kBiasResidual)
        problem.y.fill(random, row, 0, group.num_columns, 1.0f);
    }
  }
}

// An element in f64, how far a kernel's may be from it, and what the naive path makes of it.
struct Expected {
  Bound bound;
  float naive = 0.0f;
};

// A chain of K products and additions in f32 is off by at most gamma_(K + 2) times the sum of magnitudes
// (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); tensor cores cut off where f32 arithmetic
// rounds, which doubles that. The activation stretches it by its largest slope (GELU 1.13, tanh 1) and adds
// its own error: GELU 1.5e-7 (epilogue.cuh) or 5 roundings of |v| in the scalar formula, tanh 3e-7. The
// residual is one more rounding of f32, the store one of the element type, which below the smallest normal
// f16 is absolute.
Expected expected_at(const LinearProblem& problem, const LinearGroup& group, int64_t row, int64_t column) {
  double sum = 0.0;
  double magnitude = 0.0;
  float naive = 0.0f;
  for (int64_t k = 0; k < group.depth; ++k) {
    const float x = problem.x.get(row, k);
    const float w = weight_at(problem, group, column, k);
    const double product = static_cast<double>(x) * w;
    sum += product;
    magnitude += std::abs(product);
    naive += x * w;
  }
  const float bias = bias_at(problem, group, column);
  sum += bias;
  magnitude += std::abs(static_cast<double>(bias));
  naive += bias;
  double tolerance = 2.0 * gamma_bound(static_cast<double>(group.depth + 2)) * magnitude;
  switch (problem.spec.epilogue) {
    case Epilogue::kBias:
      break;
    case Epilogue::kBiasGelu:
      tolerance = 1.13 * tolerance + 1.5e-7 + 5.0 * kUnitRoundoff * std::abs(sum);
      sum = 0.5 * sum * std::erfc(-sum * std::sqrt(0.5));
      naive = 0.5f * naive * (1.0f + std::erf(naive * 0.70710678f));
      break;
    case Epilogue::kBiasTanh:
      tolerance += 3e-7;
      sum = std::tanh(sum);
      naive = std::tanh(naive);
      break;
    case Epilogue::kBiasResidual: {
      const float residual = problem.y.get(row, column);
      sum += residual;
      naive += residual;
      tolerance += kUnitRoundoff * (std::abs(sum) + tolerance);
      break;
    }
  }
  const DType dtype = problem.spec.dtype;
  const double smallest = dtype == DType::kF16 ? 0x1p-25 : 0.0;
  tolerance += unit_roundoff(dtype) * (std::abs(sum) + tolerance) + smallest;
  return {{sum, tolerance}, rounded(dtype, naive)};
}

std::string describe(const LinearProblem& problem, size_t group_idx) {
  const LinearGroup& group = problem.groups[group_idx];
  return std::string(dtype_name(problem.spec.dtype)) +
         (rows_are_columns(problem.spec) ? ", rows are columns" : ", rows are depth") + ", epilogue " +
         std::to_string(static_cast<int>(problem.spec.epilogue)) + ", group " + std::to_string(group_idx) +
         " of " + std::to_string(group.num_rows) + " rows, " + std::to_string(group.num_columns) +
         " columns, depth " + std::to_string(group.depth) +
         (group.row_blocks == kPrefix ? ", prefix" : ", list") + " (row, column)";
}

void check_group(const LinearProblem& problem, size_t group_idx, const HostMatrix& y,
                 const std::string& what) {
  const LinearGroup& group = problem.groups[group_idx];
  const int64_t num_kept = std::min(group.num_kept_columns, group.num_columns);
  const std::string subject = what + ", " + describe(problem, group_idx);
  WorstError worst;
  std::vector<float> actual;
  DeviceTruth truth;
  truth.shape = {group.num_rows, num_kept};
  for (int64_t r = 0; r < group.num_rows; ++r) {
    for (int64_t column = 0; column < num_kept; ++column) {
      const Expected expected = expected_at(problem, group, group.row_begin + r, column);
      actual.push_back(y.get(group.row_begin + r, column));
      truth.f64.push_back(expected.bound.value);
      truth.naive.push_back(expected.naive);
      worst.add(actual.back(), expected.bound, {r, column});
    }
    for (int64_t column = num_kept; column < group.num_columns; ++column) {
      CHECK(y.bits(group.row_begin + r, column) == 0, subject + ": not zero beyond the kept columns, at (" +
                                                          std::to_string(r) + ", " + std::to_string(column) +
                                                          ")");
    }
  }
  CHECK_WITHIN(worst, subject);
  check_close(actual, truth, problem.spec.dtype, subject);
}

}  // namespace

LinearProblem make_problem(const LinearSpec& spec, const std::vector<LinearCut>& cuts, Random& random) {
  std::vector<LinearGroup> groups;
  std::vector<int32_t> row_blocks = {-1, -1};  // what no group counts from
  std::vector<size_t> order(cuts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (const LinearCut& cut : cuts) {
    LinearGroup group = {.num_rows = static_cast<int32_t>(cut.num_rows),
                         .num_columns = static_cast<int32_t>(cut.num_columns),
                         .num_kept_columns = static_cast<int32_t>(std::min(cut.num_kept, cut.num_columns)),
                         .depth = static_cast<int32_t>(cut.depth)};
    if (!cut.prefix) {
      std::vector<int32_t> blocks(static_cast<size_t>(stored_rows(spec) / kRowBlock));
      std::iota(blocks.begin(), blocks.end(), 0);
      for (size_t i = blocks.size(); i > 1; --i) {
        std::swap(blocks[i - 1], blocks[static_cast<size_t>(random.integer(0, static_cast<int64_t>(i) - 1))]);
      }
      group.row_blocks = static_cast<int32_t>(row_blocks.size());
      row_blocks.insert(row_blocks.end(), blocks.begin(),
                        blocks.begin() + kept_rows(spec, group) / kRowBlock);
    }
    groups.push_back(group);
  }
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[static_cast<size_t>(random.integer(0, static_cast<int64_t>(i) - 1))]);
  }
  int64_t num_rows = random.integer(0, 3);
  for (const size_t i : order) {
    groups[i].row_begin = static_cast<int32_t>(num_rows);
    num_rows += groups[i].num_rows + random.integer(0, 3);
  }
  num_rows = std::max<int64_t>(num_rows, 1);
  LinearProblem problem = {
      .spec = spec,
      .weight = HostMatrix(spec.dtype, stored_rows(spec), stored_columns(spec), stored_columns(spec) + 8),
      .bias = {},
      .groups = groups,
      .row_blocks = row_blocks,
      .x = HostMatrix(spec.dtype, num_rows, spec.depth, spec.depth + 8),
      .y = HostMatrix(spec.dtype, num_rows, spec.num_columns, spec.num_columns + 8)};
  for (int64_t n = 0; n < spec.num_columns; ++n) problem.bias.push_back(random.normal());
  fill_weight(problem, random);
  fill_rows(problem, random);
  return problem;
}

LinearProblem row_alone(const LinearProblem& problem, size_t group_idx, int64_t row) {
  LinearProblem alone = problem;
  LinearGroup group = problem.groups[group_idx];
  alone.x = HostMatrix(problem.spec.dtype, 1, problem.x.columns(), problem.x.ld());
  alone.y = HostMatrix(problem.spec.dtype, 1, problem.y.columns(), problem.y.ld());
  for (int64_t k = 0; k < group.depth; ++k) alone.x.set(0, k, problem.x.get(group.row_begin + row, k));
  if (problem.spec.epilogue == Epilogue::kBiasResidual) {
    for (int64_t n = 0; n < group.num_columns; ++n)
      alone.y.set(0, n, problem.y.get(group.row_begin + row, n));
  }
  group.row_begin = 0;
  group.num_rows = 1;
  alone.groups = {group};
  return alone;
}

DeviceMatrix mapped_view(const HostMatrix& matrix, const DeviceMemory& memory) {
  DeviceMatrix view = matrix.view(memory);
  if (matrix.dtype() == DType::kF32 || compute_capability() < 90) return view;
  cuda::TensorMapSpec spec = {.data = view.data,
                              .dtype = matrix.dtype(),
                              .rows = view.rows,
                              .columns = view.columns,
                              .ld = view.ld,
                              .box_rows = kRowBlock};
  view.block_map = make_tensor_map(spec);
  spec.box_rows = cuda::kPanelRows;
  view.panel_map = make_tensor_map(spec);
  return view;
}

HostMatrix run_linear(cuda::DeviceLinearForward forward, const LinearProblem& problem, int64_t max_rows) {
  const DeviceMemory weight = problem.weight.upload();
  const DeviceMemory x = problem.x.upload();
  const DeviceMemory y = problem.y.upload();
  const DeviceArray<float> bias(problem.bias);
  const DeviceArray<int32_t> row_blocks(problem.row_blocks);
  // The groups of other steps stand before and after.
  std::vector<LinearGroup> groups(problem.groups.size() + 2, {.num_rows = 9, .num_columns = 16, .depth = 16});
  std::copy(problem.groups.begin(), problem.groups.end(), groups.begin() + 1);
  const DeviceArray<LinearGroup> device_groups(groups);
  const DeviceArray<LinearStep> step(
      std::vector<LinearStep>{{.group_begin = 1, .num_groups = static_cast<int32_t>(problem.groups.size())}});
  cuda::LaunchContext context = device_context();
  context.max_rows = std::max(max_rows, problem.y.rows());
  context.max_sequences = static_cast<int64_t>(problem.groups.size());
  forward({.dtype = problem.spec.dtype,
           .weight_rows = problem.spec.weight_rows,
           .epilogue = problem.spec.epilogue,
           .weight = mapped_view(problem.weight, weight),
           .bias = bias.data(),
           .x = mapped_view(problem.x, x),
           .y = mapped_view(problem.y, y),
           .step = step.data(),
           .groups = device_groups.data(),
           .row_blocks = row_blocks.data()},
          context);
  HostMatrix result = problem.y;
  result.download(y);
  return result;
}

void check_linear(const LinearProblem& problem, const HostMatrix& y, const std::string& what) {
  std::vector<bool> written(y.all_bits().size(), false);
  for (size_t g = 0; g < problem.groups.size(); ++g) {
    check_group(problem, g, y, what);
    const LinearGroup& group = problem.groups[g];
    for (int64_t row = group.row_begin; row < group.row_begin + group.num_rows; ++row) {
      for (int64_t column = 0; column < group.num_columns; ++column) written[y.at(row, column)] = true;
    }
  }
  for (size_t i = 0; i < written.size(); ++i) {
    if (written[i] || y.all_bits()[i] == problem.y.all_bits()[i]) continue;
    const auto ld = static_cast<size_t>(y.ld());
    CHECK(false, what + ": wrote what belongs to no group, at (" +
                     std::to_string(static_cast<int64_t>(i / ld) - 1) + ", " + std::to_string(i % ld) + ")");
  }
}

std::vector<uint32_t> bits_of_row(const LinearProblem& problem, const HostMatrix& y, size_t group_idx,
                                  int64_t row) {
  const LinearGroup& group = problem.groups[group_idx];
  std::vector<uint32_t> bits;
  for (int64_t column = 0; column < group.num_columns; ++column)
    bits.push_back(y.bits(group.row_begin + row, column));
  return bits;
}

}  // namespace elasticlm::test
