// gelu_forward and gelu_backward over the vector wrapper. Included by gelu_<isa>.cpp after the wrapper and
// its dot products.

#include "kernels/cpu/operand_words.h"
#include "kernels/gelu.h"

namespace elasticlm {

void ELASTICLM_KERNEL(gelu_forward)(const GeluArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* const x = args.x + row * args.ldx;
    if (args.y_precision == Precision::kBF16) {
      isa::round_row(
          x, args.num_columns, static_cast<BF16*>(args.y) + row * args.ldy,
          [](isa::Vec value) __attribute__((always_inline)) { return isa::gelu(value); });
    } else {
      float* const y = static_cast<float*>(args.y) + row * args.ldy;
      isa::for_vectors(
          0, args.num_columns, [&](int64_t i, const auto& vec) __attribute__((always_inline)) {
            vec.write(y + i, isa::gelu(vec.read(x + i)));
          });
    }
  }
}

void ELASTICLM_KERNEL(gelu_backward)(const GeluBackwardArgs& args) {
  namespace isa = ELASTICLM_ISA_NAMESPACE;
  for (int64_t row = 0; row < args.num_rows; ++row) {
    const float* const x = args.x + row * args.ldx;
    const float* const dy = args.dy + row * args.lddy;
    float* const dx = args.dx + row * args.lddy;
    float* const y = args.y + row * args.ldx;
    isa::for_vectors(
        0, args.num_columns, [&](int64_t i, const auto& vec) __attribute__((always_inline)) {
          isa::Vec slope;
          const isa::Vec value = isa::gelu_with_slope(vec.read(x + i), slope);
          const isa::Vec gradient = vec.read(dy + i) * slope;
          vec.write(y + i, value);
          vec.write(dx + i, gradient);
        });
  }
}

}  // namespace elasticlm
