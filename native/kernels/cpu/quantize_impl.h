// quantize_forward over the vector wrapper. Included by quantize_<isa>.cpp after the wrapper.

#include "kernels/cpu/operand_row.h"

namespace elasticlm {

void ELASTICLM_KERNEL(quantize_forward)(const QuantizeArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    int8_t* const q = static_cast<int8_t*>(args.y.data) + row * args.y.ld;
    args.y.scales[row] = isa::quantize_row(isa::BF16Row{args.x + row * args.ldx}, args.num_columns, q);
  }
}

}  // namespace elasticlm
