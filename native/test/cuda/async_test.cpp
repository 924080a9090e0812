// TMA, mbarriers and WGMMA together, on a GPU or in the emulator; and what the emulator has to say about
// kernels that use them wrongly (async_faults_test.cpp).
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/tensor_map.h"
#include "test/check.h"
#include "test/cuda/async_wgmma.h"
#include "test/cuda/device_test.h"
#include "test/kernel_support.h"

#if defined(ELASTICLM_EMULATED)
#include "emulator/emulator.h"
#endif

namespace elasticlm::test {
namespace {

constexpr int kRows = 64;

struct ProductCase {
  DType dtype = DType::kBF16;
  int n = 64;
  bool n_major = false;
  int depth = 64;
  int box_rows = 64;
  // What the maps say there is; the rest of the tile must read as zeros.
  int num_rows = kRows;
  int num_columns = 64;
  int num_depth = 64;
};

std::string describe(const ProductCase& c) {
  return std::string(dtype_name(c.dtype)) + " m64n" + std::to_string(c.n) +
         (c.n_major ? " N-major" : " K-major") + " depth " + std::to_string(c.num_depth) + " of " +
         std::to_string(c.depth) + ", boxes of " + std::to_string(c.box_rows) + " rows, " +
         std::to_string(c.num_rows) + " rows, " + std::to_string(c.num_columns) + " columns";
}

// A matrix of random elements in device memory whose map ends before its memory does: poison lies beyond.
struct MappedMatrix {
  HostMatrix host;
  DeviceMemory memory;
  cuda::TensorMap map;
};

MappedMatrix random_matrix(Random& random, const ProductCase& c, int64_t rows, int64_t columns) {
  constexpr int64_t kPadding = 24;
  HostMatrix host(c.dtype, rows, columns, (columns + 7) / 8 * 8 + kPadding);
  for (int64_t row = 0; row < rows; ++row) host.fill(random, row, 0, columns, 1.0f);
  DeviceMemory memory = host.upload();
  const cuda::DeviceMatrix view = host.view(memory);
  const cuda::TensorMap map = cuda::make_tensor_map({.data = view.data,
                                                     .dtype = c.dtype,
                                                     .rows = rows,
                                                     .columns = columns,
                                                     .ld = view.ld,
                                                     .box_rows = c.box_rows});
  return {std::move(host), std::move(memory), map};
}

// [rows, columns], or of the transpose.
std::vector<double> values_of(const HostMatrix& matrix, bool transposed) {
  std::vector<double> values;
  const int64_t rows = transposed ? matrix.columns() : matrix.rows();
  const int64_t columns = transposed ? matrix.rows() : matrix.columns();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      values.push_back(transposed ? matrix.get(column, row) : matrix.get(row, column));
    }
  }
  return values;
}

void check_product(const ProductCase& c, uint64_t seed) {
  Random random(seed);
  const MappedMatrix a = random_matrix(random, c, c.num_rows, c.num_depth);
  const MappedMatrix b = c.n_major ? random_matrix(random, c, c.num_depth, c.num_columns)
                                   : random_matrix(random, c, c.num_columns, c.num_depth);
  DeviceArray<float> d(static_cast<size_t>(kRows * c.n));
  tile_product_forward({.dtype = c.dtype,
                        .n = c.n,
                        .n_major = c.n_major,
                        .depth = c.depth,
                        .box_rows = c.box_rows,
                        .a = a.map,
                        .b = b.map,
                        .d = d.data()});
  const std::vector<float> actual = d.values();

  const std::vector<double> a_values = values_of(a.host, false);
  const std::vector<double> b_values = values_of(b.host, c.n_major);
  WorstError worst;
  for (int row = 0; row < kRows; ++row) {
    for (int column = 0; column < c.n; ++column) {
      double sum = 0.0;
      double magnitude = 0.0;
      if (row < c.num_rows && column < c.num_columns) {
        const double* a_row = a_values.data() + row * c.num_depth;
        const double* b_row = b_values.data() + column * c.num_depth;
        for (int k = 0; k < c.num_depth; ++k) {
          sum += a_row[k] * b_row[k];
          magnitude += std::abs(a_row[k] * b_row[k]);
        }
      }
      // Products are exact; each of `depth` additions may cut off (twice the roundoff) instead of rounding.
      const Bound bound = {.value = sum, .tolerance = 2.0 * gamma_bound(c.depth) * magnitude};
      worst.add(actual[static_cast<size_t>(row * c.n + column)], bound, {row, column});
    }
  }
  CHECK_WITHIN(worst, describe(c));
}

