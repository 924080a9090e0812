#include "train/products.h"

#include <algorithm>

namespace elasticlm {
namespace {

// Columns of W that one chunk packs and multiplies: 4 panels, 288 KB at K = 384, beside the rows of x in a 1
// MB L2 cache.
constexpr int64_t kForwardColumns = 4 * kPanelColumns;
// Depth that one call takes of dy W: 1024 words of a panel are 192 KB.
constexpr int64_t kDepthTile = 1024;
// Rows of dW that one chunk computes: their transposed dy are 192 KB at 1000 rows of the batch.
constexpr int64_t kGradientRows = kPanelColumns;

// dx += dy W for the columns [begin, end) of W, at most one panel.
void add_input_gradient(const DenseBackwardArgs& args, int64_t begin, int64_t end, const Compute& compute) {
  AlignedBuffer packed = floats(std::min(args.N, kDepthTile) * kPanelColumns);
  AlignedBuffer sums = floats(args.num_rows * kPanelColumns);
  for (int64_t n = 0; n < args.N; n += kDepthTile) {
    const int64_t depth = std::min(kDepthTile, args.N - n);
    compute.training.pack_depth_rows({.x = args.weight + n * args.K + begin,
                                      .words = bytes_of(packed),
                                      .precision = Precision::kF32,
                                      .N = end - begin,
                                      .K = depth,
                                      .ldx = args.K,
                                      .panel_begin = 0,
                                      .panel_end = 1});
    multiply({.weight = {.words = bytes_of(packed), .K = depth, .num_blocks = num_blocks_of(end - begin)},
              .x = {args.dy.data + n, args.dy.ld},
              .num_rows = args.num_rows,
              .y = sums.data(),
              .ldy = kPanelColumns,
              .adds = n > 0},
             compute.kernels);
  }
  for (int64_t r = 0; r < args.num_rows; ++r) {
    float* const dx = args.dx + r * args.lddx + begin;
    const float* const sum = sums.data() + r * kPanelColumns;
    for (int64_t c = 0; c < end - begin; ++c) dx[c] += sum[c];
  }
}

// dW += dyᵀ x for the rows [begin, end) of W. `x`: packed with its rows as depth.
void add_weight_gradient(const DenseBackwardArgs& args, const PackedMatrixView& x, int64_t begin, int64_t end,
                         const Compute& compute) {
  const int64_t ld = round_up(args.K, kBlockColumns);
  AlignedBuffer transposed = floats((end - begin) * args.num_rows);
  AlignedBuffer sums = floats((end - begin) * ld);
  compute.training.transpose_rows({.x = args.dy.data + begin,
                                   .y = transposed.data(),
                                   .precision = Precision::kF32,
                                   .num_rows = args.num_rows,
                                   .num_columns = end - begin,
                                   .ldx = args.dy.ld,
                                   .ldy = args.num_rows});
  multiply({.weight = x,
            .x = {transposed.data(), args.num_rows},
            .num_rows = end - begin,
            .y = sums.data(),
            .ldy = ld},
           compute.kernels);
  for (int64_t n = begin; n < end; ++n) {
    float* const dweight = args.dweight + n * args.K;
    const float* const sum = sums.data() + (n - begin) * ld;
    for (int64_t k = 0; k < args.K; ++k) dweight[k] += sum[k];
  }
}

}  // namespace

Compute::Compute(Isa isa, const TrainThreads& train_threads)
    : kernels(kernel_table(isa)), training(training_kernels(isa)), threads(train_threads) {}

void multiply(const Multiplication& product, const KernelTable& kernels) {
  const ColumnRun columns = {0, product.weight.num_blocks, 0};
  const KRun depth = {0, product.weight.K};
  const RowGroup group = {.x = product.x.data,
                          .residual = product.adds ? product.y : nullptr,
                          .y = product.y,
                          .num_rows = product.num_rows,
                          .ldx = product.x.ld,
                          .ldy = product.ldy,
                          .columns = {&columns, 1},
                          .depth = {&depth, 1}};
  kernels.linear_f32_forward(
      {.weight = product.weight, .activation = product.activation, .groups = {&group, 1}});
}

void dense_forward(const DenseArgs& args, const Compute& compute) {
  if (args.num_rows == 0) return;
  compute.for_each((args.N + kForwardColumns - 1) / kForwardColumns, [&](int64_t chunk) {
    const int64_t begin = chunk * kForwardColumns;
    const int64_t columns = std::min(kForwardColumns, args.N - begin);
    AlignedBuffer packed = floats(panels_of(columns) * kPanelColumns * args.K);
    compute.training.pack_column_rows({.x = args.weight + begin * args.K,
                                       .words = bytes_of(packed),
                                       .precision = Precision::kF32,
                                       .N = columns,
                                       .K = args.K,
                                       .ldx = args.K,
                                       .panel_begin = 0,
                                       .panel_end = panels_of(columns)});
    multiply({.weight = {.words = bytes_of(packed),
                         .bias = args.bias == nullptr ? nullptr : args.bias + begin,
                         .K = args.K,
                         .num_blocks = num_blocks_of(columns)},
              .activation = args.activation,
              .x = args.x,
              .num_rows = args.num_rows,
              .y = args.y + begin,
              .ldy = args.ldy},
             compute.kernels);
  });
}

void dense_backward(const DenseBackwardArgs& args, const Compute& compute) {
  if (args.num_rows == 0) return;
  const int64_t K_panels = panels_of(args.K);
  if (args.dx != nullptr) {
    compute.for_each(K_panels, [&](int64_t panel) {
      const int64_t begin = panel * kPanelColumns;
      add_input_gradient(args, begin, std::min(begin + kPanelColumns, args.K), compute);
    });
  }
  AlignedBuffer packed;
  if (args.dweight != nullptr) {
    packed = floats(K_panels * kPanelColumns * args.num_rows);
    compute.for_each(K_panels, [&](int64_t panel) {
      compute.training.pack_depth_rows({.x = args.x.data,
                                        .words = bytes_of(packed),
                                        .precision = Precision::kF32,
                                        .N = args.K,
                                        .K = args.num_rows,
                                        .ldx = args.x.ld,
                                        .panel_begin = panel,
                                        .panel_end = panel + 1});
    });
  }
  if (args.dweight == nullptr && args.dbias == nullptr) return;
  const PackedMatrixView x = {
      .words = bytes_of(packed), .K = args.num_rows, .num_blocks = num_blocks_of(args.K)};
  compute.for_each((args.N + kGradientRows - 1) / kGradientRows, [&](int64_t chunk) {
    const int64_t begin = chunk * kGradientRows;
    const int64_t end = std::min(begin + kGradientRows, args.N);
    if (args.dweight != nullptr) add_weight_gradient(args, x, begin, end, compute);
    if (args.dbias != nullptr) {
      compute.training.column_sums({.x = args.dy.data,
                                    .sums = args.dbias,
                                    .num_rows = args.num_rows,
                                    .column_begin = begin,
                                    .column_end = end,
                                    .ldx = args.dy.ld});
    }
  });
}

}  // namespace elasticlm
