// layer_norm_forward over the vector wrapper. Included by layer_norm_<isa>.cpp after the wrapper.

#include "kernels/cpu/layer_norm_row.h"
#include "kernels/layer_norm.h"

namespace elasticlm {

void ELASTICLM_KERNEL(layer_norm_forward)(const LayerNormArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  const isa::LayerNormRow norm{args.gamma, args.beta, args.hidden_size, args.eps};
  isa::for_row_blocks(
      args.operand,
      args.num_rows, [&]<int kRows>(int64_t row, const auto& operand) __attribute__((always_inline)) {
        isa::layer_norm_rows<kRows>(norm, {args.x + row * args.ldx, args.ldx},
                                    {args.y + row * args.ldy, args.ldy}, operand);
      });
}

}  // namespace elasticlm
