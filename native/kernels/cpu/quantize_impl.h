// quantize_forward over the vector wrapper. Included by quantize_<isa>.cpp after the wrapper.

#include "kernels/cpu/operand_row.h"

namespace elasticlm {

void ELASTICLM_KERNEL(quantize_forward)(const QuantizeArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const BF16* const x = args.x + row * args.ldx;
    args.y.scales[row] =
        isa::quantize_row(isa::BF16Row{x}, isa::RowSpan{0.0f, isa::absmax_of(x, args.num_columns)},
                          args.num_columns, static_cast<int8_t*>(args.y.data) + row * args.y.ld);
  }
}

}  // namespace elasticlm
