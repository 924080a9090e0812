// linear_wgmma_forward beyond the contract suite (linear_test.cpp): it chooses the shape of its tiles by the
// work and the number of SMs, and its loads by how the kept blocks stand to each other.
#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/cuda/linear.h"
#include "test/check.h"
#include "test/cuda/device_test.h"
#include "test/cuda/linear_fixture.h"

#if defined(ELASTICLM_EMULATED)
#include "emulator/emulator.h"
#endif

namespace elasticlm {
namespace {

using cuda::Epilogue;
using cuda::WeightRows;
using test::check_linear;
using test::HostMatrix;
using test::LinearCut;
using test::LinearProblem;
using test::LinearSpec;
using test::make_problem;
using test::Random;
using test::run_linear;

bool has_wgmma() {
  if (test::compute_capability() == 90) return true;
  std::printf("skipped: WGMMA needs compute capability 9.0, this device has another\n");
  return false;
}

// As on a GPU of so many SMs: no more blocks than that.
template <int kSms>
void forward_on(const cuda::LinearArgs& args, const cuda::LaunchContext& context) {
  cuda::LaunchContext narrow = context;
  narrow.num_sms = kSms;
  cuda::linear_wgmma_forward(args, narrow);
}

// Few SMs make wide tiles and many rounds of the ring in each block, many make small tiles.
void check_on_any_sms(const LinearProblem& problem, const std::string& what) {
  constexpr cuda::DeviceLinearForward kForwards[] = {forward_on<1>, forward_on<3>, forward_on<7>,
                                                     forward_on<16>};
  const HostMatrix first = run_linear(kForwards[0], problem, 0);
  check_linear(problem, first, what);
  for (const cuda::DeviceLinearForward forward : kForwards) {
    CHECK(run_linear(forward, problem, 0).all_bits() == first.all_bits(),
          what + ": bits depend on the tiles (tolerance: none)");
  }
}

struct Size {
  int64_t rows;
  int64_t columns;
  int64_t depth;
};

// With 1, 3, 5 and 16 SMs these take every shape from 64 x 64 to 128 x 256 (choose_shape), and end in every
// number of 64 columns, in one consumer's rows and in both's.
constexpr Size kSizes[] = {{130, 272, 400}, {193, 192, 144}, {70, 400, 432},
                           {40, 512, 80},   {200, 64, 64},   {200, 592, 48}};

constexpr Epilogue kEpilogues[] = {Epilogue::kBias, Epilogue::kBiasGelu, Epilogue::kBiasTanh,
                                   Epilogue::kBiasResidual};

TEST_CASE("linear_wgmma_forward: the same bits with tiles of any shape") {
  if (!has_wgmma()) return;
  Random random(1);
  int i = 0;
  for (const Size& size : kSizes) {
    for (const WeightRows weight_rows : {WeightRows::kColumns, WeightRows::kDepth}) {
      const LinearSpec spec = {.dtype = test::kHalfTypes[i % 2],
                               .weight_rows = weight_rows,
                               .epilogue = kEpilogues[(i + i / 4) % 4],
                               .num_columns = size.columns,
                               .depth = size.depth};
      const LinearCut cut = {
          .num_rows = size.rows, .num_columns = size.columns, .depth = size.depth, .prefix = i % 3 != 0};
      check_on_any_sms(make_problem(spec, {cut}, random),
                       "size " + std::to_string(size.rows) + " x " + std::to_string(size.columns));
      ++i;
    }
  }
}

// Tiles of one consumer go to the two by turns, between tiles of both.
TEST_CASE("linear_wgmma_forward: short and long groups beside each other") {
  if (!has_wgmma()) return;
  Random random(2);
  for (int i = 0; i < 4; ++i) {
    const LinearSpec spec = {.dtype = test::kHalfTypes[i % 2],
                             .weight_rows = i / 2 == 0 ? WeightRows::kColumns : WeightRows::kDepth,
                             .epilogue = kEpilogues[(i + 3) % 4],
                             .num_columns = 336,
                             .depth = 208};
    std::vector<LinearCut> cuts;
    for (const int64_t rows : {130, 7, 64, 65, 3, 20, 128, 1}) {
      cuts.push_back({.num_rows = rows,
                      .num_columns = random.integer(1, 21) * 16,
                      .depth = random.integer(0, 13) * 16,
                      .prefix = random.integer(0, 1) == 0});
      if (rows % 2 == 1) cuts.back().num_kept = random.integer(0, cuts.back().num_columns);
    }
    check_on_any_sms(make_problem(spec, cuts, random), "groups " + std::to_string(i));
  }
}

// Four neighbouring blocks are one load, but only where they fill a panel of 64.
TEST_CASE("linear_wgmma_forward: lists with runs of neighbouring blocks at any place") {
  if (!has_wgmma()) return;
  Random random(3);
  constexpr int64_t kBlocks = 22;
  for (int i = 0; i < 8; ++i) {
    const bool of_columns = i % 2 == 0;
    const LinearSpec spec = {.dtype = test::kHalfTypes[i / 2 % 2],
                             .weight_rows = of_columns ? WeightRows::kColumns : WeightRows::kDepth,
                             .num_columns = of_columns ? kBlocks * 16 : 144,
                             .depth = of_columns ? 144 : kBlocks * 16};
    LinearProblem problem = make_problem(
        spec, {{.num_rows = 75, .num_columns = spec.num_columns, .depth = spec.depth, .prefix = false}},
        random);
    // All blocks, in runs of 1 to 9 in a random order.
    std::vector<std::vector<int32_t>> runs;
    for (int32_t block = 0; block < kBlocks;) {
      runs.emplace_back();
      for (int64_t n = random.integer(1, 9); n > 0 && block < kBlocks; --n) runs.back().push_back(block++);
    }
    for (size_t n = runs.size(); n > 1; --n) {
      std::swap(runs[n - 1], runs[static_cast<size_t>(random.integer(0, static_cast<int64_t>(n) - 1))]);
    }
    auto block = problem.row_blocks.begin() + problem.groups[0].row_blocks;
    for (const std::vector<int32_t>& run : runs) block = std::copy(run.begin(), run.end(), block);
    check_on_any_sms(problem, "list " + std::to_string(i));
  }
}

#if defined(ELASTICLM_EMULATED)
TEST_CASE("linear_wgmma_forward: loads, products and warps in any order") {
  Random random(4);
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    emulator::set_seed(seed);
    const LinearSpec spec = {.dtype = test::kHalfTypes[seed % 2],
                             .weight_rows = seed / 2 % 2 == 0 ? WeightRows::kColumns : WeightRows::kDepth,
                             .epilogue = kEpilogues[seed / 4 % 4],
                             .num_columns = 208,
                             .depth = 336};
    check_on_any_sms(
        make_problem(spec,
                     {{.num_rows = 140, .num_columns = 208, .depth = 336, .prefix = seed % 3 != 0},
                      {.num_rows = 30, .num_columns = 80, .depth = 304}},
                     random),
        "seed " + std::to_string(seed));
  }
}
#endif

}  // namespace
}  // namespace elasticlm
