// LayerNorm of rows over the vector wrapper, shared by layer_norm_forward, embedding_forward and
// layer_norm_backward.

#include "kernels/cpu/operand_row.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

struct LayerNormRow {
  const float* gamma = nullptr;  // [E]
  const float* beta = nullptr;   // [E]
  int64_t hidden_size = 0;       // E
  float eps = 0.0f;
};

// kRows rows of floats.
template <int kRows, typename Float>
struct RowBlock {
  Float* first = nullptr;  // [kRows, E], ld
  int64_t ld = 0;
  ELASTICLM_INLINE Float* row(int r) const { return first + r * ld; }
};

// Per row, Σ term(row, sum, vector, lanes in use) over its vectors, in four chains joined in a fixed order:
// an addition's latency is hidden, and the order of the sum depends on the row's length alone. Lanes that are
// not in use must give 0.
template <int kRows, typename Term>
ELASTICLM_INLINE void sum_rows(const RowBlock<kRows, const float>& x, int64_t size, const Term& term,
                               float (&sums)[kRows]) {
  Vec sum[kRows][4];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) sum[r][0] = sum[r][1] = sum[r][2] = sum[r][3] = zero();
  int64_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int c = 0; c < 4; ++c) sum[r][c] = term(r, sum[r][c], load(x.row(r) + i + c * kLanes), kLanes);
    }
  }
  for (; i + kLanes <= size; i += kLanes) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) sum[r][0] = term(r, sum[r][0], load(x.row(r) + i), kLanes);
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    if (i < size) sum[r][1] = term(r, sum[r][1], load_first(x.row(r) + i, size - i), size - i);
    sums[r] = reduce_add((sum[r][0] + sum[r][2]) + (sum[r][1] + sum[r][3]));
  }
}

// What LayerNorm makes of rows: (x - mean) * rstd, rstd = 1 / sqrt(variance + eps).
template <int kRows>
struct RowStatistics {
  float mean[kRows];
  float rstd[kRows];
};

template <int kRows>
ELASTICLM_INLINE RowStatistics<kRows> row_statistics(const RowBlock<kRows, const float>& x, int64_t size,
                                                     float eps) {
  RowStatistics<kRows> rows;
  float sums[kRows];
  sum_rows(
      x, size, [](int, Vec sum, Vec v, int64_t) __attribute__((always_inline)) { return sum + v; }, sums);
  Vec mean[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    rows.mean[r] = sums[r] / static_cast<float>(size);
    mean[r] = broadcast(rows.mean[r]);
  }
  sum_rows(
      x, size,
      [&mean](int r, Vec sum, Vec v, int64_t lanes) __attribute__((always_inline)) {
        const Vec centred = v - mean[r];
        const Vec used = lanes < kLanes ? keep_first(centred, lanes, zero()) : centred;
        return fma(used, used, sum);
      },
      sums);
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    rows.rstd[r] = 1.0f / __builtin_sqrtf(sums[r] / static_cast<float>(size) + eps);
  }
  return rows;
}

// y may be x. Rows side by side share the reading of gamma and beta, and the arithmetic of one fills the
// other's waits for sums, division and square root.
template <int kRows, typename Operand>
ELASTICLM_INLINE void layer_norm_rows(const LayerNormRow& norm, const RowBlock<kRows, const float>& x,
                                      const RowBlock<kRows, float>& y, Operand operand) {
  const int64_t size = norm.hidden_size;
  const RowStatistics<kRows> statistics = row_statistics(x, size, norm.eps);
  Vec mean[kRows];
  Vec gain[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
    mean[r] = broadcast(statistics.mean[r]);
    gain[r] = broadcast(statistics.rstd[r]);
  }
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const Vec gamma = load(norm.gamma + i);
    const Vec beta = load(norm.beta + i);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Vec value = fma((load(x.row(r) + i) - mean[r]) * gain[r], gamma, beta);
      store(y.row(r) + i, value);
      operand.take(r, i, value);
    }
  }
  if (i < size) {
    const int64_t rest = size - i;
    const Vec gamma = load_first(norm.gamma + i, rest);
    const Vec beta = load_first(norm.beta + i, rest);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Vec value = fma((load_first(x.row(r) + i, rest) - mean[r]) * gain[r], gamma, beta);
      store_first(y.row(r) + i, value, rest);
      operand.take_last(r, i, keep_first(value, rest, zero()), rest);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) operand.finish(r, y.row(r), size);
}

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE
