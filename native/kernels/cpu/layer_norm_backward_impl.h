// layer_norm_backward and layer_norm_parameter_backward over the vector wrapper. Included by
// layer_norm_backward_<isa>.cpp after the wrapper and its dot products.

#include "kernels/cpu/layer_norm_row.h"
#include "kernels/cpu/vector_runs.h"
#include "kernels/layer_norm_backward.h"

namespace elasticlm::ELASTICLM_ISA_NAMESPACE {
namespace {

// kRows neighbouring rows: what is read and written, and what LayerNorm made of them.
template <int kRows>
class RowGradients {
 public:
  ELASTICLM_INLINE RowGradients(const LayerNormBackwardArgs& args, int64_t row)
      : x_{args.x + row * args.ldx, args.ldx},
        dy_{args.dy + row * args.lddy, args.lddy},
        dx_{args.dx + row * args.lddx, args.lddx},
        gamma_(args.gamma),
        size_(args.hidden_size) {
    const RowStatistics<kRows> statistics = row_statistics(x_, size_, args.eps);
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
      args.mean[row + r] = statistics.mean[r];
      args.rstd[row + r] = statistics.rstd[r];
      mean_[r] = broadcast(statistics.mean[r]);
      rstd_[r] = broadcast(statistics.rstd[r]);
    }
  }

  ELASTICLM_INLINE void run() {
    take_sums();
    const Vec share = broadcast(1.0f / static_cast<float>(size_));
    Vec mean_g[kRows];
    Vec mean_gx[kRows];
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
      mean_g[r] = broadcast(sum_g_[r]) * share;
      mean_gx[r] = broadcast(sum_gx_[r]) * share;
    }
    for_vectors(
        0, size_, [&](int64_t i, const auto& vec) __attribute__((always_inline)) {
          const Vec gamma = vec.read(gamma_ + i);
#pragma GCC unroll 2
          for (int r = 0; r < kRows; ++r) {
            const Vec g = vec.read(dy_.row(r) + i) * gamma;
            const Vec rest = fnma(normalised(r, vec.read(x_.row(r) + i)), mean_gx[r], g - mean_g[r]);
            vec.write(dx_.row(r) + i, rstd_[r] * rest);
          }
        });
  }

 private:
  ELASTICLM_INLINE Vec normalised(int r, Vec x) const { return (x - mean_[r]) * rstd_[r]; }

  // Σ g and Σ g * x̂ of each row, in two chains each that are joined in a fixed order.
  ELASTICLM_INLINE void take_sums() {
    Vec g_sum[kRows][2];
    Vec gx_sum[kRows][2];
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) g_sum[r][0] = g_sum[r][1] = gx_sum[r][0] = gx_sum[r][1] = zero();
    const auto add = [&](int64_t i, int chain, const auto& vec) __attribute__((always_inline)) {
      const Vec gamma = vec.read(gamma_ + i);
#pragma GCC unroll 2
      for (int r = 0; r < kRows; ++r) {
        const Vec g = vec.read(dy_.row(r) + i) * gamma;
        g_sum[r][chain] = g_sum[r][chain] + g;
        gx_sum[r][chain] = fma(g, normalised(r, vec.read(x_.row(r) + i)), gx_sum[r][chain]);
      }
    };
    int64_t i = 0;
    for (; i + 2 * kLanes <= size_; i += 2 * kLanes) {
      add(i, 0, WholeVec{});
      add(i + kLanes, 1, WholeVec{});
    }
    if (i + kLanes <= size_) {
      add(i, 0, WholeVec{});
      i += kLanes;
    }
    if (i < size_) add(i, 1, PartVec{size_ - i});
#pragma GCC unroll 2
    for (int r = 0; r < kRows; ++r) {
      sum_g_[r] = reduce_add(g_sum[r][0] + g_sum[r][1]);
      sum_gx_[r] = reduce_add(gx_sum[r][0] + gx_sum[r][1]);
    }
  }

  RowBlock<kRows, const float> x_;
  RowBlock<kRows, const float> dy_;
  RowBlock<kRows, float> dx_;
  const float* gamma_;
  int64_t size_;
  Vec mean_[kRows];
  Vec rstd_[kRows];
  float sum_g_[kRows];
  float sum_gx_[kRows];
};

// Vectors of columns in one pass over the rows: two sums each.
constexpr int kParameterVecs = kRegisters == 32 ? 8 : 4;

}  // namespace
}  // namespace elasticlm::ELASTICLM_ISA_NAMESPACE

namespace elasticlm {

void ELASTICLM_KERNEL(layer_norm_backward)(const LayerNormBackwardArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  int64_t row = 0;
  for (; row + 2 <= args.num_rows; row += 2) isa::RowGradients<2>(args, row).run();
  if (row < args.num_rows) isa::RowGradients<1>(args, row).run();
}

void ELASTICLM_KERNEL(layer_norm_parameter_backward)(const LayerNormParameterArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  isa::for_vector_groups<isa::kParameterVecs>(
      args.column_begin,
      args.column_end, [&]<int kVecs>(int64_t column, const auto& vec) __attribute__((always_inline)) {
        isa::Vec gamma_sum[kVecs];
        isa::Vec beta_sum[kVecs];
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) gamma_sum[v] = beta_sum[v] = isa::zero();
        for (int64_t row = 0; row < args.num_rows; ++row) {
          const float* const x = args.x + row * args.ldx + column;
          const float* const dy = args.dy + row * args.lddy + column;
          const isa::Vec mean = isa::broadcast(args.mean[row]);
          const isa::Vec rstd = isa::broadcast(args.rstd[row]);
#pragma GCC unroll 8
          for (int v = 0; v < kVecs; ++v) {
            const isa::Vec gradient = vec.read(dy + v * isa::kLanes);
            const isa::Vec normalised = (vec.read(x + v * isa::kLanes) - mean) * rstd;
            gamma_sum[v] = isa::fma(gradient, normalised, gamma_sum[v]);
            beta_sum[v] = beta_sum[v] + gradient;
          }
        }
#pragma GCC unroll 8
        for (int v = 0; v < kVecs; ++v) {
          float* const dgamma = args.dgamma + column + v * isa::kLanes;
          float* const dbeta = args.dbeta + column + v * isa::kLanes;
          vec.write(dgamma, vec.read(dgamma) + gamma_sum[v]);
          vec.write(dbeta, vec.read(dbeta) + beta_sum[v]);
        }
      });
}

}  // namespace elasticlm
