// One contract suite for every implementation of linear_forward on a GPU.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/linear.h"
#include "kernels/cuda/records.h"
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
using test::bits_of_row;
using test::check_linear;
using test::HostMatrix;
using test::kHalfTypes;
using test::LinearCut;
using test::LinearProblem;
using test::LinearSpec;
using test::make_problem;
using test::Random;
using test::row_alone;
using test::run_linear;

struct Implementation {
  const char* name;
  cuda::DeviceLinearForward forward;
};

std::vector<Implementation> implementations(DType dtype) {
  std::vector<Implementation> all = {{"reference", cuda::linear_reference_forward}};
  if (dtype == DType::kF32) return all;
  all.push_back({"mma", cuda::linear_mma_forward});
  if (test::compute_capability() == 90) {
    all.push_back({"wgmma", cuda::linear_wgmma_forward});
  } else {
    static bool said = false;
    if (!said) std::printf("skipped wgmma: needs compute capability 9.0, this device has another\n");
    said = true;
  }
  return all;
}

// Kernels choose their tiles by the rows that a launch may have: the problem's own, and very many.
constexpr int64_t kManyRows = 1 << 16;
constexpr int64_t kRowBounds[] = {0, kManyRows};

std::string name_of(const Implementation& implementation, int64_t max_rows) {
  return std::string(implementation.name) + " with tiles for " + (max_rows == 0 ? "few" : "many") + " rows";
}

void check_all(const LinearProblem& problem) {
  for (const Implementation& implementation : implementations(problem.spec.dtype)) {
    std::vector<HostMatrix> results;
    for (const int64_t max_rows : kRowBounds) {
      results.push_back(run_linear(implementation.forward, problem, max_rows));
      check_linear(problem, results.back(), name_of(implementation, max_rows));
    }
    CHECK(results[0].all_bits() == results[1].all_bits(),
          std::string(implementation.name) + ": bits depend on the tiles (tolerance: none)");
  }
}

constexpr Epilogue kEpilogues[] = {Epilogue::kBias, Epilogue::kBiasGelu, Epilogue::kBiasTanh,
                                   Epilogue::kBiasResidual};

// Every combination of element type, kind of stored row and epilogue, as i counts on.
LinearSpec spec_of(int64_t i, int64_t num_columns, int64_t depth) {
  return {.dtype = kHalfTypes[i % 2],
          .weight_rows = i / 2 % 2 == 0 ? WeightRows::kColumns : WeightRows::kDepth,
          .epilogue = kEpilogues[i / 4 % 4],
          .num_columns = num_columns,
          .depth = depth};
}

LinearCut random_cut(Random& random, const LinearSpec& spec, int64_t num_rows) {
  LinearCut cut = {.num_rows = num_rows,
                   .num_columns = random.integer(1, spec.num_columns / 16) * 16,
                   .depth = random.integer(1, spec.depth / 16) * 16,
                   .prefix = random.integer(0, 1) == 0};
  if (random.integer(0, 2) == 0) cut.num_kept = cut.num_columns - random.integer(0, 15);
  return cut;
}

void check_same_row(const Implementation& implementation, const LinearProblem& problem, const HostMatrix& y,
                    size_t group_idx, int64_t row) {
  const LinearProblem alone = row_alone(problem, group_idx, row);
  const HostMatrix alone_y = run_linear(implementation.forward, alone, 0);
  const std::vector<uint32_t> got = bits_of_row(problem, y, group_idx, row);
  const std::vector<uint32_t> expected = bits_of_row(alone, alone_y, 0, 0);
  for (size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    char text[200];
    std::snprintf(text, sizeof(text),
                  "%s: row %d of group %zu, column %zu has bits %x in the batch, %x alone (tolerance: none)",
                  implementation.name, static_cast<int>(row), group_idx, i, got[i], expected[i]);
    CHECK(false, text);
  }
}

TEST_CASE("linear_forward: every remainder of rows with some of columns and depth") {
  Random random(1);
  for (int64_t rows = 1; rows <= 70; rows += test::kSanitized ? 3 : 1) {
    const LinearSpec spec = spec_of(rows, 16 * (1 + rows % 10), 16 * (1 + rows * 5 % 11));
    check_all(make_problem(spec, {{.num_rows = rows, .num_columns = spec.num_columns, .depth = spec.depth}},
                           random));
  }
}

