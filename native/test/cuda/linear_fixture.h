// A linear step for the tests of its kernels: groups of rows with the blocks of a stored weight that they
// keep, poison in all memory that they may not read or write, and what must come out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/cuda/linear.h"
#include "test/cuda/device_test.h"

namespace elasticlm::test {

struct LinearSpec {
  DType dtype = DType::kBF16;
  cuda::WeightRows weight_rows = cuda::WeightRows::kColumns;
  cuda::Epilogue epilogue = cuda::Epilogue::kBias;
  int64_t num_columns = 0;  // N and K of the full model's weight
  int64_t depth = 0;
};

// What a group keeps.
struct LinearCut {
  int64_t num_rows = 0;
  int64_t num_columns = 0;  // multiples of 16
  int64_t depth = 0;
  bool prefix = true;          // of the stored rows; otherwise a random list in any order
  int64_t num_kept = 1 << 30;  // columns from here on are zeros
};

struct LinearProblem {
  LinearSpec spec;
  HostMatrix weight;  // rows that no group keeps, and what lies beyond all depths (or columns), are poison
  std::vector<float> bias;  // [N]
  std::vector<cuda::LinearGroup> groups;
  std::vector<int32_t> row_blocks;
  HostMatrix x;  // poison beyond each group's depth and in rows of no group
  HostMatrix y;  // poison but for the residual, if there is one
};

// Groups stand in the step as in `cuts`; their rows are in a random order, with rows of no group between
// them.
LinearProblem make_problem(const LinearSpec& spec, const std::vector<LinearCut>& cuts, Random& random);
// The same weight, and nothing but row `row` of group `group_idx`.
LinearProblem row_alone(const LinearProblem& problem, size_t group_idx, int64_t row);

// y after `forward` with LaunchContext::max_rows of at least the problem's.
HostMatrix run_linear(cuda::DeviceLinearForward forward, const LinearProblem& problem, int64_t max_rows);
// A matrix as kernels are given it, with its tensor maps where the device has them.
cuda::DeviceMatrix mapped_view(const HostMatrix& matrix, const DeviceMemory& memory);

// Fails unless y holds what the records ask for: kept columns within the bound of device_test.h, and each
// within the bound of its own; zeros after them; every other element as it was.
void check_linear(const LinearProblem& problem, const HostMatrix& y, const std::string& what);

// The columns that a row of a group writes.
std::vector<uint32_t> bits_of_row(const LinearProblem& problem, const HostMatrix& y, size_t group_idx,
                                  int64_t row);

}  // namespace elasticlm::test
