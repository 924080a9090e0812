// layer_norm_forward over the vector wrapper. Included by layer_norm_<isa>.cpp after the wrapper.

#include "kernels/cpu/layer_norm_row.h"
#include "kernels/cpu/operand_row.h"
#include "kernels/layer_norm.h"

namespace elasticlm {

void ELASTICLM_KERNEL(layer_norm_forward)(const LayerNormArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  const isa::LayerNormRow norm{args.gamma, args.beta, args.hidden_size, args.eps};
  for (int64_t row = 0; row < args.num_rows; ++row) {
    float* const y = args.y + row * args.ldy;
    isa::layer_norm_row(norm, args.x + row * args.ldx, y);
    isa::write_operand(args.operand, row, y, args.hidden_size);
  }
}

}  // namespace elasticlm
