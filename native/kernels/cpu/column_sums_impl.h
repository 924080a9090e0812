// column_sums and column_dots over the vector wrapper. Included by column_sums_<isa>.cpp after the wrapper.

#include "kernels/column_sums.h"
#include "kernels/cpu/vector_runs.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// Neighbouring vectors of columns in one pass over the rows: enough chains to hide an addition's latency, and
// half a KB of each row on AVX-512, which the hardware's prefetch follows.
constexpr int kSumVecs = 8;

// Columns whose sums in f64 are under way at a time: 2 KB of the L1 cache.
constexpr int64_t kDotColumns = 256;

// Each column is one chain over the rows in f64, which holds the products exactly; then the columns of a
// group follow one another.
void add_dots(const ColumnDotsArgs& args, int64_t column_begin, int64_t column_end) {
  const int64_t size = column_end - column_begin;
  double dots[kDotColumns] = {};
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* const x = args.x + row * args.ldx + column_begin;
    const float* const y = args.y + row * args.ldy + column_begin;
    for (int64_t i = 0; i < size; ++i) dots[i] += static_cast<double>(x[i]) * y[i];
  }
  for (int64_t i = 0; i < size; ++i) args.sums[(column_begin + i) / args.group_size] += dots[i];
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(column_sums)(const ColumnSumsArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  isa::for_vector_groups<isa::kSumVecs>(
      args.column_begin,
      args.column_end, [&]<int kVecs>(int64_t column, const auto& vec) __attribute__((always_inline)) {
        isa::Vec sum[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) sum[v] = isa::zero();
        for (int64_t row = 0; row < args.num_rows; ++row) {
          const float* const x = args.x + row * args.ldx + column;
#pragma GCC unroll 8
          for (int v = 0; v < kVecs; ++v) sum[v] = sum[v] + vec.read(x + v * isa::kLanes);
        }
        float* const sums = args.sums + column;
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) {
          vec.write(sums + v * isa::kLanes, vec.read(sums + v * isa::kLanes) + sum[v]);
        }
      });
}

void ELASTICLM_KERNEL(column_dots)(const ColumnDotsArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  const int64_t num_columns = args.num_groups * args.group_size;
  for (int64_t column = 0; column < num_columns; column += isa::kDotColumns) {
    const int64_t end = column + isa::kDotColumns;
    isa::add_dots(args, column, end < num_columns ? end : num_columns);
  }
}

}  // namespace elasticlm