TEST_CASE("linear_forward: every remainder of columns and of depth") {
  Random random(2);
  for (int64_t i = 0; i < 34; ++i) {
    const int64_t pieces = 1 + i % 17;
    for (const bool wide : {false, true}) {
      const LinearSpec spec = spec_of(i + (wide ? 7 : 0), 16 * (wide ? pieces : 3), 16 * (wide ? 5 : pieces));
      const LinearCut cut = {.num_rows = 1 + i % 37, .num_columns = spec.num_columns, .depth = spec.depth};
      check_all(make_problem(spec, {cut}, random));
    }
  }
}

TEST_CASE("linear_forward: f32 on the reference") {
  Random random(3);
  for (int64_t i = 0; i < 16; ++i) {
    LinearSpec spec = spec_of(i, 80, 96);
    spec.dtype = DType::kF32;
    check_all(make_problem(spec, {random_cut(random, spec, 5), random_cut(random, spec, 17)}, random));
  }
}

TEST_CASE("linear_forward: groups of random structures in any order") {
  Random random(4);
  for (int64_t i = 0; i < (test::kSanitized ? 8 : 32); ++i) {
    const LinearSpec spec = spec_of(i, 16 * random.integer(1, 14), 16 * random.integer(1, 14));
    std::vector<LinearCut> cuts;
    for (int64_t g = random.integer(1, 5); g > 0; --g)
      cuts.push_back(random_cut(random, spec, random.integer(1, 40)));
    check_all(make_problem(spec, cuts, random));
  }
}

TEST_CASE("linear_forward: more groups than a warp has lanes") {
  Random random(5);
  for (int64_t i = 0; i < 4; ++i) {
    const LinearSpec spec = spec_of(5 * i, 48, 32);
    std::vector<LinearCut> cuts;
    for (int g = 0; g < 71; ++g) cuts.push_back(random_cut(random, spec, g % 4));
    check_all(make_problem(spec, cuts, random));
  }
}

TEST_CASE("linear_forward: no groups, no rows, no columns, no depth") {
  Random random(6);
  for (int64_t i = 0; i < 16; ++i) {
    const LinearSpec spec = spec_of(i, 64, 64);
    check_all(make_problem(spec, {}, random));
    check_all(make_problem(spec,
                           {{.num_rows = 0, .num_columns = 32, .depth = 32},
                            {.num_rows = 3, .num_columns = 0, .depth = 32},
                            {.num_rows = 5, .num_columns = 48, .depth = 0},
                            {.num_rows = 2, .num_columns = 48, .depth = 48}},
                           random));
    check_all(make_problem(spec, {{.num_rows = 3, .num_columns = 16, .depth = 0, .prefix = false}}, random));
  }
}

TEST_CASE("linear_forward: columns that are left out of a last block, or all of them, are zeros") {
  Random random(7);
  for (int64_t i = 0; i < 16; ++i) {
    const LinearSpec spec = spec_of(i, 160, 32);
    std::vector<LinearCut> cuts;
    for (const int64_t num_kept : {0, 1, 7, 8, 9, 127, 128, 129, 143}) {
      cuts.push_back({.num_rows = 3,
                      .num_columns = 144,
                      .depth = 32,
                      .prefix = num_kept % 2 == 0,
                      .num_kept = num_kept});
    }
    check_all(make_problem(spec, cuts, random));
  }
}

TEST_CASE("linear_forward: several tiles for each block and many rounds of the ring") {
  Random random(8);
  for (int64_t i = 0; i < (test::kSanitized ? 2 : 8); ++i) {
    const LinearSpec spec = spec_of(i * 2 + i / 4, 400, 432);
    check_all(make_problem(spec,
                           {{.num_rows = 261, .num_columns = 400, .depth = 432},
                            {.num_rows = 150, .num_columns = 272, .depth = 400, .prefix = false},
                            {.num_rows = 8, .num_columns = 16, .depth = 16}},
                           random));
  }
}

