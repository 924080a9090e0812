#include "kernels/ref/operand_ref.h"

namespace elasticlm {

void quantize_forward_ref(const QuantizeArgs& args) {
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const BF16* const x = args.x + row * args.ldx;
    const auto at = [&](int64_t i) { return bf16_to_f32(x[i].bits); };
    float absmax = 0.0f;
    for (int64_t i = 0; i < args.num_columns; ++i) absmax = std::max(absmax, std::abs(at(i)));
    args.y.scales[row] = ref::quantize_row(at, 0.0f, absmax, args.num_columns,
                                           static_cast<int8_t*>(args.y.data) + row * args.y.ld);
  }
}

}  // namespace elasticlm