bool has_wgmma() {
  if (compute_capability() == 90) return true;
  std::printf("skipped: WGMMA needs compute capability 9.0\n");
  return false;
}

// In the emulator another seed is another order of everything that is asynchronous.
int num_seeds() {
#if defined(ELASTICLM_EMULATED)
  return 3;
#else
  return 1;
#endif
}
void use_seed(int seed) {
#if defined(ELASTICLM_EMULATED)
  emulator::set_seed(static_cast<uint64_t>(seed));
#else
  static_cast<void>(seed);
#endif
}

TEST_CASE("a tile product is right for every N, element type and major") {
  if (!has_wgmma()) return;
  for (int seed = 0; seed < num_seeds(); ++seed) {
    use_seed(seed);
    for (const DType dtype : kHalfTypes) {
      for (const int n : {64, 128, 192, 256}) {
        for (const bool n_major : {false, true}) {
          check_product(
              {.dtype = dtype, .n = n, .n_major = n_major, .depth = 192, .num_columns = n, .num_depth = 192},
              17 + static_cast<uint64_t>(n));
        }
      }
    }
  }
}

TEST_CASE("boxes of 16 rows make the tile that boxes of 64 rows make") {
  if (!has_wgmma()) return;
  for (const bool n_major : {false, true}) {
    check_product(
        {.n = 128, .n_major = n_major, .depth = 128, .box_rows = 16, .num_columns = 128, .num_depth = 128},
        5);
  }
}

TEST_CASE("what lies outside of a tensor map is zeros") {
  if (!has_wgmma()) return;
  for (const bool n_major : {false, true}) {
    for (const int num_rows : {1, 50, 64}) {
      for (const int num_depth : {8, 100, 128}) {
        check_product({.dtype = DType::kF16,
                       .n = 128,
                       .n_major = n_major,
                       .depth = 128,
                       .num_rows = num_rows,
                       .num_columns = 88,
                       .num_depth = num_depth},
                      static_cast<uint64_t>(num_rows * 1000 + num_depth));
      }
    }
  }
}

TEST_CASE("a ring of many more steps than stages keeps its phases apart") {
  if (!has_wgmma()) return;
  for (int seed = 0; seed < 2 * num_seeds(); ++seed) {
    use_seed(100 + seed);
    check_product({.n = 64, .depth = 64 * 11, .num_columns = 64, .num_depth = 64 * 11}, 7);
  }
}

TEST_CASE("a matrix that TMA cannot describe is refused with a coded error") {
  if (!has_wgmma()) return;
  DeviceMemory memory(4096);
  const cuda::TensorMapSpec good = {
      .data = memory.data(), .dtype = DType::kF16, .rows = 16, .columns = 64, .ld = 64, .box_rows = 16};
  static_cast<void>(cuda::make_tensor_map(good));
  std::vector<cuda::TensorMapSpec> bad(4, good);
  bad[0].data = static_cast<char*>(memory.data()) + 8;
  bad[1].ld = 68;
  bad[2].box_rows = 0;
  bad[3].box_rows = 257;
  for (const cuda::TensorMapSpec& spec : bad) {
    try {
      static_cast<void>(cuda::make_tensor_map(spec));
      CHECK(false, "a bad matrix got a tensor map");
    } catch (const Error& error) {
      CHECK(error.code() == ErrorCode::kDeviceFailed, error.what());
    }
  }
}

TEST_CASE("a failed runtime call becomes a coded error that names the action") {
  const auto code_of = [](cudaError_t status) {
    try {
      cuda::check(status, "to do a test's work");
    } catch (const Error& error) {
      CHECK(std::string(error.what()).find("to do a test's work") != std::string::npos, error.what());
      return error.code();
    }
    return ErrorCode::kInternalFailed;
  };
  cuda::check(cudaSuccess, "to do nothing");
  CHECK(code_of(cudaErrorMemoryAllocation) == ErrorCode::kDeviceMemoryExhausted, "memory");
  CHECK(code_of(cudaErrorInvalidValue) == ErrorCode::kDeviceFailed, "another failure");
}

}  // namespace
}  // namespace elasticlm::test
