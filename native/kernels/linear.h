// linear_forward: y = act(x Wᵀ + bias) + residual, over the rows and the weight blocks that a SubLM keeps.
//
// One call holds any number of row groups. A group is a run of rows of one structure: it names the columns
// (runs of weight blocks) and the depth (runs of k) that its SubLM keeps. For each weight panel all groups
// that include it are served before the next panel is read, so groups of different SubLMs share one pass over
// the weights (the staircase).
//
// Arithmetic, the same on every path that shares an ISA: each output element starts from 0, adds x[k] * w[k]
// with one fused multiply-add per kept k in the order of the runs (one chain; kGeneric rounds the product
// where the target has no fused multiply-add), then adds the bias, applies the activation and adds the
// residual. So an element's bits depend on its own row, its own column and the kept k alone.
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

// Neighbouring rows of depth. Activations are compact: the runs' k follow one another in x.
struct KRun {
  int64_t k_begin = 0;
  int64_t k_count = 0;
};

struct RowGroup {
  const float* x = nullptr;         // [num_rows, sum of k_count], ldx
  const float* residual = nullptr;  // like y, or null
  float* y = nullptr;  // row r of run c: y + c.y_offset + r * ldy, c.num_blocks * 16 floats, all written
  int64_t num_rows = 0;
  int64_t ldx = 0;
  int64_t ldy = 0;  // of y and residual
  std::span<const ColumnRun> columns;
  std::span<const KRun> depth;
};

// Aliasing: y may equal residual (same pointer); otherwise nothing overlaps. x needs no alignment and nothing
// past its last kept k is read. Whole blocks are written, so rows of y are padded to 16 columns; padding
// holds no meaning.
struct LinearArgs {
  PackedMatrixView weight;
  Activation activation = Activation::kNone;
  std::span<const RowGroup> groups;
};

using LinearForward = void (*)(const LinearArgs&);

}  // namespace elasticlm
