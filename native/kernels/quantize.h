// quantize_forward: rows of bf16 to rows of i8 with one scale each, for the linear layer that reads them.
//
// scale = max |x| / 127, q = round(x * (127 / max |x|)), ties to even; a row of zeros has scale 0 and q 0.
// The same bits on every ISA.
#pragma once

#include <cstdint>

#include "core/precision.h"

namespace elasticlm {

struct QuantizeArgs {
  const BF16* x = nullptr;  // [num_rows, num_columns], ldx; finite
  OperandRows y;            // i8
  int64_t num_rows = 0;
  int64_t num_columns = 0;
  int64_t ldx = 0;
};

using QuantizeForward = void (*)(const QuantizeArgs&);

}  // namespace elasticlm
