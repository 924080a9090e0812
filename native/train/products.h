// Linear layers of the heads, and their gradients, on linear_forward: each chunk packs the part of the
// weights that it multiplies while that part is in the core's cache. Bits do not depend on the number of
// threads.
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"
#include "core/packed_matrix.h"
#include "kernels/kernel_table.h"
#include "kernels/training_kernels.h"
#include "train/chunks.h"
#include "train/train_batch.h"

namespace elasticlm {

// What a part of the objective computes with.
struct Compute {
  const KernelTable& kernels;
  const TrainingKernels& training;
  const TrainThreads& threads;

  Compute(Isa isa, const TrainThreads& train_threads);
  // part(i) for every i in [0, num_parts), on any of the pool's threads. Throws kCallAborted.
  template <typename Part>
  void for_each(int64_t num_parts, const Part& part) const {
    for_each_chunk(threads, num_parts, [&part](int64_t i, int) { part(i); });
  }
};

inline AlignedBuffer floats(int64_t count) { return AlignedBuffer(static_cast<size_t>(count)); }
inline std::byte* bytes_of(AlignedBuffer& buffer) { return reinterpret_cast<std::byte*>(buffer.data()); }

constexpr int64_t panels_of(int64_t columns) { return round_up(columns, kPanelColumns) / kPanelColumns; }

// Rows of f32, ld floats apart.
struct Rows {
  const float* data = nullptr;
  int64_t ld = 0;

  const float* row(int64_t r) const { return data + r * ld; }
};

// One call of linear_forward: all of `weight`, one group of rows. Rows of y are written up to a multiple of
// 16 columns.
struct Multiplication {
  PackedMatrixView weight;
  Activation activation = Activation::kNone;
  Rows x;
  int64_t num_rows = 0;
  float* y = nullptr;
  int64_t ldy = 0;
  bool adds = false;  // y += instead of y =
};
void multiply(const Multiplication& product, const KernelTable& kernels);

// y [num_rows, N] = act(x [num_rows, K] Wᵀ + bias). W [N, K]; bias [N], readable up to a multiple of 16. Rows
// of y are written up to a multiple of 16 columns, which ldy has room for.
struct DenseArgs {
  Rows x;
  int64_t num_rows = 0;
  const float* weight = nullptr;
  const float* bias = nullptr;
  int64_t N = 0;
  int64_t K = 0;
  Activation activation = Activation::kNone;
  float* y = nullptr;
  int64_t ldy = 0;
};
void dense_forward(const DenseArgs& args, const Compute& compute);

// Gradients of y = x Wᵀ + bias. Null: not wanted.
struct DenseBackwardArgs {
  Rows dy;  // [num_rows, N]
  Rows x;   // [num_rows, K]
  int64_t num_rows = 0;
  const float* weight = nullptr;  // [N, K]
  int64_t N = 0;
  int64_t K = 0;
  float* dx = nullptr;  // [num_rows, K], lddx, added to
  int64_t lddx = 0;
  float* dweight = nullptr;  // [N, K], added to
  float* dbias = nullptr;    // [N], added to
};
void dense_backward(const DenseBackwardArgs& args, const Compute& compute);

}  // namespace elasticlm
