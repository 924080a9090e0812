// quantize_forward: rows of bf16 to rows of i8 with one scale each, for the linear layer that reads them.
//
// offset = 0, scale = max |x| / 127, q = round(x * (127 / max |x|)), ties to even: the same bits on every
// ISA. A row whose max |x| is below kLeastAbsmax has scale 0 and q 0: 127 / max |x| might be infinite.
//
// Where a row is written from f32 by layer_norm_forward or embedding_forward, offset = (max x + min x) / 2,
// scale = reach / 127 and q = round((x - offset) * (127 / reach)), where reach = max |x - offset|: of the
// rounded offset, which may be off the middle of close neighbours. Hidden states have a few large elements of
// one sign in many rows: the offset halves the steps, and with them three quarters of the error of q, k and v
// (MiniLM).
#pragma once

#include <cstdint>

#include "core/packed_matrix.h"

namespace elasticlm {

inline constexpr float kLeastAbsmax = 0x1p-100f;

struct QuantizeArgs {
  const BF16* x = nullptr;  // [num_rows, num_columns], ldx; finite
  OperandRows y;            // i8
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t ldx = 0;
};

using QuantizeForward = void (*)(const QuantizeArgs&);

}  // namespace elasticlm
