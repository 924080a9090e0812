// linear_forward: y = act(x Wᵀ + bias) + residual, over the rows and the weight blocks that a SubLM keeps.
// One kernel for each precision of the weights; x comes in that precision.
//
// One call holds any number of row groups. A group is a run of rows of one structure: it names the columns
// (runs of weight blocks) and the depth (runs of k) that its SubLM keeps. For each weight panel all groups
// that include it are served before the next panel is read, so groups of different SubLMs share one pass over
// the weights (the staircase).
//
// Arithmetic, the same on every path that shares an ISA: each output element is one chain over the kept k in
// the order of the runs.
//   f32   starts from 0 and adds x[k] * w[k] with one fused multiply-add per k (kGeneric rounds the product
//         where the target has no fused multiply-add).
//   bf16  the same over words of two k, products exact. Native (kAvx512Bf16): as vdpbf16ps adds a word.
//         Elsewhere: one fused multiply-add in f32 per k.
//   i8    exact in i32: sum of x_q[k] * (w_q[k] + 128), less 128 times the row's sum; the same bits on every
//         ISA. Then * (row's scale * column's scale) + (row's offset * column's sum + bias), both fused.
// Then (f32, bf16) it adds the bias, and applies the activation, adds the residual and rounds to y's type. So
// an element's bits depend on its own row, its own column and the kept k alone.
#pragma once

#include <cstdint>
#include <span>

#include "core/packed_matrix.h"

namespace elasticlm {

enum class Activation { kNone, kGelu /* exact: x Φ(x) with erf */, kTanh };

// Neighbouring weight blocks whose output stands together.
struct ColumnRun {
  int64_t block_begin = 0;  // first weight block
  int64_t num_blocks = 0;
  int64_t y_offset = 0;  // element of y (and of residual, if any) where row 0 of the run's first column lies
};

// Neighbouring rows of depth. Activations are compact: the runs' k follow one another in x. In bf16 and i8 a
// run begins at a word, and only the last run may end within one; what x holds behind it in that word is
// ignored, and the weights there must be finite.
struct KRun {
  int64_t k_begin = 0;
  int64_t k_count = 0;
};

struct RowGroup {
  const void* x = nullptr;           // [num_rows, sum of k_count] of the weights' precision, ldx; whole words
  const RowScale* scales = nullptr;  // [num_rows], i8 only
  const float* residual = nullptr;   // like y, or null; only where y is f32
  void* y = nullptr;  // row r of run c: y + c.y_offset + r * ldy, c.num_blocks * 16 elements, all written
  int64_t num_rows = 0;
  int64_t ldx = 0;  // elements; whole words
  int64_t ldy = 0;  // elements of y and residual
  std::span<const ColumnRun> columns;
  std::span<const KRun> depth;
};

enum class OutputType { kF32, kBF16 /* not from f32 weights */ };

// Aliasing: y may equal residual (same pointer); otherwise nothing overlaps. x needs no more alignment than a
// word and nothing past its last kept word is read. Whole blocks are written, so rows of y are padded to 16
// columns; padding holds no meaning.
struct LinearArgs {
  PackedMatrixView weight;
  Activation activation = Activation::kNone;
  OutputType y_type = OutputType::kF32;
  std::span<const RowGroup> groups;
};

using LinearForward = void (*)(const LinearArgs&);

}  // namespace elasticlm