TEST_CASE("linear_forward: a row has the same bits alone and in any mix of groups") {
  Random random(9);
  for (int64_t i = 0; i < (test::kSanitized ? 4 : 16); ++i) {
    const LinearSpec spec = spec_of(i, 16 * random.integer(2, 10), 16 * random.integer(1, 12));
    std::vector<LinearCut> cuts;
    for (int g = 0; g < 4; ++g) cuts.push_back(random_cut(random, spec, random.integer(1, 80)));
    const LinearProblem problem = make_problem(spec, cuts, random);
    for (const Implementation& implementation : implementations(spec.dtype)) {
      for (const int64_t max_rows : kRowBounds) {
        const HostMatrix y = run_linear(implementation.forward, problem, max_rows);
        for (size_t g = 0; g < cuts.size(); ++g) {
          const int64_t last = cuts[g].num_rows - 1;
          for (const int64_t row : {int64_t{0}, random.integer(0, last), last}) {
            check_same_row(implementation, problem, y, g, row);
          }
        }
      }
    }
  }
}

// Each kernel may begin before the one before it has ended, and must not read too early.
TEST_CASE("linear_forward: a chain of programmatic launches") {
  if (test::compute_capability() < 90) {
    std::printf("skipped: programmatic launches need compute capability 9.0\n");
    return;
  }
  Random random(10);
  constexpr int64_t kSize = 96;
  constexpr int64_t kRows = 37;
  for (const DType dtype : kHalfTypes) {
    const LinearSpec spec = {.dtype = dtype, .num_columns = kSize, .depth = kSize};
    const LinearProblem problem =
        make_problem(spec, {{.num_rows = kRows, .num_columns = kSize, .depth = kSize}}, random);
    const test::DeviceArray<cuda::LinearGroup> groups(problem.groups);
    const test::DeviceArray<cuda::LinearStep> step(std::vector<cuda::LinearStep>{{.num_groups = 1}});
    const test::DeviceArray<float> bias(problem.bias);
    const test::DeviceMemory weight = problem.weight.upload();
    for (const Implementation& implementation : implementations(dtype)) {
      std::vector<HostMatrix> results;
      for (const bool programmatic : {false, true}) {
        cudaStream_t stream = nullptr;
        cuda::check(cudaStreamCreate(&stream), "to make a test's stream");
        cuda::LaunchContext context = test::device_context();
        context.stream = stream;
        context.max_rows = problem.y.rows();
        context.max_sequences = 1;
        context.programmatic = programmatic;
        const test::DeviceMemory first = problem.x.upload();
        const test::DeviceMemory second = problem.y.upload();
        cuda::LinearArgs args = {.dtype = dtype,
                                 .weight = test::mapped_view(problem.weight, weight),
                                 .bias = bias.data(),
                                 .x = test::mapped_view(problem.x, first),
                                 .y = test::mapped_view(problem.y, second),
                                 .step = step.data(),
                                 .groups = groups.data()};
        for (int i = 0; i < 5; ++i) {
          implementation.forward(args, context);
          std::swap(args.x, args.y);
        }
        cuda::check(cudaStreamSynchronize(stream), "to run a chain of launches");
        results.push_back(problem.y);
        results.back().download(second);
        cuda::check(cudaStreamDestroy(stream), "to end a test's stream");
      }
      CHECK(results[0].all_bits() == results[1].all_bits(),
            std::string(implementation.name) + ": another result when launches overlap (tolerance: none)");
    }
  }
}

#if defined(ELASTICLM_EMULATED)
TEST_CASE("linear_forward: any order of warps and blocks, any number of SMs") {
  // With 40, even few tiles are cut narrower so that all SMs have one.
  constexpr int kNumSms[] = {1, 2, 7, 40};
  const int num_sms = emulator::settings().num_sms;
  for (uint64_t seed = 1; seed <= (test::kSanitized ? 4 : 12); ++seed) {
    Random random(100 + seed);
    emulator::set_seed(seed);
    emulator::settings().num_sms = kNumSms[seed % std::size(kNumSms)];
    const LinearSpec spec =
        spec_of(static_cast<int64_t>(seed) * 3, 16 * random.integer(1, 20), 16 * random.integer(1, 20));
    check_all(make_problem(spec, {random_cut(random, spec, 70), random_cut(random, spec, 9)}, random));
  }
  emulator::settings().num_sms = num_sms;
}
#endif

}  // namespace
}  // namespace elasticlm
